"""Configs of the Go original become configs that load and say the same, or are refused with what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastproxy.config.keys import public_from_private
from fastproxy.config.load import load
from fastproxy.config.migrate.migration import Migration, migrate
from fastproxy.config.migrate.plan import Target
from fastproxy.config.problem import ConfigError, Problem
from fastproxy.config.secret import Secret
from fastproxy.config.snapshot import CompatDemand, InSnapshot, OutSnapshot
from fastproxy.policy.pattern import parse_pattern

DATA = Path(__file__).parents[1] / "data"
OUT = (DATA / "fast_proxy_out.yaml").read_text()
IN = (DATA / "fast_proxy_in.yaml").read_text()
SERVICES = {"token_service": "127.0.0.1:9001", "search_service": "127.0.0.1:9002"}
S1, S2, E2 = "sign.key.room.v1", "sign.key.room.v2", "encrypt.key.room.v2"

MakeKey = Callable[[str], bytes]


def a_key(name: str) -> bytes:
    """A private key that is another for each file."""
    return name.encode().ljust(32, b".")[:32]


def run(
    *texts: str, transport: str = "compat", services: dict[str, str] | None = None, center: str = ""
) -> Migration:
    """Migrate files, which are called 1.yaml, 2.yaml and so on."""
    target = Target(transport, SERVICES if services is None else services, center)
    named = [(f"{number}.yaml", text) for number, text in enumerate(texts, 1)]
    return migrate(named, target, check_path=parse_pattern, private_key=a_key)


def problems(*texts: str, **options: object) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        run(*texts, **options)  # type: ignore[arg-type]
    return caught.value.problems


class Written:
    """Migrates, writes the result, and loads it as `run` would."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, migration: Migration) -> None:
        (self._folder / "keys").mkdir()
        for name, text in migration.secrets.items():
            (self._folder / name).write_text(text)
            (self._folder / name).chmod(0o600)
        for name, text in migration.configs.items():
            (self._folder / name).write_text(text)

    def out(self, name: str = "out.yaml") -> OutSnapshot:
        snapshot = load(self._folder / name, check_pattern=parse_pattern)
        assert isinstance(snapshot, OutSnapshot)
        return snapshot

    def inside(self, name: str = "in.yaml") -> InSnapshot:
        snapshot = load(self._folder / name, check_pattern=parse_pattern)
        assert isinstance(snapshot, InSnapshot)
        return snapshot


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return Written(tmp_path)


def dropped(migration: Migration) -> dict[str, str]:
    return {change.setting: change.reason for change in migration.changes if not change.becomes}


# --- the original's example ---------------------------------------------------------------------------------


def test_the_out_proxy_of_the_example(written: Written) -> None:
    written.write(run(OUT, IN))
    out = written.out()
    assert (out.config.name, str(out.listen)) == ("out_proxy", "127.0.0.1:8034")
    assert out.config.callers is not None
    assert out.config.callers.header == "C_ServiceName"
    assert out.caller_names == ("song_service", "chat_service")
    assert out.compat is not None
    assert (out.compat.caller_header, out.compat.context_path) == ("C_ServiceName", "/inProxy")
    song, chat = out.compat.callers["song_service"], out.compat.callers["chat_service"]
    assert (song.sign_key_name, song.encrypt_key_name, song.compress) == (S1, E2, "gzip")
    assert (song.sign_key, song.encrypt_key) == (Secret(b"abcd"), Secret(b"ABCDABCDABCDABCD"))
    assert (chat.sign_key_name, chat.encrypt_key_name, chat.compress) == (S1, E2, "snappy")
    assert out.services.keys() == SERVICES.keys()
    assert {str(e) for s in out.services.values() for e in s.endpoints} == {"127.0.0.1:8033"}
    assert out.config.limits.connections_per_endpoint == 3000


