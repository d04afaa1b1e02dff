"""Parsing and serialising: heads of requests and answers, the frames of a link, message heads, configs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from fastproxy.config.load import load
from fastproxy.net.http1 import HeadLimits, HeadParser, write_fields
from fastproxy.policy.pattern import parse_pattern
from fastproxy.wire.compat.message import (
    RequestSettings,
    decode_request,
    encode_request,
    encode_request_settings,
)
from fastproxy.wire.envelope import build_request_head, parse_request_head, service_field
from fastproxy.wire.identity import PrivateKey
from fastproxy.wire.link.frames import REQUEST, frame
from tests.micro.work import Benchmark, Step, Work, single
from tests.net.chain import ANSWER, configs

_FIELDS = (
    b"Host: search.internal:8034\r\nContent-Length: 11\r\nContent-Type: application/json\r\n"
    b"Accept: */*\r\nUser-Agent: python-requests/2.32\r\nAccept-Encoding: gzip, deflate\r\n"
)
_FURTHER_FIELDS = b"".join(b"X-Further-%d: value number %d\r\n" % (number, number) for number in range(12))
HEADS = {
    "6 fields": b"POST /search_service/api/service?q=1 HTTP/1.1\r\n" + _FIELDS + b"\r\n",
    "18 fields": b"POST /search_service/api/service?q=1 HTTP/1.1\r\n" + _FIELDS + _FURTHER_FIELDS + b"\r\n",
}
FRAMES = 25
"""In a record, as many as under the peak load."""
CALLERS = 1_000
"""In the large config; each has a key."""
_EXCHANGE_ID = "f48e44080526f68001f"


def parse_request(head: bytes) -> Step:
    """Judge a head that was never seen before."""
    parser = HeadParser(HeadLimits())
    return lambda: parser.request(head)


def find_request(head: bytes) -> Step:
    """Find what was made of a head that was seen before."""
    parser = HeadParser(HeadLimits())
    return lambda: parser.request(head)


def parse_response() -> Step:
    """Judge an answer's head."""
    parser = HeadParser(HeadLimits())
    head = ANSWER[: ANSWER.index(b"\r\n\r\n") + 4]
    return lambda: parser.response(head)


def write_request(head: bytes) -> Step:
    """Write the fields of a head, taken apart."""
    fields = [
        (name, value) for name, _, value in (line.partition(b": ") for line in head.split(b"\r\n")[1:-2])
    ]
    return lambda: write_fields(fields)


def build_head(head: bytes) -> Step:
    """Build the head of a sealed request."""
    service = service_field("search_service")
    return lambda: build_request_head(1500, _EXCHANGE_ID, service, head)


def parse_head(head: bytes) -> Step:
    """Read the head of a sealed request."""
    meta = build_request_head(1500, _EXCHANGE_ID, service_field("search_service"), head)
    return lambda: parse_request_head(meta)


def build_frames() -> Step:
    """Build the frames that one record holds."""
    payload = bytes(300)
    return lambda: b"".join([frame(REQUEST, stream, payload) for stream in range(1, FRAMES + 1)])


def encode_compat() -> Step:
    """Encode a message of wire format v1."""
    settings, sign, payload = encode_request_settings(_SETTINGS), b"0" * 64, bytes(300)
    return lambda: encode_request(sign, payload, settings)


def decode_compat() -> Step:
    """Decode one."""
    message = encode_request(b"0" * 64, bytes(300), encode_request_settings(_SETTINGS))
    return lambda: decode_request(message)


_SETTINGS = RequestSettings(
    compress=True, sign_enable=True, sign_key_name=b"s1", encrypt_enable=True, encrypt_key_name=b"k128"
)


def load_config(callers: int) -> Work:
    """Load the config of an in proxy that knows this many callers beside the one of `tests.net.chain`."""
    folder = TemporaryDirectory()
    file = configs(Path(folder.name))[1]
    config = json.loads(file.read_text())
    for number in range(callers):
        key = PrivateKey(sha256(b"%d" % number).digest()).public_key.hex()
        config["callers"][f"caller-{number}"] = {"public_keys": [key]}
    file.write_text(json.dumps(config, indent=1))
    return single(lambda: load(file, check_pattern=parse_pattern), folder.cleanup)


def benchmarks() -> Iterator[Benchmark]:
    """All of them."""
    for size, head in HEADS.items():
        yield _benchmark(f"parse/request head/{size}", partial(parse_request, head))
        yield _benchmark(f"parse/known request head/{size}", partial(find_request, head))
        yield _benchmark(f"parse/head of a sealed request/{size}", partial(parse_head, head))
        yield _benchmark(f"serialise/fields/{size}", partial(write_request, head))
        yield _benchmark(f"serialise/head of a sealed request/{size}", partial(build_head, head))
    yield _benchmark("parse/response head/4 fields", parse_response)
    yield _benchmark("serialise/frames/25 of 300 B", build_frames)
    yield _benchmark("serialise/compat message/300 B", encode_compat)
    yield _benchmark("parse/compat message/300 B", decode_compat)
    yield Benchmark("parse/config/1 caller", partial(load_config, 0))
    yield Benchmark(f"parse/config/{CALLERS} callers", partial(load_config, CALLERS))


def _benchmark(name: str, make: Callable[[], Step]) -> Benchmark:
    return Benchmark(name, lambda: single(make()))
