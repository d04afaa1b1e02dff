"""`fastproxy tap`: exchanges of running proxies, shown as they end."""

from __future__ import annotations

import http.client
import json
import signal
import sys
import threading
import time
from collections.abc import Iterator
from queue import Empty, Queue
from types import FrameType
from typing import Any
from urllib.parse import urlencode

import click

from fastproxy.cli.admin_request import asked
from fastproxy.cli.admin_target import AT_HELP, admins_of
from fastproxy.cli.profile_target import Target
from fastproxy.cli.tap_lines import lines_of
from fastproxy.telemetry.terminal import harmless, harmless_json

_LINES_HELD = 1000
"""That wait to be shown; a terminal that takes them too slowly makes the proxy drop and count them."""
_SILENCE_S = 60.0
"""After that time without a byte a proxy is gone: it writes an empty line every 15 s."""
_LINE_BYTES = 2**20
_OK, _NOBODY = 0, 1


class _Feed(threading.Thread):
    """Reads the tap of one proxy.

    Args:
        name: what it was said as. target: its admin address. path: of the tap.
        lines: gets name and line; at the end the reason, as words.
    """

    def __init__(self, name: str, target: Target, path: str, lines: Queue[tuple[str, bytes | str]]) -> None:
        super().__init__(daemon=True)
        self._name = name
        self._target = target
        self._path = path
        self._lines = lines

    def run(self) -> None:
        """Read until it ends."""
        try:
            with asked(self._target, self._path) as connection:
                response = connection.getresponse()
                if response.status != http.client.OK:
                    raise click.ClickException(_refusal(response.status, response.read(_LINE_BYTES)))
                connection.sock.settimeout(_SILENCE_S)
                while line := response.readline(_LINE_BYTES):
                    if line != b"\n":
                        self._lines.put((self._name, line))
            words = "it has ended"
        except click.ClickException as error:
            words = error.message
        self._lines.put((self._name, words))


@click.command()
@click.option("--at", "targets", multiple=True, metavar="TARGET", help=AT_HELP)
@click.option("--token-file", metavar="FILE", help="File with the token of the admin addresses.")
@click.option("--caller", default="", help="Only exchanges of this caller.")
@click.option("--service", default="", help="Only those with this service.")
@click.option("--route", default="", help="Only those on this route, as metrics have it.")
@click.option("--method", default="", help="Only those with this method.")
@click.option("--status", default="", help="Only those with this status, such as 503 or 5xx; 0: no answer.")
@click.option("--cause", default="", help="Only those that failed for this cause; '*': for any.")
@click.option("--trace", default="", help="Only those of this trace.")
@click.option("--heads", is_flag=True, help="Show the heads of requests and answers as well.")
@click.option("--content", default=0, metavar="BYTES", help="Show so many first bytes of contents as well.")
@click.option("--unredacted", is_flag=True, help="Show fields that may be secret, and not `(redacted)`.")
@click.option("-n", "--count", default=0, metavar="N", help="End after N exchanges. [default: at Ctrl-C]")
@click.option("--json", "as_json", is_flag=True, help="Lines of JSON, as when the output is no terminal.")
def tap(
    targets: tuple[str, ...],
    token_file: str | None,
    heads: bool,
    content: int,
    unredacted: bool,
    count: int,
    as_json: bool,
    **wanted: str,
) -> None:
    """Show exchanges of running proxies as they end, those that fit all that is asked for.

    \b
      fastproxy tap --at in.yaml --caller web --status 5xx
      fastproxy tap --at out.yaml --at in.yaml --cause '*' --heads

    Fields that may be secret are shown as (redacted), contents not at all. `--content` and `--unredacted`
    need `admin.token` or the proxy's own Unix socket. Every tap is logged by the proxy. While there is one,
    each exchange costs the proxy about three times as much, so end it (Ctrl-C) when you have seen enough.

    Exit codes: 0 it was ended here; 1 the proxies ended, or refused.
    """
    query = {name: value for name, value in wanted.items() if value}
    if content:
        query["content"] = str(content)
    if unredacted:
        query["unredacted"] = "true"
    shows_json = as_json or not sys.stdout.isatty()
    admins = admins_of(targets, token_file)
    lines: Queue[tuple[str, bytes | str]] = Queue(_LINES_HELD)
    for name, admin in admins.items():
        _Feed(name, admin, f"/api/v1/tap?{urlencode(query)}", lines).start()
    if not shows_json:
        click.echo(f"tapping {', '.join(admins)}; Ctrl-C ends", err=True)
    tally = _Tally(set(admins))
    signal.signal(signal.SIGINT, tally.interrupt)
    try:
        for name, said in tally.each(lines, count):
            if shows_json:
                sys.stdout.buffer.write(harmless_json(said))
                sys.stdout.flush()
            else:
                one = json.loads(said)
                for line in lines_of(one, shows_heads=heads or bool(content), name=name):
                    click.echo(line)
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:  # whoever read it has seen enough
        sys.stderr.close()
        sys.exit(_OK)
    click.echo(tally.words(), err=True)
    sys.exit(_OK if tally.going_on else _NOBODY)


class _Tally:
    """Counts what is shown.

    going_on: names of the proxies whose taps haven't ended, or haven't to be waited for.
    """

    def __init__(self, names: set[str]) -> None:
        self.going_on = names
        self._shown = self._dropped = 0
        self._is_over = False
        self._began_s = time.monotonic()

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """Wait for nothing more: a handler of signals.

        An exception alone may be lost: where it comes up in what the interpreter calls by itself.
        """
        self._is_over = True
        raise KeyboardInterrupt

    def each(self, lines: Queue[tuple[str, bytes | str]], count: int) -> Iterator[tuple[str, bytes]]:
        """Yield lines as they come, with the proxy that they are of, until all have ended.

        Args:
            count: end after so many; 0 for no end.
        """
        while self.going_on and not self._is_over:
            try:
                name, said = lines.get(timeout=0.5)
            except Empty:  # the wait ends so that Ctrl-C is heard
                continue
            if isinstance(said, str):
                self.going_on.discard(name)
                click.echo(harmless(f"{name}: {said}"), err=True)
                continue
            if said.startswith(b'{"dropped"'):
                self._dropped += int(json.loads(said)["dropped"])
            else:
                self._shown += 1
            yield name, said
            if self._shown == count:
                return

    def words(self) -> str:
        """Say what was shown."""
        dropped = f", {self._dropped} dropped: this end was too slow" if self._dropped else ""
        lasted_s = time.monotonic() - self._began_s
        return f"{self._shown} exchange{'s' * (self._shown != 1)} in {lasted_s:.0f} s{dropped}"


def _refusal(status: int, content: bytes) -> str:
    try:
        told: Any = json.loads(content)
        words = told["detail"]
    except (ValueError, LookupError, TypeError):
        words = "it is no proxy of this version"
    return f"it says {status}: {words}"
