"""Every value of a file has its line, whatever the file holds."""

from __future__ import annotations

from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from fastproxy.config.lines import Lines
from fastproxy.config.problem import Path

Tree = int | list["Tree"] | dict[str, "Tree"]
trees: st.SearchStrategy[Tree] = st.recursive(
    st.just(0),
    lambda inner: st.lists(inner, max_size=24) | st.dictionaries(st.text(max_size=2), inner, max_size=24),
    max_leaves=60,
)


def write_down(tree: Tree) -> tuple[Lines, dict[Path, int], dict[Path, set[str]]]:
    """Note all values of a tree, each on a line of its own; return what is to be found."""
    lines, numbers = Lines(), count(1)
    expected: dict[Path, int] = {}
    names: dict[Path, set[str]] = {}

    def add(value: Tree, path: Path) -> None:
        expected[path] = next(numbers)
        lines.add(path[-1] if path else None, expected[path], len(path))
        names[path] = set(value) if isinstance(value, dict) else set()
        if isinstance(value, int):
            return
        for name, member in value.items() if isinstance(value, dict) else enumerate(value):
            add(member, (*path, name))

    add(tree, ())
    return lines, expected, names


@given(trees)
def test_the_line_of_each_value_and_the_names_in_each_mapping(tree: Tree) -> None:
    lines, expected, names = write_down(tree)
    assert len(lines) == len(expected)
    for path, line in expected.items():
        assert lines.line(path) == line
        assert lines.names(path) == names[path]


@given(trees, st.lists(st.text(max_size=3) | st.integers(0, 50), max_size=4).map(tuple))
def test_what_does_not_stand_there_has_the_line_of_what_is_around_it(tree: Tree, path: Path) -> None:
    lines, expected, names = write_down(tree)
    nearest = path
    while nearest not in expected:
        nearest = nearest[:-1]
    assert lines.line(path) == expected[nearest]
    assert lines.names(path) == names.get(path, set())


def test_of_two_members_with_one_name_the_first_is_meant() -> None:
    for others in (0, 50):
        lines = Lines()
        for name, line, depth in ((None, 1, 0), ("a", 2, 1), ("b", 3, 2), ("a", 4, 1), ("c", 5, 2)):
            lines.add(name, line, depth)
        for number in range(others):
            lines.add(f"more {number}", 6, 1)
        assert lines.line(("a",)) == 2
        assert lines.names(("a",)) == {"b"}
        assert lines.line(("a", "c")) == 2


def test_nothing_has_no_lines() -> None:
    assert Lines().line(("a", 1)) == 1
    assert Lines().names(()) == Lines().names(("a",)) == set()
