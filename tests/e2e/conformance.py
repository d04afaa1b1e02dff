"""Plays the cases of `tests/data/http11.json` at a listener and judges the answers.

The rules of reading and judging are those of the corpus' source (see `tests/data/README.md`): one write on a
new connection, then the end of the first header section or five seconds, then a moment for the body and for
the peer to close. A reset counts as closed; an interim 100 is taken for the answer. What an answer itself
announces, content or the end of the connection, has the five seconds as well: a busy machine may be late.
Where a request isn't finished, so that only silence can follow, one second of it has to do.
"""

from __future__ import annotations

import base64
import json
import re
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ANSWER_S = 5.0
SILENCE_S = 1.0
"""For requests that aren't finished: each second more is spent waiting for nothing."""
BODY_S = 0.1
CLOSE_S = 0.05
STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r]")

Case = dict[str, Any]


def read_corpus(file: Path) -> list[Case]:
    """Read the corpus; every case gets its bytes under `payload`."""
    cases: list[Case] = json.loads(file.read_text())
    for case in cases:
        case["payload"] = (
            eval(case["generate"], {"__builtins__": {"range": range}})  # ours: bytes of a large request
            if "generate" in case
            else base64.b64decode(case["payload_b64"])
        )
        case["then"] = [base64.b64decode(write) for write in case.get("then_b64", ())]
    return cases


@dataclass(slots=True)
class Answer:
    """What one write brought back.

    ended: "closed", "open", or "timeout" (nothing but silence).
    """

    raw: bytes = b""
    ended: str = "timeout"

    @property
    def status(self) -> int | None:
        match = STATUS_LINE.match(self.raw)
        return int(match[1]) if match else None

    @property
    def extra(self) -> bool:
        """Whether more than one answer came."""
        return len(STATUS_LINE.findall(self.raw)) > 1

    @property
    def fields(self) -> dict[str, str]:
        lines = self.raw.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
        pairs = (line.decode("latin-1").partition(":") for line in lines)
        return {name.lower(): value.strip() for name, _, value in pairs}

    @property
    def is_awaited(self) -> bool:
        """Whether it announces content that hasn't come, or the end of the connection."""
        fields, content = self.fields, self.raw.partition(b"\r\n\r\n")[2]
        if fields.get("connection") == "close":
            return True
        if "chunked" in fields.get("transfer-encoding", ""):
            return not content.endswith(b"0\r\n\r\n")
        return len(content) < int(fields.get("content-length", "0"))

    @property
    def content(self) -> bytes:
        content = self.raw.partition(b"\r\n\r\n")[2]
        return _dechunk(content) if "chunked" in self.fields.get("transfer-encoding", "") else content


@dataclass(slots=True)
class Outcome:
    """A verdict ("pass", "warn" or "fail") and what it rests on."""

    case: Case
    verdict: str
    answer: Answer
    then: list[Answer] = field(default_factory=list)

    @property
    def silent(self) -> bool:
        """Whether nothing at all came back within the time: such a case passes by waiting alone."""
        return not self.answer.raw and self.answer.ended == "timeout"


def play(address: tuple[str, int], case: Case, patience_s: float = ANSWER_S) -> Outcome:
    """Send one case's bytes and judge what comes back; patience_s: for each answer."""
    with socket.create_connection(address, timeout=ANSWER_S) as sock:
        answers = [_ask(sock, case["payload"], patience_s)]
        for write in case["then"]:
            if answers[-1].ended != "open":
                break
            answers.append(_ask(sock, write, patience_s))
    return Outcome(case, _judge(case, answers[0], answers[1:]), answers[0], answers[1:])


def _ask(sock: socket.socket, data: bytes, patience_s: float) -> Answer:
    """Send `data` and read one answer."""
    answer = Answer()
    try:
        sock.settimeout(patience_s)
        sock.sendall(data)
    except TimeoutError:
        return answer
    except OSError:
        answer.ended = "closed"  # what was answered before the reset can still be read
    deadline = time.monotonic() + patience_s
    closed = False
    while b"\r\n\r\n" not in answer.raw and not closed and time.monotonic() < deadline:
        closed = _receive(sock, answer, deadline - time.monotonic())
    has_content = not data.startswith(b"HEAD ")
    while has_content and answer.is_awaited and not closed and time.monotonic() < deadline:
        closed = _receive(sock, answer, deadline - time.monotonic())
    if answer.raw or closed:
        for wait_s in (BODY_S, CLOSE_S):
            until = time.monotonic() + wait_s
            while not closed and (left := until - time.monotonic()) > 0:
                closed = _receive(sock, answer, left)
        answer.ended = "closed" if closed else "open"
    return answer


def _receive(sock: socket.socket, answer: Answer, wait_s: float) -> bool:
    """Read what is there; True when the peer has closed."""
    sock.settimeout(max(wait_s, 0.001))
    try:
        data = sock.recv(65536)
    except TimeoutError:
        return False
    except OSError:
        return True
    answer.raw += data
    return not data


def _judge(case: Case, answer: Answer, then: list[Answer]) -> str:
    if case.get("custom"):
        for rule in case["check"]:
            if all(_holds(name, rule["when"], answer, then) for name in rule["when"]):
                return str(rule["verdict"])
        return "fail"
    for verdict, key in (("pass", "accept"), ("warn", "warn")):
        if key in case and _accepts(case[key], answer):
            return verdict
    return "fail"


def _accepts(outline: dict[str, Any], answer: Answer) -> bool:
    if answer.status is not None:
        return _lies_in(answer.status, outline["status"])
    if answer.ended == "closed":
        return bool(outline["close_without_response"])
    return bool(outline["timeout_without_response"])


def _holds(name: str, when: dict[str, Any], answer: Answer, then: list[Answer]) -> bool:
    value = when[name]
    content = answer.content.decode("latin-1").rstrip("\r\n")
    second = then[0] if then else Answer()
    judged: dict[str, Any] = {
        "status": lambda: _lies_in(answer.status, value),
        "response": lambda: answer.status is None,
        "ended": lambda: answer.ended == value,
        "body": lambda: content == value,
        "body_contains": lambda: value in content,
        "body_empty": lambda: not answer.raw.partition(b"\r\n\r\n")[2],
        "header": lambda: value.lower() in answer.fields,
        "header_matches": lambda: re.fullmatch(value, answer.fields[when["header"].lower()]) is not None,
        "extra_response": lambda: answer.extra,
        "then_status": lambda: _lies_in(second.status, value),
        "then_extra_response": lambda: second.extra,
    }
    return bool(judged[name]())


def _lies_in(status: int | None, ranges: list[list[int]]) -> bool:
    return status is not None and any(low <= status <= high for low, high in ranges)


def _dechunk(data: bytes) -> bytes:
    content = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size.partition(b";")[0] or b"0", 16)
        content += data[:length]
        data = data[length + 2 :]
    return content
