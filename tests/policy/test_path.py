"""A path has one reading, or is refused."""

import posixpath
import re
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastproxy.errors import AMBIGUOUS_PATH, MALFORMED_REQUEST, ProxyError
from fastproxy.policy.path import canonical_path


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/", b"/", b""),
        (b"*", b"*", b""),
        (b"/api/service", b"/api/service", b""),
        (b"/api/", b"/api/", b""),
        (b"/api?", b"/api", b"?"),
        (b"/api?a=%zz/../%2e//?b", b"/api", b"?a=%zz/../%2e//?b"),
        (b"/a%2db%7E%41", b"/a-b~A", b""),
        (b"/caf%c3%a9%3f", b"/caf%C3%A9%3F", b""),
        (b"/a%252e%252e/b", b"/a%252e%252e/b", b""),
        (b"/.well-known/x", b"/.well-known/x", b""),
        (b"/...", b"/...", b""),
        (b"/a/..b/.c/d..", b"/a/..b/.c/d..", b""),
        (b"/a;v=1/{b}|c", b"/a;v=1/{b}|c", b""),
    ],
)
def test_one_spelling(target: bytes, path: bytes, query: bytes) -> None:
    assert canonical_path(target) == (path, query)


# what it becomes where ambiguous paths are allowed
AMBIGUOUS = {
    b"/public/../admin": b"/admin",
    b"/public/%2e%2e/admin": b"/admin",
    b"/public/%2E./admin": b"/admin",
    b"/public/.%2e": b"/",
    b"/./a": b"/a",
    b"/a/.": b"/a/",
    b"/a/b/..": b"/a/",
    b"/..": b"/",
    b"/../../a": b"/a",
    b"//": b"//",
    b"/a//b": b"/a//b",
    b"/a%2fb": b"/a%2Fb",
    b"/a%2Fb": b"/a%2Fb",
    b"/a%5cb": b"/a%5Cb",
    b"/a\\b": b"/a\\b",
    b"/a%00": b"/a%00",
    b"/a/..;/b": b"/a/..;/b",
    b"/a/..;x=1/b": b"/a/..;x=1/b",
    b"/a/..%3b/b": b"/a/..%3B/b",
    b"/a/;x/b": b"/a/;x/b",
}


@pytest.mark.parametrize("target", AMBIGUOUS)
def test_ambiguous_paths_are_refused_unless_allowed(target: bytes) -> None:
    with pytest.raises(ProxyError) as refusal:
        canonical_path(target + b"?q")
    assert refusal.value.cause is AMBIGUOUS_PATH
    assert canonical_path(target + b"?q", allow_ambiguous=True) == (AMBIGUOUS[target], b"?q")


@pytest.mark.parametrize(
    "target",
    [b"", b"a", b"?", b"**", b"/%", b"/%4", b"/%zz", b"/a%4", b"/%%34", b"/%+1", b"/a b", b"/a\nb", b"/a\x00",
     b"/a\x7f", b"/\xc3\xa9", b"/a#b", b"/a?b#c", b"/a?b c", b"/a?\xff", b"/a\n", b"/a?b\n", b"http://h/a"],
)  # fmt: skip
@pytest.mark.parametrize("allow_ambiguous", [False, True])
def test_malformed_targets_are_refused_always(target: bytes, allow_ambiguous: bool) -> None:
    with pytest.raises(ProxyError) as refusal:
        canonical_path(target, allow_ambiguous)
    assert refusal.value.cause is MALFORMED_REQUEST


PIECES = [
    b"/",
    b"a",
    b".",
    b"..",
    b";",
    b"%2e",
    b"%2F",
    b"%5c",
    b"%00",
    b"%41",
    b"%c3",
    b"\\",
    b"?",
    b"~",
    b"*",
    b"%",
]


@settings(max_examples=400)
@given(st.lists(st.sampled_from(PIECES), max_size=8).map(lambda pieces: b"/" + b"".join(pieces)))
@example(b"/a/%2e%2e/b")
def test_what_passes_has_one_reading(target: bytes) -> None:
    try:
        path, query = canonical_path(target)
    except ProxyError:
        return
    assert canonical_path(path) == (path, b"")
    assert target.endswith(query)
    decoded = unquote_to_bytes(path)
    assert decoded == unquote_to_bytes(target[: len(target) - len(query)])
    # A service that decodes first and resolves dots then comes to the same segments.
    assert decoded.count(b"/") == path.count(b"/")
    without_end = decoded.rstrip(b"/") or b"/"
    assert posixpath.normpath(without_end) == without_end
    assert b"\\" not in decoded
    assert b"\0" not in decoded


@settings(max_examples=400)
@given(st.lists(st.sampled_from(PIECES[:-1]), max_size=8).map(lambda pieces: b"/" + b"".join(pieces)))
def test_what_is_allowed_holds_no_dot_segments_and_stays_as_it_is(target: bytes) -> None:
    path, _ = canonical_path(target, allow_ambiguous=True)
    assert canonical_path(path, allow_ambiguous=True) == (path, b"")
    assert not re.search(rb"/\.{1,2}(/|\Z)", path)


@settings(max_examples=300)
@given(st.binary(max_size=12))
def test_any_bytes_pass_or_are_refused(target: bytes) -> None:
    for allow_ambiguous in (False, True):
        try:
            path, query = canonical_path(target, allow_ambiguous)
        except ProxyError:
            continue
        assert re.fullmatch(rb"\*|/[!-\"$->@-~]*", path)
        assert re.fullmatch(rb"(\?[!-\"$-~]*)?", query)
