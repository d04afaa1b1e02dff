"""Files that must be refused: every mistake at once, at its line, with words that help."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastproxy.config.load import load
from fastproxy.config.problem import ConfigError, Problem
from fastproxy.policy.pattern import parse_pattern
from tests.config.conftest import Folder
from tests.config.test_load import in_example, out_example


def summary(problems: tuple[Problem, ...]) -> list[tuple[int, str]]:
    """Return line and path of each problem, as they are reported: by line."""
    assert [problem.line for problem in problems] == sorted(problem.line for problem in problems)
    return sorted((problem.line, problem.path) for problem in problems)


def test_ten_mistakes_in_an_in_config_are_all_reported_at_their_lines(folder: Folder) -> None:
    (folder.path / "open.key").write_text("5f" * 32)
    (folder.path / "open.key").chmod(0o644)
    shared = folder.key("web")
    problems = folder.problems(f"""\
role: in
name: shop-in
listen: {{address: 127.0.0.1:99999}}
private_key: {{file: open.key}}
callers:
  web: {{public_keys: [{shared}]}}
  app: {{public_keys: [{shared}]}}
  bad: {{public_keys: [12ab]}}
services:
  search: {{endpoints: [127.0.0.1:8102], timeout_s: soon}}
  orders: {{endpoints: ["http://127.0.0.1:8103/"]}}
  orders: {{endpoints: [127.0.0.1:8104]}}
  users: {{endpoint: [127.0.0.1:8105]}}
privilages: []
privileges:
  - {{callers: [webb], services: [search]}}
  - {{callers: [web], services: [search], paths: [api]}}
  - {{callers: ["x-*"], services: [bad-service, users], methods: [get]}}
  - {{callers: [bad], services: [search], rate: {{per_s: 0}}}}
admin: {{address: 0.0.0.0:9033}}
limits: {{header_count: 3}}
""")
    assert summary(problems) == sorted(
        [
            (3, "listen.address"),
            (4, "private_key"),
            (7, "callers.app.public_keys[0]"),
            (8, "callers.bad.public_keys[0]"),
            (10, "services.search.timeout_s"),
            (11, "services.orders.endpoints[0]"),
            (12, "services.orders"),
            (13, "services.users.endpoint"),
            (13, "services.users"),
            (14, "privilages"),
            (16, "privileges[0].callers[0]"),
            (17, "privileges[1].paths[0]"),
            (18, "privileges[2].methods[0]"),
            (18, "privileges[2].callers[0]"),
            (18, "privileges[2].services[0]"),
            (19, "privileges[3].rate.per_s"),
            (20, "admin.address"),
            (21, "limits.header_count"),
        ]
    )
    text = "\n".join(map(str, problems))
    for advice in ("chmod 600", "did you mean web?", "did you mean endpoints?", "did you mean privileges?"):
        assert advice in text


def test_ten_mistakes_in_an_out_config_are_all_reported_at_their_lines(folder: Folder) -> None:
    folder.key("web")
    problems = folder.problems(f"""\
role: out
listen: {{address: 0.0.0.0:8034, service_from: fixed, default_service: serch}}
private_key: {{file: missing.key}}
receivers:
  shop-in: {{public_keys: [{folder.key("shop-in")}], endpoints: [shop-in]}}
defaults: {{receiver: shop-inn}}
services:
  cart: {{timeout_s: -1}}
  search: {{receiver: {{name: other-in, public_keys: [{folder.key("shop-in")}]}}}}
  orders: {{receiver: shop-in, endpoints: [127.0.0.1:1]}}
  mail: {{receiver: 5, transport: lnk, compress: zip}}
