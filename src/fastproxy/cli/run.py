"""`fastproxy run FILE`: run a proxy until it is told to stop."""

from __future__ import annotations

import asyncio
import sys

import click
import uvloop

from fastproxy.app.running import serve
from fastproxy.config.load import load
from fastproxy.config.problem import ConfigError
from fastproxy.net.listener import StartError
from fastproxy.policy.pattern import parse_pattern
from fastproxy.telemetry import log


@click.command()
@click.argument("file", type=click.Path(dir_okay=False))
def run(file: str) -> None:
    """Run the proxy that FILE describes.

    SIGTERM and SIGINT drain it: it takes nothing new, finishes what is in flight and exits with 0.
    Exit codes: 1 it can't start, 2 the config can't be used.
    """
    try:
        snapshot = load(file, check_pattern=parse_pattern)
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        sys.exit(2)
    log.setup(snapshot.config.log.level, snapshot.config.log.format)
    for warning in snapshot.warnings:
        print(warning, file=sys.stderr)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(snapshot))
    except StartError as error:
        print(f"fastproxy: {error}", file=sys.stderr)
        sys.exit(1)
