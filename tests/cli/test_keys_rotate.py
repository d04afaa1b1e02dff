"""`fastproxy keys rotate` and `keys status`, as far as it takes no running proxy to see it.

Rotations of running proxies stand in `tests/e2e/keys`.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from fastproxy.telemetry.key_uses import CALLER, OTHER, OWN, KeyUse, Row
from fastproxy.wire.identity import PrivateKey
from tests.cli.admin_double import answering, metrics_of
from tests.cli.conftest import Call

NOBODY = "unix:/nobody/listens/here"


@pytest.fixture
def call(pair: Call) -> Call:
    """Commands in a folder with configs that have no admin address, and an in proxy that doesn't run."""
    for name in ("out.yaml", "in.yaml"):
        lines = Path(name).read_text().splitlines()
        text = "\n".join(line for line in lines if not line.startswith("admin:"))
        Path(name).write_text(text.replace('endpoints: ["127.0.0.1:8033"]', f'endpoints: ["{NOBODY}"]'))
    return pair


def id_in(file: str) -> str:
    return PrivateKey.parse(Path(file).read_text()).key_id.hex()


def files() -> dict[str, str]:
    return {file.name: file.read_text() for file in Path().iterdir()}


def used(kind: str, name: str, key_id: str, last_unix_s: float, still: int = 0) -> KeyUse:
    return KeyUse(Row(kind, name, key_id), 1, still, last_unix_s)


def test_without_a_stage_it_says_which_is_next(call: Call) -> None:
    result = call("keys", "rotate", "out.yaml")
    assert result.exit_code == 0
    assert f"in use   id {id_in('web.key')}" in result.output
    assert "next: fastproxy keys rotate out.yaml prepare" in result.output
    call("keys", "rotate", "out.yaml", "prepare")
    assert "next: fastproxy keys rotate out.yaml confirm" in call("keys", "rotate", "out.yaml").output


@pytest.mark.parametrize(("config", "name"), [("out.yaml", "web"), ("in.yaml", "services-in")])
def test_prepare_makes_a_key_and_says_whom_to_tell(call: Call, config: str, name: str) -> None:
    before = files()
    assert call("keys", "rotate", config, "prepare", "--dry-run").exit_code == 0
    assert files() == before
    result = call("keys", "rotate", config, "prepare", "--days", "30")
    assert result.exit_code == 0
    made = PrivateKey.parse(Path(f"{name}.key.next").read_text())
    assert Path(f"{name}.key").read_text() == before[f"{name}.key"]
    for private in (made.reveal(), before[f"{name}.key"].strip()):
        assert private not in result.output
    first, second = Path(f"{name}.pub").read_text().splitlines()
    assert first.startswith(f"{made.public_key.hex()} not_after ")
    assert f"{{key: {made.public_key.hex()}, not_after: {first.split()[2]}}}, {second}" in result.output
    after = files()
    again = call("keys", "rotate", config, "prepare")
    assert again.exit_code == 0
    assert "was made already" in again.output
    assert files() == after


@pytest.mark.parametrize("stage", ["confirm", "use"])
def test_a_receiver_that_nobody_listens_as_stops_it(call: Call, stage: str) -> None:
    call("keys", "rotate", "out.yaml", "prepare")
    before = files()
    result = call("keys", "rotate", "out.yaml", stage)
    assert result.exit_code == 1
    assert f"not yet   services-in at {NOBODY} over link: " in result.output
    assert files() == before


def test_a_receiver_may_be_excepted(call: Call) -> None:
    call("keys", "rotate", "out.yaml", "prepare")
    result = call("keys", "rotate", "out.yaml", "use", "--except", "services-in")
    assert result.exit_code == 0
    assert "excepted  services-in" in result.output
    assert not Path("web.key.next").exists()
    assert call("keys", "rotate", "out.yaml", "confirm").exit_code == 0


def test_a_stage_before_its_turn_says_so(call: Call) -> None:
    for stage, words in (("confirm", "keys rotate out.yaml prepare"), ("use", "prepare it first")):
        result = call("keys", "rotate", "out.yaml", stage)
        assert result.exit_code == 1
        assert words in result.output