def test_the_in_proxy_of_the_example(written: Written) -> None:
    written.write(run(OUT, IN))
    inside = written.inside()
    assert (inside.config.name, str(inside.listen)) == ("in_proxy", "0.0.0.0:8033")
    assert inside.config.listen.accept == ["compat"]
    assert inside.compat is not None
    assert (inside.compat.caller_header, inside.compat.context_path) == ("C_ServiceName", "/inProxy")
    assert inside.compat.trust_claimed_caller
    # chat_service stands in the out proxy's file alone; it must do what that one says it does.
    assert inside.compat.callers == dict.fromkeys(
        ("song_service", "chat_service"), CompatDemand((S1,), (E2,))
    )
    assert {name: str(s.endpoints[0]) for name, s in inside.services.items()} == SERVICES
    token, search = inside.grants
    assert (token.callers, token.services, token.paths) == (
        ("song_service",),
        ("token_service",),
        ("/api/service",),
    )
    assert token.rate is not None
    assert (token.rate.per_s, token.rate.burst) == (10, 10)
    assert (search.callers, search.services, search.rate) == (("chat_service",), ("search_service",), None)


def test_trusted_claims_are_said(written: Written) -> None:
    migration = run(OUT, IN)
    shares = "chat_service shares the sign key sign.key.room.v1 with song_service"
    assert any("`trust_claimed_caller` is set" in note and shares in note for note in migration.notes)
    lines = migration.configs["in.yaml"].splitlines()
    above = lines[: lines.index("  trust_claimed_caller: true")][-2:]
    assert "Because chat_service shares" in above[0]


def test_every_setting_of_the_example_is_carried_over_or_dropped_with_a_reason() -> None:
    migration = run(OUT, IN)
    for file, text in (("1.yaml", OUT), ("2.yaml", IN)):
        set_at = {
            number for number, line in enumerate(text.splitlines(), 1) if line.partition(":")[2].strip()
        }
        assert {change.line for change in migration.changes if change.file == file} == set_at
    assert all(change.becomes or change.reason for change in migration.changes)
    reasons = dropped(migration)
    assert "17 bytes is no AES key" in reasons["encryptKeyConfig.encrypt.key.room.v1"]
    assert "one HTTP implementation" in reasons["fastHttp.enable"]
    assert "connections_per_endpoint" in reasons["httpClient.MaxIdleConns"]
    assert "never reads it" in reasons["proxy.forwardAddress"]
    qps = "serviceCallTypeConfig.chat_service./search_service/api/service.qps"
    assert "refuses nothing" in reasons[qps]
    for name, reason in reasons.items():
        assert any(name in text for text in migration.configs.values()), reason


def test_no_key_is_shown() -> None:
    migration = run(OUT, IN)
    shown = repr(migration.changes) + repr(migration.notes) + repr(migration.configs)
    assert "ABCDABCD" not in shown
    assert "abcd" not in shown
    assert set(migration.secrets.values()) == {"abcd", "ABCDABCDABCDABCD"}


def test_without_the_out_proxys_file_any_known_key_is_asked_for(written: Written) -> None:
    migration = run(IN)
    written.write(migration)
    assert migration.configs.keys() == {"in.yaml"}
    inside = written.inside()
    assert inside.compat is not None
    assert inside.compat.callers["song_service"] == CompatDemand((S1,), (E2,))
    assert inside.compat.callers["chat_service"] == CompatDemand((S1, S2), (E2,))
    lines = migration.configs["in.yaml"].splitlines()
    (place,) = (index for index, line in enumerate(lines) if line.startswith("    chat_service:"))
    assert "any known key" in lines[place - 1]
    assert any("chat_service" in note and "any known" in note for note in migration.notes)


def test_without_the_in_proxys_file_the_services_are_named(written: Written) -> None:
    written.write(run(OUT, services={"token_service": ""}))
    assert written.out().services.keys() == {"token_service"}
    (problem,) = problems(OUT, services={})
    assert "--service NAME" in problem.suggestion


def test_http_makes_identities_that_fit_together(written: Written) -> None:
    migration = run(OUT, IN, transport="http")
    written.write(migration)
    out, inside = written.out(), written.inside()
    assert (out.warnings, inside.warnings) == ((), ())
    assert inside.config.listen.accept == ["http"]
    assert out.caller_keys.keys() == inside.callers.keys() == {"song_service", "chat_service"}
    for name, key in out.caller_keys.items():
        assert inside.callers[name].public_keys == (public_from_private(key),)
    receiver = out.services["token_service"].receiver
    assert receiver is not None
    assert receiver.name == inside.config.name == "in_proxy"
    assert receiver.public_keys == (public_from_private(inside.private_keys[0]),)
    assert "identities" in dropped(migration)["signKeyConfig"]
    assert not any("abcd" in secret for secret in migration.secrets.values())


