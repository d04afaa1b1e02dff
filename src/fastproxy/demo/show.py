"""How the demo looks on a terminal, in a pipe and in a file. Decides nothing."""

from __future__ import annotations

import sys
import time
from io import TextIOWrapper
from textwrap import wrap

from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from fastproxy.demo.breakages import Breakage
from fastproxy.demo.broken import BrokenDemo
from fastproxy.demo.scene import Scene
from fastproxy.demo.stage import Stage

WIDTH = 100
_LABEL_WIDTH = 22
_GAP = "  "

_PATH = """\
   caller ──HTTP──▶ out proxy ══link══▶ eavesdropper ══▶ in proxy ──HTTP──▶ service"""

_KEPT = """\
The demo keeps running. Try, in another terminal:

  # the two calls
  curl -i -H 'C_ServiceName: song_service' -d param=hello {out}/token_service/api/service
  curl -i -H 'C_ServiceName: chat_service' -d param=hello {out}/search_service/api/service
  # no privilege
  curl -i -H 'C_ServiceName: song_service' -d param=hello {out}/search_service/api/service
  # over the rate, from the third time on
  curl -i -H 'C_ServiceName: chat_service' {out}/search_service/api/suggest
  # past its deadline
  curl -i -H 'C_ServiceName: song_service' -H 'request_dead_time: 1' -d x {out}/token_service/api/service
  # a stranger's key, and an impostor of the in proxy
  curl -i -d param=hello {stranger}/search_service/api/service
  curl -i -H 'C_ServiceName: chat_service' -d param=hello {out}/mail_service/api/service
  # past the eavesdropper, and by transport: http
  curl -i -H 'C_ServiceName: chat_service' -d param=hello {out}/order_service/api/service
  curl -i -H 'C_ServiceName: chat_service' -d param=hello {out}/report_service/api/service
  # in the original's format
  curl -i -d param=hello {old}/token_service/api/service
  # health and metrics: of the out proxy, of the in proxy
  curl http://{out_admin}/readyz
  curl http://{in_admin}/metrics
  # what they log
  tail -f {folder}/*.log

Ctrl-C ends everything and leaves nothing behind."""


_BROKEN = """\
Two proxies run, and two services call others through them, twice a second.

  admin address of the out proxy   http://{out_admin}
  admin address of the in proxy    http://{in_admin}

Users say since {since}: {complaint}.
One of the answers that chat_service got names the exchange {exchange}.

Why? Open both addresses in a browser: each is that proxy's dashboard. Or try, in another terminal:

  fastproxy why {exchange} --at {out_admin} --at {in_admin}
  curl -s http://{in_admin}/api/v1/failures
  curl -s http://{out_admin}/api/v1/failures
"""


def make_console() -> Console:
    """Return a console of at most `WIDTH` columns; what isn't a terminal gets plain text."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without lines and arrows still gets the words
    console = Console(highlight=False, emoji=False, markup=False)
    if not console.is_terminal or console.width > WIDTH:
        console.width = WIDTH
    return console


def show_introduction(console: Console) -> None:
    """Say what will be seen."""
    console.print(
        "fastproxy: services call others through an out proxy and an in proxy, over sealed links.\n"
    )
    console.print(Text(_PATH, style="bold"))
    console.print()


def show_scene(console: Console, number: int, scene: Scene) -> None:
    """Print a scene and how it went."""
    console.print(Rule(Text(f"{number}. {scene.title}", style="bold"), align="left", style="dim"))
    label_before = ""
    for label, text in scene.told:
        _show_row(console, "" if label == label_before else label, text, "cyan", "")
        label_before = label
    for wrong in scene.wrong:
        _show_row(console, "✗ not as it should be", wrong, "bold red", "red")
    if not scene.wrong:
        _show_row(console, "✓", "as it should be", "bold green", "green")
    console.print()


def _show_row(console: Console, label: str, text: str, label_style: str, text_style: str) -> None:
    width = max(console.width - _LABEL_WIDTH - len(_GAP), _LABEL_WIDTH)
    lines = [piece for line in text.splitlines() for piece in wrap(line, width)]
    for line in lines:
        console.print(Text.assemble((f"{label:>{_LABEL_WIDTH}}{_GAP}", label_style), (line, text_style)))
        label = ""


def show_outcome(console: Console, scenes: list[Scene]) -> None:
    """Print the last line: how many scenes went as they should."""
    good = sum(not scene.wrong for scene in scenes)
    style = "bold green" if good == len(scenes) else "bold red"
    console.print(Text(f"{good} of {len(scenes)} scenes went as they should.", style=style))


def show_what_to_try(console: Console, stage: Stage) -> None:
    """Print commands for a stage that keeps running; not wrapped, so that they can be copied."""
    text = _KEPT.format(
        out=f"http://127.0.0.1:{stage.out_proxy.port}",
        stranger=f"http://127.0.0.1:{stage.strangers_proxy.port}",
        old=f"http://127.0.0.1:{stage.old_proxy.port}",
        out_admin=stage.out_proxy.admin,
        in_admin=stage.in_proxy.admin,
        folder=stage.folder,
    )
    console.print(Text("\n" + text), soft_wrap=True)


def show_broken(console: Console, broken: BrokenDemo, breakage: Breakage) -> None:
    """Print where to look, and what users complain of; not what is wrong."""
    text = _BROKEN.format(
        out_admin=broken.out_proxy.admin,
        in_admin=broken.in_proxy.admin,
        since=time.strftime("%H:%M:%S"),
        complaint=breakage.complaint,
        exchange=broken.exchange,
    )
    console.print(Text(text), soft_wrap=True)


def show_truth(console: Console, name: str, breakage: Breakage) -> None:
    """Print what is wrong."""
    console.print(Text(f"{name}: {breakage.truth}"), soft_wrap=True)
    console.print(Text(f"The {breakage.hop} proxy knows, as {breakage.cause}."), soft_wrap=True)