# --- what it takes to confirm a receiver's key --------------------------------------------------------------


def confirm(call: Call, *uses: tuple[str, float], age_s: float = 1000.0, more: tuple[str, ...] = ()) -> str:
    """Ask whether `web` knows the next key, which it last used so many seconds ago; return what is said."""
    now_s = time.time()
    rows = [used(OWN, "web", id_in(file), now_s - ago_s) for file, ago_s in uses]
    with answering(metrics_of(now_s - age_s, *rows)) as url:
        result = call("keys", "rotate", "in.yaml", "confirm", "--admin", url, *more)
    assert result.exit_code == (0 if "confirmed: " in result.output else 1)
    return result.output


KEY, NEXT = "services-in.key", "services-in.key.next"


def test_a_receivers_key_is_confirmed_by_callers_that_used_it_last(call: Call) -> None:
    call("keys", "rotate", "in.yaml", "prepare")
    assert "not yet   web: has not called since 10 min ago" in confirm(call, age_s=600)
    assert "not yet   web: used the key in use last, 10 min ago" in confirm(call, (KEY, 600))
    assert "accepted  web" in confirm(call, (NEXT, 10))
    assert "accepted  web" in confirm(call, (KEY, 500), (NEXT, 10))
    assert "accepted  web" in confirm(call, (KEY, 0), (NEXT, 1)), "both are there now"
    assert "not yet   web" in confirm(call, (KEY, 10), (NEXT, 500)), "it went back"
    assert "excepted  web" in confirm(call, more=("--except", "web"))


def test_without_anybody_to_ask_nothing_is_assumed(call: Call) -> None:
    call("keys", "rotate", "in.yaml", "prepare")
    result = call("keys", "rotate", "in.yaml", "use")
    assert result.exit_code == 1
    assert "nobody can be asked" in result.output
    result = call("keys", "rotate", "in.yaml", "use", "--admin", NOBODY)
    assert result.exit_code == 1
    assert "does not answer" in result.output
    assert Path(NEXT).exists()


# --- what it takes to retire a key --------------------------------------------------------------------------


def retire(call: Call, since_s: float, *uses: KeyUse) -> str:
    """Try to retire the old key of `web`, that has to be quiet for 1000 s; return what is said."""
    with answering(metrics_of(time.time() - since_s, *uses)) as url:
        result = call("keys", "rotate", "out.yaml", "retire", "--quiet-s", "1000", "--admin", url)
    assert result.exit_code == (1 if "not yet" in result.output else 0)
    assert Path("web.key.old").exists() == ("not yet" in result.output)
    return result.output


def test_an_old_key_goes_when_nobody_has_used_it_for_long(call: Call) -> None:
    now_s = time.time()
    call("keys", "rotate", "out.yaml", "prepare")
    call("keys", "rotate", "out.yaml", "use", "--except", "services-in")
    old, current = id_in("web.key.old"), id_in("web.key")
    assert " by web, 2 open now" in retire(call, 9999, used(CALLER, "web", old, now_s - 5000, still=2))
    assert "used last 10 min ago by web" in retire(call, 9999, used(CALLER, "web", old, now_s - 600))
    assert "not used; counting since" in retire(call, 600, used(CALLER, "web", current, now_s))
    assert "not yet" in retire(call, 9999, used(CALLER, OTHER, OTHER, now_s - 600)), "it may be among them"
    result = retire(
        call, 9999, used(CALLER, "web", current, now_s, still=2), used(CALLER, "web", old, now_s - 2000)
    )
    assert "the old key is gone" in result
    assert (
        Path("web.pub").read_text() == PrivateKey.parse(Path("web.key").read_text()).public_key.hex() + "\n"
    )


def test_all_that_are_asked_have_to_be_quiet(call: Call) -> None:
    now_s = time.time()
    call("keys", "rotate", "out.yaml", "prepare")
    call("keys", "rotate", "out.yaml", "use", "--except", "services-in")
    quiet, busy = (
        metrics_of(now_s - 9999),
        metrics_of(now_s - 9999, used(CALLER, "web", id_in("web.key.old"), now_s)),
    )
    with answering(quiet) as one, answering(busy) as other:
        result = call("keys", "rotate", "out.yaml", "retire", "--admin", one, "--admin", other)
    assert result.exit_code == 1
    assert ("quiet    127" in result.output, "not yet  127" in result.output) == (True, True)
    assert Path("web.key.old").exists()


