"""The sections `compat` and `center`: what loads, what is refused, and what is only warned of."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from fastproxy.config.problem import Problem
from fastproxy.config.secret import Secret
from fastproxy.config.snapshot import CompatDemand, InSnapshot, OutSnapshot
from fastproxy.net.http1 import HOP_BY_HOP
from fastproxy.proxy.fields import CONTROL, ERROR_MESSAGE, EXCHANGE, PROXY_NAME
from tests.config.conftest import Folder

OUT = """\
role: out
callers:
  names:
    song: {}
    chat: {}
compat:
  sign_keys:
    s1: {file: s1.secret}
    s2: {file: s2.secret}
  encrypt_keys:
    e1: {file: e1.secret}
  callers:
    song: {sign: s1, encrypt: e1, compress: gzip}
    chat: {sign: s2, encrypt: e1}
services:
  token: {transport: compat, endpoints: [127.0.0.1:8033]}
"""
IN = """\
role: in
listen: {accept: [compat]}
compat:
  sign_keys:
    s1: {file: s1.secret}
    s2: {file: s2.secret}
  encrypt_keys:
    e1: {file: e1.secret}
  callers:
    song: {sign: [s1], encrypt: [e1]}
    chat: {sign: [s2], encrypt: []}
services:
  token: {endpoints: [127.0.0.1:9000]}
privileges:
  - {callers: [song, "ch*"], services: [token]}
"""
S1, S2, E1 = "a sign key of song", "a sign key of chat", "sixteen bytes it"


@pytest.fixture
def keys(folder: Folder) -> Folder:
    """A folder with the keys of the examples."""
    for name, content in (("s1", S1), ("s2", S2), ("e1", E1)):
        folder.secret(name, content)
    return folder


def assert_told(problems: Sequence[Problem], path: str, words: str) -> None:
    """One of them stands at this path and says this."""
    assert any(problem.path == path and words in str(problem) for problem in problems), problems


def load_out(keys: Folder, text: str) -> OutSnapshot:
    snapshot = keys.load(text)
    assert isinstance(snapshot, OutSnapshot)
    return snapshot


def load_in(keys: Folder, text: str, environ: dict[str, str] | None = None) -> InSnapshot:
    snapshot = keys.load(text, environ)
    assert isinstance(snapshot, InSnapshot)
    return snapshot


def warned(snapshot: OutSnapshot | InSnapshot) -> dict[str, str]:
    return {warning.path: warning.message for warning in snapshot.warnings}


# --- what loads ---------------------------------------------------------------------------------------------


def test_an_out_config_knows_how_each_caller_is_sent(keys: Folder) -> None:
    snapshot = load_out(keys, OUT)
    assert snapshot.compat is not None
    assert (snapshot.compat.caller_header, snapshot.compat.context_path) == ("C_ServiceName", "/inProxy")
    assert snapshot.compat.body_limit_bytes == 16 * 1024 * 1024
    song, chat = snapshot.compat.callers["song"], snapshot.compat.callers["chat"]
    assert (song.sign_key_name, song.encrypt_key_name, song.compress) == ("s1", "e1", "gzip")
    assert song.sign_key == Secret(S1.encode())
    assert song.encrypt_key == snapshot.compat.encrypt_keys["e1"] == Secret(E1.encode())
    assert (chat.sign_key_name, chat.compress) == ("s2", "none")
    assert snapshot.services["token"].receiver is None
    assert (snapshot.caller_names, snapshot.caller_keys) == (("song", "chat"), {})


def test_an_in_config_knows_what_each_caller_must_do(keys: Folder) -> None:
    snapshot = load_in(keys, IN)
    assert snapshot.compat is not None
    assert snapshot.compat.callers == {
        "song": CompatDemand(("s1",), ("e1",)),
        "chat": CompatDemand(("s2",), ()),
    }
    assert snapshot.compat.sign_keys == {"s1": Secret(S1.encode()), "s2": Secret(S2.encode())}
    assert snapshot.private_keys == ()
    assert not snapshot.compat.trust_claimed_caller
    assert snapshot.caller_names == ("song", "chat") == snapshot.grants[0].callers


def test_callers_move_over_one_by_one(keys: Folder) -> None:
    """Both ways side by side: one caller has an identity already, the others don't."""
    web = keys.key("web")
    keys.key("in")
    text = IN.replace("[compat]", "[http, compat]") + (
        f"private_key: {{file: in.key}}\ncallers: {{web: {{public_keys: [{web}]}}}}\n"
    )
    snapshot = load_in(keys, text.replace('"ch*"', "web"))
    assert snapshot.caller_names == ("web", "song", "chat")