log: {{level: loud, access: 7}}
name: two words
""")
    assert summary(problems) == sorted(
        [
            (1, ""),
            (2, "listen.address"),
            (2, "listen.service_from"),
            (2, "listen.default_service"),
            (2, "listen.default_service"),
            (3, "private_key"),
            (5, "receivers.shop-in.endpoints[0]"),
            (6, "defaults.receiver"),
            (8, "services.cart.timeout_s"),
            (9, "services.search"),
            (9, "services.search.receiver.public_keys[0]"),
            (10, "services.orders.endpoints"),
            (11, "services.mail.receiver"),
            (11, "services.mail.transport"),
            (11, "services.mail.compress"),
            (12, "log.level"),
            (12, "log.access"),
            (13, "name"),
        ]
    )
    text = "\n".join(map(str, problems))
    assert "`caller` is missing" in text
    assert "must be at most 1" in text


@pytest.mark.parametrize(
    ("change", "path", "words"),
    [
        (("role: out", "role: outt"), "role", "must be `out` or `in`"),
        (("caller: chat_service", "caller: [chat_service"), "", "not YAML"),
        (("caller: chat_service", "caller: &x chat_service\nname: *x"), "name", "aliases"),
        (("caller: chat_service", "caller: !!str chat_service"), "caller", "tags"),
        (("caller: chat_service", "caller: chat_service\n---\nrole: out"), "", "second YAML document"),
        (("timeout_s: 2", "timeout_s: 2\n    timeout_s: 3"), "services.search_service.timeout_s", "line 10"),
        (("chat_service.key", "../"), "private_key", "regular file"),
        (("{file: chat_service.key}", "{env: NOT_SET}"), "private_key", "NOT_SET does not hold a key"),
        (("{file: chat_service.key}", "{}"), "private_key", "exactly one of"),
        (("file: chat_service.key", "literal: x"), "private_key", "in the config itself"),
        (("127.0.0.1:9034", "127.0.0.1:8034"), "admin.address", "address of `listen`"),
        (("127.0.0.1:8033", "[]"), "services.search_service.endpoints[0]", "expected text, found a list"),
        (("[127.0.0.1:8033]", "[]"), "services.search_service.endpoints", "needs at least 1"),
        (("[127.0.0.1:8033]", '["a:1", "a:1"]'), "services.search_service.endpoints[1]", "listed twice"),
        (("services:", "callers: {names: {}}\nservices:"), "callers.names", "at least 1"),
        (("search_service:", "'search\\nservice':"), "services.search\\nservice", "not a name"),
        (("service_from: path", "service: search_servce"), "listen.service", "did you mean search_service"),
    ],
)
def test_one_mistake_in_the_out_example(
    folder: Folder, change: tuple[str, str], path: str, words: str
) -> None:
    text = out_example(folder)
    assert change[0] in text
    problems = folder.problems(text.replace(*change, 1))
    assert any(problem.path == path and words in str(problem) for problem in problems), problems


@pytest.mark.parametrize("key", ["00" * 32, "01" + "00" * 31, "ee" + "ff" * 30 + "7f", "05" * 31 + "85"])
def test_a_public_key_of_low_order_or_of_second_spelling_is_refused(folder: Folder, key: str) -> None:
    text = in_example(folder).replace(folder.key("chat_service"), key)
    (problem,) = folder.problems(text)
    assert problem.path == "callers.chat_service.public_keys[0]"


def test_the_receivers_own_key_is_no_callers_key(folder: Folder) -> None:
    text = in_example(folder).replace(folder.key("chat_service"), folder.key("search-in"))
    (problem,) = folder.problems(text)
    assert "the key of caller chat_service is also that of receiver search-in (line 4)" in problem.message


def test_a_receiver_name_has_one_set_of_keys(folder: Folder) -> None:
    other = f"{{name: search-in, public_keys: [{folder.key('other')}]}}"
    text = out_example(folder).replace("admin:", f"  more: {{endpoints: ['h:1'], receiver: {other}}}\nadmin:")
    (problem,) = folder.problems(text)
    assert (problem.line, problem.path) == (11, "services.more.receiver")


def test_a_pre_shared_key_serves_one_pair(folder: Folder) -> None:
    (folder.path / "p.psk").write_text("77" * 32)
    (folder.path / "p.psk").chmod(0o600)
    text = in_example(folder).replace("]}\nservices", "], psk: {file: p.psk}}\nservices")
    folder.load(text)
    callers = f"callers:\n  second: {{public_keys: [{folder.key('second')}], psk: {{file: p.psk}}}}\n"
    (problem,) = folder.problems(text.replace("callers:\n", callers))
    assert "psk of caller second" in problem.message


def test_callers_of_a_folder_are_checked_like_others(folder: Folder) -> None:
    callers = folder.path / "callers"
    callers.mkdir()
    (callers / "chat_service.pub").write_text(folder.key("chat_service"))
    (callers / "two words.pub").write_text(folder.key("x"))
    (callers / "garbage.pub").write_text("not a key")
    (callers / "copy.pub").write_text(folder.key("chat_service"))
    (callers / "README").write_text("not a caller")
    problems = folder.problems(in_example(folder) + "callers_dir: callers\n")
    assert [problem.line for problem in problems] == [12] * 4
    words = ("name of a caller", "in `callers` too", "does not hold a key", "is also that of")
    assert all(any(word in problem.message for problem in problems) for word in words)
    (problem,) = folder.problems(in_example(folder) + "callers_dir: nowhere\n")
    assert "can't be read" in problem.message


def test_a_key_in_the_wrong_place_is_not_shown(folder: Folder) -> None:
    secret = "5f" * 32
    for wrong in (
        secret,
        f"{{{secret}}}",
        f"[{secret}]",
        f"{{literal: {{{secret}: 1}}}}",
        f"{{file: {secret}x}}",
    ):
        problems = folder.problems(out_example(folder).replace("{file: chat_service.key}", wrong))
        if not wrong.startswith("{file"):
            assert secret not in "\n".join(map(str, problems))


@pytest.mark.parametrize("content", [b"\xff\xfe", b"role: out\n\x00", b"[" * 2000, b"- a\n", b"", b"a: b: c"])
def test_what_is_no_config_is_refused_in_words(folder: Folder, content: bytes) -> None:
    (folder.path / "config.yaml").write_bytes(content)
    with pytest.raises(ConfigError):
        load(folder.path / "config.yaml", check_pattern=parse_pattern)
    with pytest.raises(ConfigError, match="can't be read"):
        load(folder.path / "none.yaml", check_pattern=parse_pattern)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_change_of_the_text_loads_or_is_refused(folder: Folder, data: st.DataObject) -> None:
    text = data.draw(st.sampled_from([in_example(folder), out_example(folder)]))
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 20)))
    inserted = data.draw(
        st.sampled_from(["", "{}", "[]", "null", "5", "x: ", "\n", "- ", "'", "&a ", "*a", "é"])
    )
    try:
        folder.load(text[:start] + inserted + text[end:])
    except ConfigError as error:
        problems = error.problems
    else:
        return
    assert problems
    assert all(problem.message for problem in problems)