# --- what can't be rotated ----------------------------------------------------------------------------------


def test_keys_that_are_not_in_a_file_of_their_own_are_left_alone(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = Path("out.yaml").read_text()
    monkeypatch.setenv("WEB_KEY", Path("web.key").read_text().strip())
    Path("env.yaml").write_text(text.replace('{file: "web.key"}', "{env: WEB_KEY}"))
    assert "is in the environment" in call("keys", "rotate", "env.yaml", "prepare").output
    inside = (
        Path("in.yaml")
        .read_text()
        .replace(
            "private_key: {file: services-in.key}",
            "private_keys: [{file: services-in.key}, {file: other.key}]",
        )
    )
    call("keys", "new", "other")
    Path("several.yaml").write_text(inside)
    assert "keep the one in use" in call("keys", "rotate", "several.yaml", "prepare").output
    assert call("keys", "rotate", "in.yaml", "--caller", "web").exit_code == 2
    assert not list(Path().glob("*.next"))


def test_of_several_callers_one_has_to_be_named(call: Call) -> None:
    call("keys", "new", "mail")
    text = Path("out.yaml").read_text().replace('caller: "web"\n', "")
    names = ", ".join(f"{name}: {{private_key: {{file: {name}.key}}}}" for name in ("web", "mail"))
    several = f"callers: {{header: x-caller, names: {{{names}}}}}"
    Path("out.yaml").write_text(text.replace('private_key: {file: "web.key"}', several))
    result = call("keys", "rotate", "out.yaml", "prepare")
    assert result.exit_code == 2
    assert "--caller NAME, of web, mail" in result.output
    assert call("keys", "rotate", "out.yaml", "--caller", "nobody").exit_code == 2
    result = call("keys", "rotate", "out.yaml", "prepare", "--caller", "mail")
    assert "next: fastproxy keys rotate out.yaml confirm --caller mail" in result.output
    assert Path("mail.key.next").exists()


# --- status -------------------------------------------------------------------------------------------------


def test_status_shows_state_age_dates_and_use(call: Call) -> None:
    call("keys", "rotate", "in.yaml", "prepare", "--days", "30")
    now_s = time.time()
    rows = (
        used(OWN, "web", id_in(KEY), now_s - 3, still=1),
        used(CALLER, "web", id_in("web.key"), now_s - 7200),
    )
    with answering(metrics_of(now_s - 9999, *rows)) as url:
        document = json.loads(call("keys", "status", "in.yaml", "--admin", url, "--json").output)
        table = call("keys", "status", "in.yaml", "--admin", url).output
    by_id = {key["key_id"]: key for key in document["keys"]}
    assert [key["state"] for key in document["keys"]] == ["in use", "next", "accepted"]
    in_use, following, accepted = (by_id[id_in(file)] for file in (KEY, NEXT, "web.key"))
    assert (in_use["open"], in_use["used_by"], in_use["not_after"]) == (1, ["web"], None)
    assert 0 <= in_use["age_s"] < 600
    assert (following["made"], following["last_use"]) == (0, None)
    assert following["not_after"] in Path("services-in.pub").read_text()
    assert (accepted["of"], accepted["made"]) == ("caller web", 1)
    assert all(key in table for key in by_id)
    assert "2 h ago" in table


@pytest.mark.parametrize("command", [["status", "out.yaml"], ["rotate", "out.yaml"]])
def test_a_key_that_cannot_be_used_is_named(call: Call, command: list[str]) -> None:
    call("keys", "rotate", "out.yaml", "prepare")
    Path("web.key.next").chmod(0o644)
    result = call("keys", *command)
    assert result.exit_code == 1
    assert "web.key.next can be read by others" in result.output


def test_status_without_a_running_proxy_shows_the_rest(call: Call) -> None:
    result = call("keys", "status", "out.yaml", "--admin", NOBODY)
    assert result.exit_code == 0
    assert id_in("web.key") in result.output
    assert "nothing is known of the use of keys" in result.output