@pytest.mark.parametrize("text", [OUT, IN])
def test_every_load_says_that_compat_is_weak(keys: Folder, text: str) -> None:
    assert "protects weakly" in warned(keys.load(text))["compat"]


def test_no_secret_is_shown(keys: Folder) -> None:
    for text in (OUT, IN):
        snapshot = keys.load(text)
        assert S1 not in repr(snapshot)
        assert E1 not in repr(snapshot)
    literal = "{literal: short and secret}"
    for problem in keys.problems(IN.replace("{file: e1.secret}", literal)):
        assert "short and" not in str(problem)


@pytest.mark.parametrize("text", ["abc d", "schlüssel", "#no comment", "k" * 400])
def test_a_key_is_the_line_as_it_stands(keys: Folder, text: str) -> None:
    keys.secret("s1", text)
    snapshot = load_in(keys, IN)
    assert snapshot.compat is not None
    assert snapshot.compat.sign_keys["s1"].reveal() == text.encode()


# --- what is refused ----------------------------------------------------------------------------------------


OUT_MISTAKES = [
    (("    chat: {sign: s2, encrypt: e1}\n", ""), "compat.callers", "messages of chat are made"),
    (("    chat: {sign: s2", "    chatt: {sign: s2"), "compat.callers.chatt", "did you mean chat?"),
    (("sign: s1, encrypt: e1", "sign: s3, encrypt: e1"), "compat.callers.song.sign", "no sign key"),
    (("sign: s1, encrypt: e1", "sign: e1, encrypt: e1"), "compat.callers.song.sign", "no sign key"),
    (("compress: gzip", "compress: zstd"), "compat.callers.song.compress", "expected one of"),
    (("transport: compat,", "transport: compat, receiver: x,"), "services.token.receiver", "no meaning"),
    (
        ("transport: compat,", "transport: compat, pad_to_bytes: 9,"),
        "services.token.pad_to_bytes",
        "no me",
    ),
    (("transport: compat,", "transport: compact,"), "services.token.transport", "did you mean compat?"),
    ((", endpoints: [127.0.0.1:8033]", ""), "services.token", "`endpoints` is missing"),
    (("transport: compat, ", ""), "callers.names.song", "`private_key` is missing"),
    (("transport: compat, ", ""), "services.token", "`receiver` is missing"),
    (("compat:\n", "compat:\n  context_path: /in/\n"), "compat.context_path", "not a context path"),
    (("compat:\n", "compat:\n  context_path: /../x\n"), "compat.context_path", "not a context path"),
    (("compat:\n", "compat:\n  body_limit_bytes: 0\n"), "compat.body_limit_bytes", "at least 1"),
]
IN_MISTAKES = [
    (("[compat]", "[http]"), "compat", "doesn't contain `compat`"),
    (("[compat]", "[http, compat]"), "", "`private_key` is missing"),
    (("{sign: [s2], encrypt: []}", "{encrypt: []}"), "compat.callers.chat", "`sign` is missing"),
    (("{sign: [s2]", "{sign: [s1]"), "compat.callers.chat.sign", "shares the sign key s1 with song"),
    (("{sign: [s2]", "{sign: [s2, s1]"), "compat.callers.chat.sign", "or `trust_claimed_caller: true`"),
    (("{sign: [s2]", "{sign: []"), "compat.callers.chat.sign", "chat need not sign"),
    (("{sign: [s2]", "{sign: [s22]"), "compat.callers.chat.sign[0]", "did you mean s2?"),
    (("    s2: {file: s2", "    s2: {file: s1"), "compat.callers.chat.sign", "shares the sign key s2"),
    (("    e1: {file: e1", "    e1: {file: s1"), "compat.encrypt_keys.e1", "makes no AES key"),
    (("    s2: {file: s2", "    s2: {file: e1"), "compat.encrypt_keys.e1", "is also the sign key s2"),
    (('"ch*"', "chet"), "privileges[0].callers[1]", "did you mean chat?"),
]
"""Of each: what stands there in place of what, where that is told, and in which words."""


@pytest.mark.parametrize(
    ("text", "change", "path", "words"),
    [(OUT, *mistake) for mistake in OUT_MISTAKES] + [(IN, *mistake) for mistake in IN_MISTAKES],
)
def test_one_mistake_in_an_example(
    keys: Folder, text: str, change: tuple[str, str], path: str, words: str
) -> None:
    assert change[0] in text
    assert_told(keys.problems(text.replace(*change, 1)), path, words)