def test_http_needs_both_sides() -> None:
    for text, missing in ((OUT, "in"), (IN, "out")):
        assert any(
            f"no {missing} proxy's file" in problem.message for problem in problems(text, transport="http")
        )


def test_services_are_found_at_the_center_or_where_they_were_said_to_be(written: Written) -> None:
    written.write(run(OUT, IN, services={"token_service": "h:1"}, center="http://127.0.0.1:8080"))
    inside = written.inside()
    assert inside.center is not None
    assert str(inside.center.address) == "127.0.0.1:8080"
    assert str(inside.services["token_service"].endpoints[0]) == "h:1"
    assert inside.services["search_service"].center_name == "search_service"


def test_missing_endpoints_are_asked_for_as_options() -> None:
    (problem,) = problems(OUT, IN, services={})
    assert "--service token_service=HOST:PORT --service search_service=HOST:PORT" in problem.suggestion
    misspelt = problems(OUT, IN, services={**SERVICES, "serch_service": "h:1"})
    assert [problem.suggestion for problem in misspelt] == ["did you mean search_service?"]


# --- sets that differ from the example ----------------------------------------------------------------------


def test_callers_that_do_not_sign_are_trusted_and_that_is_said(written: Written) -> None:
    unsigned = [text.replace("signEnable: true", "signEnable: false") for text in (OUT, IN)]
    migration = run(*unsigned)
    written.write(migration)
    inside, out = written.inside(), written.out()
    assert inside.compat is not None
    assert out.compat is not None
    assert inside.compat.callers["song_service"].sign == ()
    assert inside.compat.trust_claimed_caller
    assert out.compat.callers["song_service"].sign_key is None
    assert any("song_service need not sign" in note for note in migration.notes)
    key_name = "serviceConfig.song_service.signKeyName"
    assert "signEnable isn't true" in dropped(migration)[key_name]


def test_the_stricter_file_counts_in_both(written: Written) -> None:
    migration = run(OUT.replace("encryptEnable: true", "encryptEnable: false", 1), IN)
    written.write(migration)
    inside, out = written.inside(), written.out()
    assert inside.compat is not None
    assert out.compat is not None
    assert inside.compat.callers["song_service"].encrypt == (E2,)
    assert out.compat.callers["song_service"].encrypt_key_name == E2
    assert any("song_service must encrypt now" in note for note in migration.notes)


def test_callers_with_keys_of_their_own_are_proven(written: Written) -> None:
    own = OUT.replace("sign.key.room.v2: abcd", "sign.key.room.v2: efgh")
    own = own.replace(f"signKeyName: {S1}", f"signKeyName: {S2}", 1).replace(f"{S2}\n", f"{S2}\n", 1)
    inside_text = IN.replace("sign.key.room.v2: abcd", "sign.key.room.v2: efgh")
    inside_text = inside_text.replace(f"signKeyName: {S1}", f"signKeyName: {S2}")
    written.write(run(own, inside_text))
    inside = written.inside()
    assert inside.compat is not None
    assert not inside.compat.trust_claimed_caller
    assert inside.compat.callers["song_service"].sign == (S2,)


def test_several_of_a_role_are_numbered_and_paired_by_port(written: Written) -> None:
    other_in = (
        IN.replace("8033", "8133").replace("token_service", "mail_service").replace("in_proxy", "mail_in")
    )
    other_out = OUT.replace("8033", "8133").replace("8034", "8134")
    services = {**SERVICES, "mail_service": "h:1"}
    migration = run(OUT, other_out, IN, other_in, services=services, transport="http")
    written.write(migration)
    assert migration.configs.keys() == {"out.yaml", "out-2.yaml", "in.yaml", "in-2.yaml"}
    assert written.out().services.keys() == {"token_service", "search_service"}
    second = written.out("out-2.yaml")
    assert second.services.keys() == {"mail_service", "search_service"}
    receiver = second.services["mail_service"].receiver
    assert receiver is not None
    assert receiver.name == written.inside("in-2.yaml").config.name == "mail_in"


