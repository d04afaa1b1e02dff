"""An endpoint has one spelling; what nobody could connect to is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.admin.center.names import canonical_address, key_of


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("192.0.2.1:80", "192.0.2.1:80"),
        ("[2001:DB8:0:0::1]:80", "[2001:db8::1]:80"),
        ("API.Example.:8080", "api.example:8080"),
        ("127.0.0.1:080", "127.0.0.1:80"),
    ],
)
def test_one_spelling(text: str, canonical: str) -> None:
    assert canonical_address(text) == canonical
    assert canonical_address(canonical) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "", "192.0.2.1", "192.0.2.1:0", "192.0.2.1:65536", "0.0.0.0:80", "[::]:80", "224.0.0.1:80",
        "[fe80::1%eth0]:80", "unix:/run/x.sock", "127.1:80", "a/b:80", "a b:80", "http://a:80",
        "a\n:80", "a" * 260 + ":80", "2001:db8::1:80",
    ],
)  # fmt: skip
def test_what_is_no_address_of_one_machine(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # the words are for people
        canonical_address(text)


@given(st.text(max_size=300))
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    try:
        canonical = canonical_address(text)
    except ValueError:
        return
    assert canonical_address(canonical) == canonical
    assert canonical.isprintable()


@pytest.mark.parametrize(
    ("kind", "name"),
    [("services", ""), ("services", "-a"), ("services", "a/b"), ("services", "a\n"), ("services", "a" * 129),
     ("callers", "a"), ("", "a")],
)  # fmt: skip
def test_what_is_no_key(kind: str, name: str) -> None:
    with pytest.raises(ValueError, match=r"a kind is|a name is"):
        key_of(kind, name)