@pytest.mark.parametrize("text", [OUT, IN])
@pytest.mark.parametrize("name", sorted(HOP_BY_HOP | CONTROL | {EXCHANGE, ERROR_MESSAGE, PROXY_NAME}))
def test_the_caller_is_named_in_a_header_that_means_nothing_else(
    keys: Folder, text: str, name: bytes
) -> None:
    """With Transfer-Encoding there, the name of a caller would decide where a message ends."""
    for spelled in (name.decode().title(), name.decode().replace("-", "_")):
        (problem,) = keys.problems(text.replace("compat:\n", f"compat:\n  caller_header: {spelled}\n", 1))
        assert problem.path == "compat.caller_header"


def test_a_compat_service_needs_the_section(keys: Folder) -> None:
    (problem,) = keys.problems(
        "role: out\ncaller: song\nservices: {token: {transport: compat, endpoints: [h:1]}}\n"
    )
    assert (problem.path, problem.line) == ("services.token", 3)
    assert "needs the section `compat`" in problem.message


def test_what_is_accepted_must_be_configured(keys: Folder) -> None:
    text = "role: in\nlisten: {accept: [compat]}\nservices: {token: {endpoints: [h:1]}}\n"
    (problem,) = keys.problems(text)
    assert (problem.path, problem.line) == ("listen.accept", 2)


def test_a_caller_with_an_identity_is_refused_over_compat(keys: Folder) -> None:
    (keys.path / "callers").mkdir()
    (keys.path / "callers" / "chat.pub").write_text(keys.key("chat"))
    problems = keys.problems(
        IN + f"callers: {{song: {{public_keys: [{keys.key('song')}]}}}}\ncallers_dir: callers\n"
    )
    assert [(problem.path, problem.line) for problem in problems] == [
        ("compat.callers.song", 10),
        ("compat.callers.chat", 11),
    ]
    assert "(line 16)" in problems[0].message
    assert "`callers_dir`" in problems[1].message


def test_claims_are_trusted_only_on_demand_and_with_a_warning(keys: Folder) -> None:
    shared = IN.replace("{sign: [s2]", "{sign: [s1]")
    snapshot = load_in(keys, shared.replace("compat:\n", "compat:\n  trust_claimed_caller: true\n"))
    assert snapshot.compat is not None
    assert snapshot.compat.trust_claimed_caller
    assert "shares the sign key s1 with song" in warned(snapshot)["compat.trust_claimed_caller"]
    needless = keys.load(IN.replace("compat:\n", "compat:\n  trust_claimed_caller: true\n"))
    assert "set it to false" in "".join(map(str, needless.warnings))


@pytest.mark.parametrize(
    "content", ["", "\n", " padded", "two\nlines", "tab\tstop", "nul\0", "x" * 5000, "bell\a", "a\rb"]
)
def test_what_is_no_line_of_text_is_no_key(keys: Folder, content: str) -> None:
    keys.secret("s1", content)
    problems = keys.problems(IN)
    assert problems[0].path == "compat.sign_keys.s1"
    if content.strip():
        assert content.strip() not in str(problems[0])


def test_a_key_that_others_can_read_is_refused(keys: Folder) -> None:
    (keys.path / "s1.secret").chmod(0o640)
    (problem,) = keys.problems(IN)
    assert "can be read by others" in problem.message


@pytest.mark.parametrize("length", [15, 17, 31, 33])
def test_an_encrypt_key_has_the_length_of_an_aes_key(keys: Folder, length: int) -> None:
    keys.secret("e1", "k" * length)
    (problem,) = keys.problems(IN)
    assert (problem.path, f"{length} bytes" in problem.message) == ("compat.encrypt_keys.e1", True)


def test_weak_keys_are_warned_of(keys: Folder) -> None:
    keys.secret("s1", "abcd")
    warnings = warned(keys.load(IN))
    assert "4 bytes can be guessed" in warnings["compat.sign_keys.s1"]
    assert "compat.sign_keys.s2" not in warnings
    two_names = IN.replace("    s2: {file: s2", "    s2: {file: s1").replace("[s2]", "[]")
    trusted = keys.load(two_names.replace("compat:\n", "compat:\n  trust_claimed_caller: true\n"))
    assert any("s1 under a second name" in warning.message for warning in trusted.warnings)


def test_an_unsigned_caller_is_warned_of_where_it_is_sent(keys: Folder) -> None:
    warnings = warned(keys.load(OUT.replace("{sign: s2, encrypt: e1}", "{}")))
    assert "compat.callers.chat" in warnings
    assert "compat.callers.song" not in warnings


