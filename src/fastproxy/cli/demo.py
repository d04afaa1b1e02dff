"""`fastproxy demo`: the product's main job on loopback, in a few seconds."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import click
from rich.console import Console

from fastproxy.bench.processes import StartError
from fastproxy.demo.scene import Scene
from fastproxy.demo.scenes import SCENES, play
from fastproxy.demo.show import make_console, show_introduction, show_outcome, show_scene, show_what_to_try
from fastproxy.demo.stage import Stage, set_up

_CHECK_S = 0.5


@click.command()
@click.option("--keep", is_flag=True, help="Leave it running, with commands to try, until Ctrl-C.")
@click.option(
    "--enforce",
    type=click.Choice(["enforce", "report"]),
    default="enforce",
    hidden=True,  # shows that the demo fails when the in proxy lets pass what it should refuse
)
def demo(keep: bool, enforce: str) -> None:
    """Show services call others through both proxies, and what is refused on the way.

    Everything runs on this machine's loopback, on ports that the system picks and in a temporary folder;
    nothing is left behind. Exit status: 0 only if every scene went as it should.
    """
    console = make_console()
    try:
        with _ending_in_order():
            went_well = _perform(console, keep, enforce)
    except StartError as error:
        raise click.ClickException(str(error)) from error
    sys.exit(0 if went_well else 1)


def _perform(console: Console, keep: bool, enforce: str) -> bool:
    show_introduction(console)
    console.print("Starting services, an in proxy, an impostor of it and three out proxies …\n")
    with set_up(enforce) as stage:
        scenes: list[Scene] = []
        for number, scene_of in enumerate(SCENES, 1):
            scenes.append(play(scene_of, stage))
            show_scene(console, number, scenes[-1])
        show_outcome(console, scenes)
        if keep:
            show_what_to_try(console, stage)
            _await_interrupt(console, stage)
    return not any(scene.wrong for scene in scenes)


def _await_interrupt(console: Console, stage: Stage) -> None:
    try:
        while all(proxy.is_running() for proxy in stage.proxies()):
            time.sleep(_CHECK_S)
    except KeyboardInterrupt:
        console.print("\nStopping.")
    else:
        raise StartError(f"a proxy has ended by itself; its log was in {stage.folder}")


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """Let the signals that end a program do so as exceptions, so that everything is taken down.

    Ctrl-C is among them: a shell may have started this program with SIGINT ignored.
    """

    def end(number: int, _: FrameType | None) -> None:
        sys.exit(128 + number)

    handlers = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: end, signal.SIGHUP: end}
    former = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