def test_which_receiver_is_meant_must_be_known() -> None:
    (problem,) = problems(OUT, IN, IN, transport="http")
    assert "127.0.0.1:8033 may be that of 2.yaml, 3.yaml" in problem.message


def test_a_caller_and_a_receiver_of_one_name_have_a_key_each(written: Written) -> None:
    migration = run(OUT, IN.replace("in_proxy", "song_service"), transport="http")
    written.write(migration)
    assert len(set(migration.secrets.values())) == 3
    assert written.inside().config.name == "song_service"


def test_timeouts_belong_to_services_now(written: Written) -> None:
    timeouts = (
        "\nserviceTimeoutConfig:\n  song_service:\n    /inProxy/token_service/api/service: 1500\n"
        "    /inProxy/token_service/other: 200\n"
    )
    written.write(run(OUT + timeouts.replace("/inProxy", ""), IN + timeouts))
    assert written.out().services["token_service"].settings.timeout_s == 1.5
    assert written.inside().services["token_service"].settings.timeout_s == 1.5
    assert written.inside().services["search_service"].settings.timeout_s == 15


def test_names_that_yaml_would_take_for_something_else(written: Written) -> None:
    odd = [text.replace("song_service", "1e3").replace("chat_service", "null") for text in (OUT, IN)]
    odd[1] = odd[1].replace("/token_service/api/service", "/5/a b/é")
    written.write(run(odd[0], odd[1], services={"5": "h:1", "search_service": "h:2"}))
    assert written.out().caller_names == ("1e3", "null")
    assert written.inside().services.keys() == {"5", "search_service"}
    assert written.inside().grants[0].paths == ("/a b/é",)


def test_setting_names_are_taken_in_any_case() -> None:
    assert run(
        OUT.replace("fastHttp", "fasthttp"), IN.replace("serviceCallTypeConfig", "SERVICECALLTYPECONFIG")
    )
    (problem,) = problems(OUT + "\nFastHTTP: {enable: false}\n", IN)
    assert "`fastHttp` once more" in problem.message


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("callType: 1\n      qps: 10\n", "callType: 0\n      qps: 10\n", "callType isn't above 0"),
        ("qps: 10\n", "qps: 0\n", "qps isn't above 0"),
        ("/token_service/api/service", "/token_service/api?x=1", "whatever its query"),
        ("/token_service/api/service", "/token_service/*", "a star"),
        ("/token_service/api/service", "/token_service/a//b", "path pattern"),
        ("/token_service/api/service", "token_service", "/SERVICE/PATH"),
    ],
)
def test_a_route_that_cannot_be_stated_is_never_widened(old: str, new: str, reason: str) -> None:
    assert old in IN
    migration = run(OUT, IN.replace(old, new), services={"search_service": "h:1"})
    (why,) = (
        why
        for name, why in dropped(migration).items()
        if "song_service./" in name or name.endswith("token_service")
    )
    assert reason in why
    assert "token_service" not in migration.configs["out.yaml"]


def test_what_the_original_does_not_know_either_is_named() -> None:
    migration = run(OUT + "\nsecurity:\n  jwtSecret: very secret\nhttpclients: {}\n", IN)
    assert "known by this name" in dropped(migration)["security"]
    assert "very secret" not in repr(migration.changes)


def test_a_name_cannot_smuggle_settings_into_a_comment() -> None:
    migration = run(OUT + '\n"x\\ny: 1": {a: 1}\n', IN)
    assert "\ny: 1" not in migration.configs["out.yaml"]


# --- what is refused ----------------------------------------------------------------------------------------


