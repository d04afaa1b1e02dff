"""The plots of a report, drawn by matplotlib as SVG that stands in an HTML page.

The ink is the page's own text colour, the chains have colours of a middle lightness and the background is
nothing, so that a plot is legible on light and on dark. The canvas is small and its letters large: on a phone
it is shown at its own size, elsewhere larger. The only module that needs matplotlib.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from fastproxy.bench.record import ScenarioRecord
from fastproxy.bench.scenario import Plot

WIDTH_IN, HEIGHT_IN = 5.3, 3.5
LEGEND_ROW_IN = 0.19
LEGEND_COLUMNS = 3

INK = "#010203"
"""Stands for the page's text colour until the SVG is written; no chain has it."""

STYLES = {
    "none": ("#8a8f98", "o"),
    "haproxy-tcp": ("#a9812f", "s"),
    "haproxy-h1": ("#cf8a2e", "D"),
    "haproxy-h2": ("#d9622b", "^"),
    "nginx-h1": ("#3f9d5c", "v"),
    "envoy-h2": ("#b05fc4", "P"),
    "fastproxy-link": ("#2f86e0", "X"),
    "fastproxy-http": ("#14a3a8", "<"),
    "fastproxy-compat": ("#7a78d8", ">"),
}
"""Colour and marker of each chain, the same in every plot."""

OTHER_STYLE = ("#b06a6a", "*")

_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",  # letters stay letters: small, sharp, and in the page's font
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": INK,
    "grid.alpha": 0.15,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}

_PROLOG = re.compile(r"^.*?(?=<svg)", re.DOTALL)
_METADATA = re.compile(r"\s*<metadata>.*?</metadata>", re.DOTALL)
_GROUP_ID = re.compile(r'<g id="[^"]*"')
_SIZE = re.compile(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', re.DOTALL)
_STYLE = re.compile(r"\s*<defs>\s*<style.*?</style>\s*</defs>", re.DOTALL)
"""Would hold for the whole page, whose own style says the same of plots."""

_FONT = re.compile(r'; font-family: [^;"]*')


def draw(scenario: ScenarioRecord, plot: Plot) -> str | None:
    """Return a plot as an SVG element, None when there is nothing to draw."""
    salt = f"{scenario.name}-{plot.name}"  # ids of different plots in one page differ, and stay the same
    with mpl.rc_context({**_SETTINGS, "svg.hashsalt": salt}):
        canvas = Canvas(figsize=(WIDTH_IN, HEIGHT_IN), layout="constrained")
        axes = canvas.add_subplot()
        if any(figure.name == plot.name for figure in scenario.figures):
            is_drawn = (_draw_sweep if scenario.is_swept() else _draw_bars)(axes, scenario, plot)
        else:
            is_drawn = _draw_series(axes, scenario, plot)
        if not is_drawn:
            return None
        written = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        canvas.savefig(written, format="svg", transparent=True, metadata=nothing)
    return _inline(written.getvalue())


def _draw_bars(axes: Axes, scenario: ScenarioRecord, plot: Plot) -> bool:
    """Draw a bar for each chain, with its spread and its median in figures."""
    (point,) = scenario.points
    (form,) = (figure.form for figure in scenario.figures if figure.name == plot.name)
    spreads = {
        chain.name: spread
        for chain in scenario.chains
        if (spread := scenario.spread_of(chain.name, point.name, plot.name)) is not None
    }
    names = list(spreads)
    medians = [spread.median for spread in spreads.values()]
    below = [spread.median - spread.low for spread in spreads.values()]
    above = [spread.high - spread.median for spread in spreads.values()]
    axes.barh(
        names,
        medians,
        xerr=[below, above],
        color=[STYLES.get(name, OTHER_STYLE)[0] for name in names],
        error_kw={"ecolor": INK, "elinewidth": 1, "capsize": 2.5},
        height=0.7,
    )
    most = max((spread.high for spread in spreads.values()), default=0.0)
    for row, spread in enumerate(spreads.values()):
        axes.text(spread.high + 0.02 * most, row, f"{spread.median:{form}}", va="center")
    axes.set_xlim(0, 1.17 * most or 1.0)  # room for the figures
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(plot.y_label)
    axes.xaxis.set_major_formatter(FuncFormatter(_plain))
    return bool(names)


def _draw_sweep(axes: Axes, scenario: ScenarioRecord, plot: Plot) -> bool:
    """Draw a line of medians for each chain, with the spread at every point."""
    values = [point.value for point in scenario.points]
    # Points that share a value, or have none, stand side by side.
    is_scale = len(set(values)) == len(values)
    places = {point.name: point.value if is_scale else number for number, point in enumerate(scenario.points)}
    for chain in scenario.chains:
        spreads = {
            places[point.name]: spread
            for point in scenario.points
            if (spread := scenario.spread_of(chain.name, point.name, plot.name)) is not None
        }
        if not spreads:
            continue
        axes.errorbar(
            list(spreads),
            [spread.median for spread in spreads.values()],
            yerr=[
                [spread.median - spread.low for spread in spreads.values()],
                [spread.high - spread.median for spread in spreads.values()],
            ],
            label=chain.name,
            elinewidth=0.8,
            **_line(chain.name),
            linestyle="-" if is_scale else "none",
        )
    _set_scales(axes, plot, is_log_x=plot.is_log_x and is_scale)
    axes.xaxis.set_major_locator(FixedLocator(list(places.values())))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(list(places.values()), labels=list(places), rotation=_slant(list(places)))
    axes.set_xlabel(scenario.axis)
    return _add_legend(axes)


def _draw_series(axes: Axes, scenario: ScenarioRecord, plot: Plot) -> bool:
    """Draw a line over time for each chain."""
    for chain in scenario.chains:
        series = scenario.series_of(chain.name, plot.name)
        if series:
            style = _line(chain.name) | {"marker": None}
            axes.plot([at_s for at_s, _ in series], [value for _, value in series], label=chain.name, **style)
    _set_scales(axes, plot, is_log_x=plot.is_log_x)
    axes.set_xlabel("seconds")
    return _add_legend(axes)


def _set_scales(axes: Axes, plot: Plot, *, is_log_x: bool) -> None:
    axes.set_ylabel(plot.y_label)
    if is_log_x:
        axes.set_xscale("log")
    if plot.is_log_y:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(_plain))


