"""Which exchanges a tap asks for."""

from __future__ import annotations

import pytest

from fastproxy.telemetry.tapped import TapWanted

NAMES = ("web", "api", "/**")
OUTCOME = ("GET", 503, "connect_refused", "4bf92f3577b34da6a3ce929d0e0e4736")


def has(wanted: TapWanted) -> bool:
    return wanted.has_names(*NAMES) and wanted.has_outcome(*OUTCOME)


@pytest.mark.parametrize(
    ("wanted", "other"),
    [
        (TapWanted(caller="web"), TapWanted(caller="we")),
        (TapWanted(service="api"), TapWanted(service="web")),
        (TapWanted(route="/**"), TapWanted(route="/")),
        (TapWanted(method="GET"), TapWanted(method="POST")),
        (TapWanted(status="503"), TapWanted(status="504")),
        (TapWanted(status="5xx"), TapWanted(status="0")),
        (TapWanted(cause="connect_refused"), TapWanted(cause="connect_timeout")),
        (TapWanted(cause="*"), TapWanted(cause="caller_gone")),
        (TapWanted(trace=OUTCOME[3]), TapWanted(trace=OUTCOME[3][::-1])),
    ],
)
def test_an_exchange_is_among_them_if_all_that_is_asked_for_fits(wanted: TapWanted, other: TapWanted) -> None:
    assert has(TapWanted())
    assert has(wanted)
    assert not has(other)


def test_any_cause_leaves_out_what_went_well_and_0_is_no_answer() -> None:
    assert not TapWanted(cause="*").has_outcome("GET", 200, "", "")
    assert TapWanted(status="0").has_outcome("GET", 0, "caller_gone", "")
    assert not TapWanted(status="5xx").has_outcome("GET", 0, "caller_gone", "")
