"""The most specific pattern answers."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy.policy.pattern import ANY_METHOD, PatternTable, parse_pattern


def table_of(*patterns: str) -> PatternTable[str]:
    table: PatternTable[str] = PatternTable()
    for pattern in patterns:
        table.add(parse_pattern(pattern), (ANY_METHOD,), pattern)
    return table


@pytest.mark.parametrize(
    ("pattern", "hits", "misses"),
    [
        ("/a", [b"/a"], [b"/a/", b"/ab", b"/", b"/A", b"*"]),
        ("/", [b"/"], [b"/a", b"*"]),
        ("/*", [b"/a", b"/*", b"/**"], [b"/", b"/a/", b"/a/b", b"*"]),
        ("/a/*/c", [b"/a/b/c"], [b"/a//c", b"/a/c", b"/a/b/d/c", b"/a/b/c/"]),
        ("/**", [b"/", b"/a", b"/a/b/c/", b"*"], []),
        ("/a/**", [b"/a/", b"/a/b", b"/a/b/c"], [b"/a", b"/ab", b"/", b"*"]),
        ("/*/**", [b"/a/b", b"/a/"], [b"/a", b"/", b"*"]),
        ("/caf\u00e9", [b"/caf%C3%A9"], [b"/caf"]),
        ("/caf%c3%a9/%61", [b"/caf%C3%A9/a"], []),
    ],
)
def test_pattern(pattern: str, hits: list[bytes], misses: list[bytes]) -> None:
    table = table_of(pattern)
    assert [path for path in hits + misses if table.find(b"GET", path)] == hits


def test_specific_before_general_segment_by_segment() -> None:
    table = table_of("/**", "/a/**", "/*/b", "/a/*", "/a/b", "/*/b/c", "/a/b/**", "/a/*/c")
    found = {
        path: table.find(b"GET", path)
        for path in (b"/a/b", b"/a/x", b"/x/b", b"/a/b/c", b"/a/x/c", b"/a/x/d", b"/x/b/c", b"/x", b"/x/b/d")
    }
    assert found == {
        b"/a/b": "/a/b",
        b"/a/x": "/a/*",
        b"/x/b": "/*/b",
        b"/a/b/c": "/a/b/**",
        b"/a/x/c": "/a/*/c",
        b"/a/x/d": "/a/**",
        b"/x/b/c": "/*/b/c",
        b"/x": "/**",
        b"/x/b/d": "/**",
    }


def test_a_pattern_without_the_method_gives_way_to_a_more_general_one() -> None:
    table: PatternTable[str] = PatternTable()
    table.add(parse_pattern("/a"), (b"POST",), "post")
    table.add(parse_pattern("/*"), (b"PUT",), "put")
    table.add(parse_pattern("/**"), (ANY_METHOD,), "any")
    assert [table.find(method, b"/a") for method in (b"POST", b"PUT", b"GET", b"post")] == [
        "post", "put", "any", "any",
    ]  # fmt: skip


def test_methods_of_a_path_are_those_of_all_its_patterns() -> None:
    table: PatternTable[int] = PatternTable()
    for pattern, method in (
        ("/a/b", b"POST"),
        ("/a/*", b"PUT"),
        ("/*/b", b"HEAD"),
        ("/**", b"GET"),
        ("/c", b"PATCH"),
    ):
        table.add(parse_pattern(pattern), (method,), 1)
    paths = (b"/a/b", b"/a/x", b"/x/b", b"/x", b"/c", b"*")
    assert {path: b" ".join(sorted(table.methods_of(path))) for path in paths} == {
        b"/a/b": b"GET HEAD POST PUT",
        b"/a/x": b"GET PUT",
        b"/x/b": b"GET HEAD",
        b"/x": b"GET",
        b"/c": b"GET PATCH",
        b"*": b"GET",
    }


@pytest.mark.parametrize("pattern", ["/a", "/*", "/**"])
def test_of_equals_the_first_stays(pattern: str) -> None:
    segments = parse_pattern(pattern)
    table: PatternTable[int] = PatternTable()
    table.add(segments, (b"POST",), 1)
    table.add(segments, (ANY_METHOD,), 2)
    table.add(segments, (b"POST", b"GET"), 3)
    assert [table.find(method, b"/a") for method in (b"POST", b"GET", b"PUT")] == [1, 2, 2]


@pytest.mark.parametrize(
    "pattern", ["", "a", "*", "/a*", "/**/a", "/***", "/a?b", "/a/../b", "/a//b", "/%zz", "/a%2fb", "/a b#"]
)
def test_wrong_patterns_are_errors(pattern: str) -> None:
    with pytest.raises(ValueError, match="path pattern"):
        parse_pattern(pattern)


def test_ambiguous_patterns_must_be_allowed() -> None:
    assert parse_pattern("/a%2fb//*", allow_ambiguous=True) == (b"a%2Fb", b"", b"*")


SEGMENTS = st.sampled_from(["a", "b", "*"])
PATTERNS = st.builds(
    lambda segments, rest: "/" + "/".join(segments + rest),
    st.lists(SEGMENTS, min_size=1, max_size=4),
    st.sampled_from([[], ["**"]]),
)


def matches(pattern: str, path: str) -> bool:
    """The definition, segment by segment."""
    wanted, present = pattern[1:].split("/"), path[1:].split("/")
    if wanted[-1] == "**":
        wanted = wanted[:-1]
        if len(present) <= len(wanted):
            return False
        present = present[: len(wanted)]
    return len(wanted) == len(present) and all(
        segment in ("*", there) for segment, there in zip(wanted, present, strict=True)
    )


@settings(max_examples=300)
@given(
    st.lists(PATTERNS, max_size=8, unique=True),
    st.lists(st.sampled_from("abc"), min_size=1, max_size=6).map(lambda names: "/" + "/".join(names)),
)
def test_agrees_with_the_definition(patterns: list[str], path: str) -> None:
    def specificity(pattern: str) -> list[int]:
        return [{"*": 1, "**": 2}.get(segment, 0) for segment in pattern[1:].split("/")]

    best = min((pattern for pattern in patterns if matches(pattern, path)), key=specificity, default=None)
    assert table_of(*patterns).find(b"GET", path.encode()) == best
