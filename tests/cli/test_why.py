"""How a story is told of what proxies have kept: by one of them, by both, and of whatever kind it is."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fastproxy.cli.admin_target import is_address
from fastproxy.cli.why import story
from fastproxy.telemetry.failure_words import with_words
from fastproxy.telemetry.failures import Failure
from fastproxy.telemetry.terminal import harmless

Kept = dict[str, Any]


def kept(role: str, cause: str, **fields: Any) -> Kept:
    failure = Failure(
        exchange="x1", at_unix_s=1e9, phase="wait", cause=cause, status=502, method="GET", path="/a",
        caller="web", service="api", endpoint="10.0.0.7:80", attempts=1, duration_s=0.25,
    )  # fmt: skip
    for name, value in ({"hop": f"{role}1", "role": role} | fields).items():
        setattr(failure, name, value)
    told: Kept = msgspec.to_builtins(with_words(failure))
    return told


def told(*failures: Kept) -> str:
    return "\n".join(story("x1", failures))


def test_the_hop_that_decided_says_why_and_the_other_only_that() -> None:
    numbers = {"per_s": 5.0, "burst": 10, "timeout_s": 15.0}
    text = told(
        kept("out", "rate_limited", origin="next hop", phase="rate", status=429, detail="5 per second"),
        kept("in", "rate_limited", phase="rate", status=429, detail="5 per second", numbers=numbers),
    )
    assert "1. The out proxy 'out1' sent it to 10.0.0.7:80, which refused it in phase rate: 429" in text
    assert "2. The in proxy 'in1' refused it in phase rate: 429 rate_limited" in text
    assert text.count("This caller is over its rate on this route: 5 per second") == 1
    assert "decided by: per_s 5, burst 10\n" in text


def test_where_only_the_out_proxy_was_asked_it_has_the_words_of_the_other() -> None:
    text = told(kept("out", "no_privilege", origin="next hop", phase="privilege", status=403, detail="why"))
    assert "which refused it in phase privilege: 403 no_privilege" in text
    assert "has no privilege on this route: why" in text
    assert text.endswith("More: docs/troubleshooting.md#no_privilege")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"cause": "deadline_exceeded", "status": 504, "numbers": {"timeout_s": 2.0, "budget_left_s": -0.01}},
         "could not carry it through in phase wait: 504 deadline_exceeded"),
        ({"cause": "connection_lost", "phase": "answer", "status": 200}, "broke off the answer"),
        ({"cause": "caller_gone", "status": 0}, "had it in phase wait when the caller hung up"),
        ({"cause": "no_privilege", "is_enforced": False}, "but let it pass (`enforce: report`)"),
    ],
)  # fmt: skip
def test_every_kind_of_end_has_its_words(fields: Kept, words: str) -> None:
    assert words in told(kept("in", **fields))


def test_the_numbers_of_a_deadline_are_told() -> None:
    text = told(kept("in", "deadline_exceeded", numbers={"timeout_s": 2.0, "budget_left_s": -0.01}))
    assert "decided by: timeout_s 2, budget_left_s -0.01" in text


def test_what_never_became_a_request_has_a_story_too() -> None:
    text = told(kept("out", "malformed_request", status=400, method="", path="", caller="", service=""))
    assert "an unknown caller called an unknown service\n" in text


def test_a_trace_is_named() -> None:
    assert "in trace 4bf92f" in told(kept("out", "connect_refused", trace_id="4bf92f"))


def test_nothing_that_a_peer_wrote_steers_the_terminal() -> None:
    assert harmless("a\x1b[2Jb\n\u202ec") == "a\\x1b[2Jb\\n\\u202ec"


@pytest.mark.parametrize(
    ("target", "is_one"),
    [
        ("http://127.0.0.1:1", True), ("unix:/run/x", True), ("localhost:9034", True), ("[::1]:9034", True),
        ("123", False), ("out.yaml", False), ("/etc/a:b.yaml", False),
    ],
)  # fmt: skip
def test_addresses_are_told_from_files_and_processes(target: str, is_one: bool) -> None:
    assert is_address(target) == is_one