def test_all_mistakes_of_all_files_are_reported_at_their_lines() -> None:
    out = """\
proxy:
  forwardAddress: https://in.internal/inProxy
application:
  port: "eighty"
  name: two words
rpc: C_ServiceName
serviceConfig:
  song_service:
    encryptKeyName: encrypt.key.room.v1
    signKeyName: sign.key.rom.v1
    encryptEnable: true
    signEnable: "yes"
    compressEnable: true
    compressAlgorithm: 7
  chat_service:
    signEnable: true
signKeyConfig:
  sign.key.room.v1: [abcd]
  sign.key.room.v1: abcd
encryptKeyConfig:
  encrypt.key.room.v1: ABCDABCDABCDABCDW
"""
    inside = "application:\n  contextPath: inProxy\n  port: 70000\nrpc:\n  serviceHeaderName: a b\n"
    found = [(problem.file, problem.line, problem.path) for problem in problems(out, inside)]
    assert found == [
        ("1.yaml", 1, ""),
        ("1.yaml", 2, "proxy.forwardAddress"),
        ("1.yaml", 4, "application.port"),
        ("1.yaml", 5, "application.name"),
        ("1.yaml", 6, "rpc"),
        ("1.yaml", 9, "serviceConfig.song_service.encryptKeyName"),
        ("1.yaml", 12, "serviceConfig.song_service.signEnable"),
        ("1.yaml", 14, "serviceConfig.song_service.compressAlgorithm"),
        ("1.yaml", 15, "serviceConfig.chat_service"),
        ("1.yaml", 18, "signKeyConfig.sign.key.room.v1"),
        ("1.yaml", 19, "signKeyConfig.sign.key.room.v1"),
        ("2.yaml", 1, ""),
        ("2.yaml", 2, "application.contextPath"),
        ("2.yaml", 3, "application.port"),
        ("2.yaml", 5, "rpc.serviceHeaderName"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("signKeyName: sign.key.room.v1", "signKeyName: sign.key.rom.v1", "did you mean sign.key.room.v1?"),
        ("encryptKeyName: encrypt.key.room.v2", "encryptKeyName: encrypt.key.room.v1", "17 bytes"),
        ("sign.key.room.v1: abcd", "sign.key.room.v1: ABCDABCDABCDABCD", "one key has one use"),
        ("sign.key.room.v1: abcd", "sign.key.room.v1: other", "another than in the files before"),
        ("sign.key.room.v1: abcd", "sign.key.room.v1: abcd\n  sign.key.room.v1: abcd", "already set at line"),
        ("  port : 8034", "  port : 0", "from 1 to 65535"),
        ("http://127.0.0.1:8033/inProxy", "http://u:p@h/", "can't be taken as the address"),
        ("serviceConfig:", "otherConfig:", "`serviceConfig` is missing"),
    ],
)
def test_one_mistake(old: str, new: str, words: str) -> None:
    assert old in OUT
    found = problems(OUT.replace(old, new), IN)
    assert any(words in str(problem) for problem in found), found
    assert "ABCDABCD" not in "".join(map(str, found))


@pytest.mark.parametrize(
    "text", ["", "- a", "a: b: c", "serviceConfig: {}", "[" * 3000, "a: &x 1\nb: *x", "\0"]
)
def test_what_is_no_config_is_refused_in_words(text: str) -> None:
    assert all(problem.message for problem in problems(text, IN))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_change_of_the_text_is_migrated_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    """And what is migrated loads."""
    texts = [OUT, IN]
    which = data.draw(st.integers(0, 1))
    text = texts[which]
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 20)))
    inserted = data.draw(
        st.sampled_from(["", "{}", "[]", "null", "5", "x: ", "\n", "- ", "'", "é", "0", '"'])
    )
    texts[which] = text[:start] + inserted + text[end:]
    transport = data.draw(st.sampled_from(["compat", "http", "link"]))
    try:
        migration = run(*texts, transport=transport, center="http://127.0.0.1:8080", services={})
    except ConfigError:
        return
    keys = tmp_path / "keys"
    keys.mkdir(exist_ok=True)
    for file in keys.iterdir():
        file.unlink()
    for name, secret in migration.secrets.items():
        (tmp_path / name).write_text(secret)
        (tmp_path / name).chmod(0o600)
    for name, config in migration.configs.items():
        (tmp_path / name).write_text(config)
        load(tmp_path / name, check_pattern=parse_pattern)
