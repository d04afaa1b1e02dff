"""Files that are looked at."""

from __future__ import annotations

import os
from pathlib import Path

from fastproxy.supervisor.watch import FileWatch


def looks(watch: FileWatch, count: int = 3) -> list[bool]:
    """What so many looks say."""
    return [watch.has_changed() for _ in range(count)]


def test_a_change_is_told_once_and_not_while_it_is_being_made(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("one")
    watch = FileWatch(file)
    assert looks(watch) == [False, False, False]
    file.write_text("one, two")
    assert not watch.has_changed(), "there may come more"
    file.write_text("one, two, three")
    assert looks(watch) == [False, True, False]


def test_a_file_that_is_replaced_has_changed(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("one")
    watch = FileWatch(file)
    file.unlink()
    assert looks(watch) == [False, False, False], "it is about to come again"
    other = tmp_path / "c.new"
    other.write_text("two")
    os.replace(other, file)
    assert looks(watch) == [False, True, False]


def test_a_link_that_leads_elsewhere_has_changed(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "c.yaml").write_text(name)
    (tmp_path / "now").symlink_to("a")
    watch = FileWatch(tmp_path / "now" / "c.yaml")
    (tmp_path / "next").symlink_to("b")
    os.replace(tmp_path / "next", tmp_path / "now")
    assert looks(watch) == [False, True, False]
