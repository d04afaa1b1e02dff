"""A body that can be read from its start again, as long as little of it has been read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fastproxy.model import Headers
from fastproxy.net.drive import Drive
from fastproxy.proxy.kept_body import KEPT_BYTES, KeptBody


class Pieces:
    """A body of pieces that are here; a double for one that arrives."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.length: int | None = sum(map(len, pieces))
        self.started = False
        self.trailers: Headers = []
        self.is_closed = False
        self._pieces = [*pieces]

    async def read(self) -> bytes:
        self.started = True
        if self._pieces:
            return self._pieces.pop(0)
        self.trailers = [(b"x", b"1")]
        return b""

    def close(self) -> None:
        self.is_closed = True


def read(body: KeptBody, times: int) -> bytes:
    """Read so many pieces."""
    got: list[bytes] = []

    async def reading() -> None:
        for _ in range(times):
            got.append(await body.read())

    Drive(lambda error: None).start(reading())
    assert len(got) == times
    return b"".join(got)


@given(st.lists(st.binary(min_size=1, max_size=100), max_size=20), st.lists(st.integers(0, 25), max_size=4))
def test_what_is_short_can_be_read_as_often_as_wanted(pieces: list[bytes], stops: list[int]) -> None:
    body = KeptBody(Pieces(pieces))
    for stop in stops:
        assert read(body, stop) == b"".join(pieces[:stop])
        assert not body.started
        body.rewind()
    assert read(body, len(pieces) + 1) == b"".join(pieces)
    assert body.trailers == [(b"x", b"1")]
    assert body.length == sum(map(len, pieces))


def test_what_is_long_is_not_kept() -> None:
    pieces = [b"a" * (KEPT_BYTES // 2)] * 2 + [b"b", b"c"]
    body = KeptBody(Pieces(pieces))
    assert read(body, 2) == pieces[0] * 2
    body.rewind()
    assert read(body, 2) == pieces[0] * 2
    assert not body.started
    assert read(body, 1) == b"b"
    assert body.started, "it can't be read from its start any more"
    assert read(body, 2) == b"c"


def test_who_closes_it_closes_what_it_keeps() -> None:
    inner = Pieces([b"a"])
    KeptBody(inner).close()
    assert inner.is_closed