# --- the center ---------------------------------------------------------------------------------------------

CENTER = 'center: {url: "http://127.0.0.1:8040", register: false}\n'


def test_endpoints_at_the_center_are_named_not_listed(keys: Folder) -> None:
    inside = load_in(keys, IN.replace("[127.0.0.1:9000]", "[center]") + CENTER)
    assert inside.center is not None
    assert (str(inside.center.address), inside.center.advertise) == ("127.0.0.1:8040", None)
    assert (inside.services["token"].endpoints, inside.services["token"].center_name) == ((), "token")
    receiver = f"receivers: {{shop-in: {{public_keys: [{keys.key('shop-in')}], endpoints: [center]}}}}\n"
    keys.key("song")
    out = load_out(
        keys,
        "role: out\ncaller: song\nprivate_key: {file: song.key}\nservices: {cart: {receiver: shop-in}}\n"
        f'{receiver}center: {{url: "http://c:1"}}\n',
    )
    assert (out.services["cart"].endpoints, out.services["cart"].center_name) == ((), "shop-in")


@pytest.mark.parametrize(
    ("endpoint", "name"), [("center", "token"), ("center:shop-in", "shop-in"), ("center:8033", "")]
)
def test_a_name_at_the_center(keys: Folder, endpoint: str, name: str) -> None:
    snapshot = load_out(keys, OUT.replace("127.0.0.1:8033", endpoint) + 'center: {url: "http://c:1"}\n')
    assert snapshot.services["token"].center_name == name
    assert len(snapshot.services["token"].endpoints) == (0 if name else 1)


def test_what_is_registered_is_the_advertised_address(keys: Folder) -> None:
    center = 'center: {url: "http://c:1", advertise: "10.1.2.4:8033", token: {env: TOKEN}}\n'
    snapshot = load_in(keys, IN + center, {"TOKEN": "t" * 16})
    assert snapshot.center is not None
    assert str(snapshot.center.advertise) == "10.1.2.4:8033"
    assert snapshot.center.token == Secret(b"t" * 16)
    assert "unencrypted" in warned(snapshot)["center.token"]
    listening = load_in(keys, IN + 'center: {url: "http://c:1"}\n')
    assert listening.center is not None
    assert listening.center.advertise == listening.listen


def test_endpoints_of_compat_at_the_center_are_warned_of(keys: Folder) -> None:
    """No identity is pinned there: a center that lies has these calls answered by whom it likes."""
    at_center = OUT.replace("127.0.0.1:8033", "center") + 'center: {url: "http://c:1"}\n'
    assert "whoever controls the center" in warned(keys.load(at_center))["services.token.endpoints"]
    assert "services.token.endpoints" not in warned(keys.load(OUT))


@pytest.mark.parametrize(
    ("center", "path", "words"),
    [
        ("", "services.token.endpoints", "named but not configured"),
        ('center: {url: "https://c:1"}', "center.url", "http://HOST:PORT"),
        ('center: {url: "http://c:1/api"}', "center.url", "port"),
        ('center: {url: "http://unix:/x"}', "center.url", "not a Unix socket"),
        ('center: {url: "http://c:1", register: false, advertise: "h:1"}', "center.advertise", "no meaning"),
        ('center: {url: "http://c:1", advertise: "unix:/x"}', "center.advertise", "IP:PORT"),
        ('center: {url: "http://c:1", advertise: "in.internal:1"}', "center.advertise", "IP:PORT"),
        ('center: {url: "http://c:1", token: {env: SHORT}}', "center.token", "not a token"),
    ],
)
def test_one_mistake_with_the_center(keys: Folder, center: str, path: str, words: str) -> None:
    text = IN.replace("[127.0.0.1:9000]", "[center]") + center
    problems = keys.problems(text, {"SHORT": "short"})
    assert_told(problems, path, words)
    assert "short" not in "".join(map(str, problems))


@pytest.mark.parametrize("listen", ["0.0.0.0:8033", "localhost:8033", "127.0.0.1:0"])
def test_what_nobody_can_connect_to_is_no_address_to_register(keys: Folder, listen: str) -> None:
    text = IN.replace("listen: {", f'listen: {{address: "{listen}", ') + 'center: {url: "http://c:1"}\n'
    (problem,) = keys.problems(text)
    assert "advertise: IP:PORT" in problem.suggestion


def test_the_center_stands_alone_among_endpoints(keys: Folder) -> None:
    (problem,) = keys.problems(IN.replace("[127.0.0.1:9000]", "[center, h:1]") + CENTER)
    assert problem.path == "services.token.endpoints"
