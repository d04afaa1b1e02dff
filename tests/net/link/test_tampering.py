"""Records of a running link that were changed on the way, at either end: it ends, and nothing happens."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fastproxy.wire.link.frames import PING, frame
from fastproxy.wire.link.records import MAX_PLAINTEXT_BYTES
from tests.net.link.ends import Calling, Receiving, request, response

HONEST = request(1, b"hello")


def untouched(link: Receiving) -> bool:
    """Whether nothing of what was said has had an effect."""
    return link.service.requests == [] and link.link.last_stream == 0


@pytest.mark.parametrize("bit", range(0, 8 * (4 + len(HONEST) + 16), 37))
def test_a_record_with_a_bit_changed_ends_the_link(bit: int) -> None:
    end = Receiving()
    record = bytearray(end.peer.sealer.seal(HONEST))
    record[bit >> 3] ^= 1 << (bit & 7)
    end.peer.send_bytes(bytes(record), end.peer.sealer.seal(frame(PING, 0, bytes(8))) * 2)
    # a longer length makes it wait for more, which then isn't what belongs there
    assert end.ended == "record" or end.link.closed is (bit >= 32)
    assert untouched(end)


CHANGES: dict[str, Callable[[list[bytes], bytes], list[bytes]]] = {
    "left out": lambda records, _: records[1:],
    "doubled": lambda records, _: [records[0], *records],
    "reordered": lambda records, _: [records[1], records[0]],
    "reflected": lambda _, reflected: [reflected],
    "cut, and followed": lambda records, _: [records[0][:-1], *records[1:]],
    "made longer": lambda records, _: [records[0] + b"\0", *records[1:]],
    "of no length": lambda _, __: [bytes(4)],
    "too long": lambda _, __: [(MAX_PLAINTEXT_BYTES + 17).to_bytes(4, "big")],
    "shorter than a seal": lambda _, __: [b"\0\0\0\x10" + bytes(16)],
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_records_in_another_order_or_form_end_a_receivers_link(change: Callable[..., list[bytes]]) -> None:
    end = Receiving()
    end.peer.send(frame(PING, 0, bytes(8)))
    reflected = end.wire.take()
    records = [end.peer.sealer.seal(request(number, b"hello")) for number in (1, 2, 3)]
    end.peer.send_bytes(*change(records, reflected))
    assert end.ended == "record"
    assert len(end.service.requests) <= 1  # the record before the one that was sent twice


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_records_in_another_order_or_form_end_a_callers_link(change: Callable[..., list[bytes]]) -> None:
    end = Calling()
    answers = [end.call() for _ in range(3)]
    end.clock.advance(0)
    reflected = end.wire.take()
    records = [end.peer.sealer.seal(response(number, b"hello")) for number in (1, 2, 3)]
    end.peer.send_bytes(*change(records, reflected))
    assert end.ended == "record"
    assert all(answer.told for answer in answers)
    assert sum(answer.response is not None for answer in answers) <= 1


def test_a_record_of_another_link_ends_this_one() -> None:
    one, other = Receiving(), Receiving(number=2)
    one.peer.send_bytes(other.peer.sealer.seal(HONEST))
    assert one.ended == "record"
    assert untouched(one)


def test_a_connection_that_ends_within_a_record_breaks_what_is_under_way() -> None:
    end = Calling()
    answer = end.call()
    end.peer.send_bytes(end.peer.sealer.seal(response(1, b"hello"))[:-1])
    assert not answer.told
    end.wire.end()
    assert answer.cause == "connection_lost"
    assert end.ended == "closed by peer"


def test_records_in_single_bytes_and_all_at_once_are_the_same() -> None:
    end = Receiving()
    stream = b"".join(end.peer.sealer.seal(request(number, b"hello")) for number in range(1, 6))
    end.peer.send_bytes(*[stream[at : at + 1] for at in range(len(stream))])
    assert len(end.peer.hear()) == 5
    stream = b"".join(end.peer.sealer.seal(request(number, b"hello")) for number in range(6, 11))
    end.peer.send_bytes(stream)
    assert len(end.peer.hear()) == 5
    assert not end.ended
