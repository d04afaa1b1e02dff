"""`fastproxy demo`: the product's main job on loopback, in a few seconds."""

from __future__ import annotations

import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import click
from rich.console import Console

from fastproxy.bench.processes import StartError
from fastproxy.demo.breakages import BREAKAGES
from fastproxy.demo.broken import set_up_broken
from fastproxy.demo.scene import Scene
from fastproxy.demo.scenes import SCENES, play
from fastproxy.demo.show import (
    make_console,
    show_broken,
    show_introduction,
    show_outcome,
    show_scene,
    show_truth,
    show_what_to_try,
)
from fastproxy.demo.stage import set_up

_CHECK_S = 0.5
ANY = "any"
"""In place of a name of what is broken: one of them."""


@click.command()
@click.option("--keep", is_flag=True, help="Leave it running, with commands to try, until Ctrl-C.")
@click.option(
    "--break",
    "broken",
    type=click.Choice([*BREAKAGES, ANY]),
    metavar="NAME",
    help="Instead, run a pair with something broken in it, until Ctrl-C, for you to find out what: "
    f"{', '.join(BREAKAGES)}; or {ANY}, which picks one and doesn't say which.",
)
@click.option("--reveal", is_flag=True, help="With --break, say what is broken.")
@click.option(
    "--enforce",
    type=click.Choice(["enforce", "report"]),
    default="enforce",
    hidden=True,  # shows that the demo fails when the in proxy lets pass what it should refuse
)
def demo(keep: bool, broken: str | None, reveal: bool, enforce: str) -> None:
    """Show services call others through both proxies, and what is refused on the way.

    Everything runs on this machine's loopback, on ports that the system picks and in a temporary folder;
    nothing is left behind. Exit status: 0 only if every scene went as it should.
    """
    if reveal and broken is None:
        raise click.UsageError("--reveal needs --break NAME")
    console = make_console()
    try:
        with _ending_in_order():
            if broken is not None:
                _break(console, secrets.choice([*BREAKAGES]) if broken == ANY else broken, reveal)
                return
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
            _await_interrupt(console, lambda: all(proxy.is_running() for proxy in stage.proxies()))
    return not any(scene.wrong for scene in scenes)


def _break(console: Console, name: str, reveal: bool) -> None:
    console.print("Starting services, an out proxy and an in proxy, and breaking something …\n")
    with set_up_broken(BREAKAGES[name]) as broken:
        show_broken(console, broken, BREAKAGES[name])
        if reveal:
            show_truth(console, name, BREAKAGES[name])
        console.print("Ctrl-C ends everything and leaves nothing behind.")
        _await_interrupt(console, broken.is_running)
    if not reveal:
        console.print(f"To be told what it was: fastproxy demo --break {name} --reveal")


def _await_interrupt(console: Console, are_running: Callable[[], bool]) -> None:
    try:
        while are_running():
            time.sleep(_CHECK_S)
    except KeyboardInterrupt:
        console.print("\nStopping.")
    else:
        raise StartError("a proxy has ended by itself")


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
