"""The conformance run: 189 raw requests at the out proxy's listener, an in proxy and a service behind it,
over each transport of ours.

What passes by silence alone would pass with the proxy switched off, so the run also asserts which cases do:
requests that never end, and those are played again under short limits, where they have to end.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.conformance import ANSWER_S, SILENCE_S, Case, Outcome, play, read_corpus
from tests.e2e.echo_service import echo_service

CORPUS = Path(__file__).parents[1] / "data" / "http11.json"
PAGE = Path(__file__).parents[2] / "docs" / "http.md"

NOT_PASSED = {
    "MAL-URL-PERCENT-CRLF": "an encoded line break is a well-formed part of a path and stays encoded"
}
"""Scored cases that don't pass, and why; `docs/http.md` has the same list."""

UNFINISHED = {
    "COMP-POST-CL-UNDERSEND",
    "COMP-CHUNKED-NO-FINAL",
    "MAL-POST-CL-HUGE-NO-BODY",
    "MAL-INCOMPLETE-REQUEST",
    "MAL-EMPTY-REQUEST",
}
"""Cases that are only the beginning of a request: there is nothing to refuse until a timeout says so."""

SHORT_LIMITS = {"header_timeout_s": 1.5, "body_timeout_s": 1.5}


def keys(folder: Path, name: str) -> str:
    """Make a key pair; returns the public key."""
    command = [sys.executable, "-m", "fastproxy", "keys", "new", name]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return (folder / f"{name}.pub").read_text().split()[0]


@contextmanager
def proxy(file: Path, config: object) -> Iterator[tuple[str, int]]:
    """Run a proxy; yields the address that it listens on. It has to end with 0."""
    file.write_text(json.dumps(config))  # JSON is YAML
    command = [sys.executable, "-m", "fastproxy", "run", str(file)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            ready = json.loads(process.stderr.readline())
            assert ready["message"] == "ready"
            host, _, port = ready["listen"].rpartition(":")
            yield host, int(port)
        finally:
            process.terminate()
            _, log = process.communicate(timeout=10)
        assert process.returncode == 0, log
        assert '"level":"error"' not in log, log
        assert "Traceback" not in log


@dataclass
class Run:
    """What came of the cases, by id.

    outcomes: of all, with the default limits. in_time: of the unfinished ones, with `SHORT_LIMITS`.
    """

    outcomes: dict[str, Outcome]
    in_time: dict[str, Outcome]

    def scored(self, level: str = "") -> list[Outcome]:
        """The outcomes that count, of one level or of all."""
        return [each for each in self.outcomes.values()
                if each.case["scored"] and each.case["level"] in (level or each.case["level"])]  # fmt: skip


@pytest.fixture(scope="module", params=["link", "http"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    transport = request.param
    folder = tmp_path_factory.mktemp("conformance")
    caller_key, receiver_key = keys(folder, "caller"), keys(folder, "receiver")
    cases = read_corpus(CORPUS)
    with ExitStack() as stack:
        service_host, service_port = stack.enter_context(echo_service())
        in_config = {
            "role": "in",
            "name": "receiver",
            "listen": {"address": "127.0.0.1:0", "accept": [transport]},
            "private_key": {"file": "receiver.key"},
            "callers": {"caller": {"public_keys": [caller_key]}},
            "services": {"echo": {"endpoints": [f"{service_host}:{service_port}"]}},
            "privileges": [{"callers": ["caller"], "services": ["echo"]}],
            "log": {"access": "off"},
            "workers": 1,
        }
        in_host, in_port = stack.enter_context(proxy(folder / "in.yaml", in_config))
        receiver = {"name": "receiver", "public_keys": [receiver_key]}
        way = {"transport": transport, "receiver": receiver, "endpoints": [f"{in_host}:{in_port}"]}
        out_config = {
            "role": "out",
            "listen": {"address": "127.0.0.1:0", "service_from": "fixed", "service": "echo"},
            "caller": "caller",
            "private_key": {"file": "caller.key"},
            "services": {"echo": way},
            "log": {"access": "off"},
            "workers": 1,
        }
        address = stack.enter_context(proxy(folder / "out.yaml", out_config))
        hasty = stack.enter_context(proxy(folder / "hasty.yaml", out_config | {"limits": SHORT_LIMITS}))
        threads = stack.enter_context(ThreadPoolExecutor(32))
        played = threads.map(lambda case: play(address, case, patience_of(case)), cases)
        unfinished = [case for case in cases if case["id"] in UNFINISHED]
        again = threads.map(lambda case: play(hasty, case), unfinished)
        return Run(
            {outcome.case["id"]: outcome for outcome in played},
            {outcome.case["id"]: outcome for outcome in again},
        )


def patience_of(case: Case) -> float:
    """How long to wait for an answer, in seconds."""
    return SILENCE_S if case["id"] in UNFINISHED else ANSWER_S


def test_every_case_was_played(run: Run) -> None:
    assert len(run.outcomes) == 189
    assert len(run.scored()) == 157


def test_every_must_case_passes(run: Run) -> None:
    must = run.scored("must")
    assert len(must) == 109
    assert {each.case["id"]: each.answer.raw[:60] for each in must if each.verdict != "pass"} == {}


def test_exactly_the_listed_cases_do_not_pass(run: Run) -> None:
    assert {each.case["id"] for each in run.scored() if each.verdict != "pass"} == set(NOT_PASSED)
    assert sum(each.verdict == "pass" for each in run.scored()) >= 150


def test_only_unfinished_requests_are_met_with_silence(run: Run) -> None:
    assert {name for name, each in run.outcomes.items() if each.silent} == UNFINISHED


def test_unfinished_requests_end_with_their_timeout(run: Run) -> None:
    ends = {name: (each.answer.status, each.answer.ended) for name, each in run.in_time.items()}
    expected: dict[str, tuple[int | None, str]] = dict.fromkeys(UNFINISHED, (408, "closed"))
    assert ends == expected | {"MAL-EMPTY-REQUEST": (None, "closed")}  # who said nothing is told nothing


def test_no_case_makes_a_hop_err(run: Run) -> None:
    statuses = {name: each.answer.status for name, each in run.outcomes.items()}
    assert {name: status for name, status in statuses.items() if status in (500, 502, 503, 504)} == {}


def test_the_page_lists_what_does_not_pass() -> None:
    page = PAGE.read_text()
    assert [name for name in NOT_PASSED if f"`{name}`" not in page] == []
    assert [name for name in UNFINISHED if f"`{name}`" not in page] == []
