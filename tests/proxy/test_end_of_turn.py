"""What happens to a call between the moment in which its message is made and the end of the loop's turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.net.kit import Wire
from tests.proxy.stage import OPEN_TO_ALL, Stage, answer, request

ASKED = request(content=b"what")


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with Stage(tmp_path, inner=OPEN_TO_ALL).playing() as stage:
        yield stage


def answered(stage: Stage) -> Wire:
    """A caller whose answer is made, and not written yet."""
    caller = stage.warm_up()
    service = stage.ask(caller, ASKED)
    assert service is not None
    service.receive(answer(b"fine"))
    stage.end_turn()
    link = stage.links[-1]
    link.receive(link.far.take())
    assert not caller.written
    assert stage.long_ways == {"out": 0, "in": 0}
    return caller


def ends_its_side(stage: Stage, caller: Wire) -> None:
    caller.end()


def says_nonsense(stage: Stage, caller: Wire) -> None:
    caller.receive(b"nonsense\r\n\r\n")


def is_cut_off(stage: Stage, caller: Wire) -> None:
    stage.outer.server.abort()


def is_let_go(stage: Stage, caller: Wire) -> None:
    stage.outer.server.drain()


@pytest.mark.parametrize("end", [ends_its_side, says_nonsense, is_cut_off, is_let_go])
def test_an_answer_leaves_before_its_connection_ends(
    stage: Stage, end: Callable[[Stage, Wire], None]
) -> None:
    caller = answered(stage)
    end(stage, caller)
    first, _, rest = caller.take().partition(b"fine")
    assert first.startswith(b"HTTP/1.1 200")
    assert not rest or rest.startswith(b"HTTP/1.1 400")
    stage.settle(caller)
    assert not caller.written, "it leaves once"


def test_a_request_whose_connection_ends_first_leaves_on_another(stage: Stage) -> None:
    caller = stage.warm_up()
    caller.receive(ASKED)
    link = stage.links[-1]
    link.end()
    stage.end_turn()
    assert not link.written
    assert stage.links[-1] is not link
    assert stage.links[-1].written
    stage.carry()
    stage.tell(stage.asked[-1], answer(b"fine"))
    assert caller.take().endswith(b"fine")
    stage.settle(caller)
    stage.check_nothing_is_left()


def test_a_request_whose_caller_is_gone_never_leaves(stage: Stage) -> None:
    caller = stage.warm_up()
    caller.receive(ASKED)
    caller.lose()
    stage.end_turn()
    assert not stage.links[-1].written
    stage.settle(caller)
    stage.check_nothing_is_left()