def _add_legend(axes: Axes) -> bool:
    """Put the legend below, which costs height and not width; return whether there is anything to name."""
    handles, labels = axes.get_legend_handles_labels()
    canvas = axes.figure
    if not labels or not isinstance(canvas, Canvas):
        return False
    rows = -(-len(labels) // LEGEND_COLUMNS)
    canvas.set_figheight(HEIGHT_IN + rows * LEGEND_ROW_IN)
    canvas.legend(handles, labels, loc="outside lower center", ncols=LEGEND_COLUMNS)
    return True


def _line(chain: str) -> dict[str, Any]:
    is_own = chain.startswith("fastproxy")
    colour, marker = STYLES.get(chain, OTHER_STYLE)
    return {
        "color": colour,
        "marker": marker,
        "markersize": 4.5 if is_own else 3.5,
        "linewidth": 2.2 if is_own else 1.2,
    }


def _slant(labels: Sequence[str]) -> int:
    """Return by how many degrees the labels of the axis are turned, so that they don't overlap."""
    return 35 if sum(map(len, labels)) > 45 else 0


def _plain(value: float, position: int | None) -> str:
    return f"{value:,.10g}"


def _inline(svg: str) -> str:
    """Return the drawing as an element of a page: no prolog, no ids of groups, as wide as there is room."""
    svg = _PROLOG.sub("", svg, count=1)
    for unwanted in (_METADATA, _STYLE, _FONT):
        svg = unwanted.sub("", svg)
    svg = _GROUP_ID.sub("<g", svg)
    svg = _SIZE.sub(
        r'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        r'viewBox="\1" role="img">',
        svg,
        count=1,
    )
    return svg.replace(INK, "currentColor").strip()
