"""The stages of a rotation, by the files that they leave: also when one is cut off at any of its steps."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fastproxy.config.key_files import next_of, old_of, read_all
from fastproxy.config.keys import KeyMaterialError, public_from_private, read_public_key_file
from fastproxy.config.rotation import Rotation, RotationError, Standing
from fastproxy.config.secret import Secret

FIRST, SECOND = b"1" * 32, b"2" * 32
Stage = Callable[[Rotation], object]


def public(key: bytes) -> bytes:
    return public_from_private(Secret(key))


def prepare(subject: Rotation) -> bool:
    return subject.prepare(SECOND.hex)


STAGES: dict[str, tuple[Stage, ...]] = {
    "prepare": (prepare,),
    "use": (prepare, Rotation.use),
    "retire": (prepare, Rotation.use, Rotation.retire),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A key in use, with its public half."""
    file = tmp_path / "web.key"
    file.touch(mode=0o600)
    file.write_text(f"# of web\n{FIRST.hex()}\n")
    (tmp_path / "web.pub").write_text(f"{public(FIRST).hex()} not_after 2030-01-31T00:00:00Z\n")
    return file


def there(file: Path) -> dict[str, str]:
    """What each file beside a key holds."""
    return {one.name: one.read_text() for one in sorted(file.parent.iterdir())}


def accepted(file: Path) -> list[bytes]:
    """What a receiver that starts now proves itself by."""
    return [secret.reveal() for secret in read_all(file, with_neighbours=True)]


def test_the_files_of_each_stage(file: Path) -> None:
    subject = Rotation(file)
    assert subject.standing() is Standing.SETTLED
    assert prepare(subject)
    assert subject.standing() is Standing.PREPARED
    assert accepted(file) == [FIRST, SECOND]
    assert next_of(file).stat().st_mode & 0o777 == 0o600
    assert list(read_public_key_file(subject.public_file)) == [public(SECOND), public(FIRST)]
    assert subject.use()
    assert subject.standing() is Standing.USED
    assert accepted(file) == [SECOND, FIRST]
    assert old_of(file).stat().st_mode & 0o777 == 0o600
    assert list(read_public_key_file(subject.public_file)) == [public(SECOND), public(FIRST)]
    assert subject.retire()
    assert subject.standing() is Standing.SETTLED
    assert accepted(file) == [SECOND]
    assert list(read_public_key_file(subject.public_file)) == [public(SECOND)]
    assert sorted(there(file)) == ["web.key", "web.pub"]


def test_each_stage_can_be_done_again_and_changes_nothing_then(file: Path) -> None:
    subject = Rotation(file)
    for stage in STAGES["retire"]:
        assert stage(subject)
        before = there(file)
        assert not stage(subject)
        assert there(file) == before


def test_no_stage_comes_before_its_turn(file: Path) -> None:
    subject = Rotation(file)
    with pytest.raises(RotationError, match="there is no "):
        subject.use()
    assert not subject.retire()
    prepare(subject)
    with pytest.raises(RotationError, match="not in use"):
        subject.retire()
    subject.use()
    with pytest.raises(RotationError, match="still there"):
        prepare(subject)
    assert accepted(file) == [SECOND, FIRST]


def test_dates_of_public_keys_stay_and_the_next_one_gets_its_own(file: Path) -> None:
    subject = Rotation(file)
    subject.prepare(SECOND.hex, "2031-01-31T00:00:00Z")
    lines = subject.public_file.read_text().splitlines()
    assert lines == [
        f"{public(SECOND).hex()} not_after 2031-01-31T00:00:00Z",
        f"{public(FIRST).hex()} not_after 2030-01-31T00:00:00Z",
    ]
    prepare(subject)
    assert subject.public_file.read_text().splitlines() == lines


class CutOffError(Exception):
    """The machine has gone down."""


def count_steps(monkeypatch: pytest.MonkeyPatch, cut_at: int | None = None) -> list[str]:
    """Note what changes files, and have the machine go down before the change of this number."""
    steps: list[str] = []

    def counted(name: str, act: Callable[..., object]) -> Callable[..., object]:
        def do(*args: object, **how: object) -> object:
            if len(steps) == cut_at:
                raise CutOffError
            steps.append(name)
            return act(*args, **how)

        return do

    for name in ("rename", "unlink"):
        monkeypatch.setattr(Path, name, counted(name, getattr(Path, name)))
    monkeypatch.setattr(os, "fdopen", counted("write", os.fdopen))
    return steps


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_that_is_cut_off_anywhere_leaves_a_usable_key_and_is_completed_by_the_next_try(
    name: str, tmp_path: Path
) -> None:
    *before, last = STAGES[name]
    with pytest.MonkeyPatch.context() as patch:
        whole = make_key(tmp_path / "whole")
        for stage in before:
            stage(Rotation(whole))
        steps = count_steps(patch)
        last(Rotation(whole))
    assert len(steps) >= 3
    for cut_at in range(len(steps)):
        file = make_key(tmp_path / str(cut_at))
        for stage in before:
            stage(Rotation(file))
        held = set(accepted(file))
        with pytest.MonkeyPatch.context() as patch:
            count_steps(patch, cut_at)
            with pytest.raises(CutOffError):
                last(Rotation(file))
        assert accepted(file)[0] in (FIRST, SECOND), "a proxy can be started"
        if name != "retire":
            assert set(accepted(file)) >= held, "nothing that somebody may still need is gone"
        assert set(read_public_key_file(file.with_suffix(".pub"))) & {
            public(key) for key in accepted(file)
        }, "the public file fits a key that is there"
        last(Rotation(file))
        assert there(file) == there(whole), f"cut off before {steps[cut_at]}, number {cut_at}"


def make_key(folder: Path) -> Path:
    """A key in use without its public half."""
    folder.mkdir()
    file = folder / "web.key"
    file.touch(mode=0o600)
    file.write_text(FIRST.hex() + "\n")
    file.with_suffix(".pub").write_text(public(FIRST).hex() + "\n")
    return file


def test_a_key_that_is_a_link_is_left_alone(file: Path) -> None:
    linked = file.with_name("linked.key")
    linked.symlink_to(file)
    with pytest.raises(RotationError, match="is a link"):
        Rotation(linked)


def test_a_broken_next_key_is_not_used(file: Path) -> None:
    subject = Rotation(file)
    prepare(subject)
    next_of(file).write_text("not a key\n")
    with pytest.raises(KeyMaterialError):
        subject.use()
    assert accepted_in_use(file) == FIRST


def accepted_in_use(file: Path) -> bytes:
    return read_all(file, with_neighbours=False)[0].reveal()


def test_what_nobody_leaves_is_not_touched(file: Path) -> None:
    subject = Rotation(file)
    for one, key in ((next_of(file), SECOND), (old_of(file), b"3" * 32)):
        one.touch(mode=0o600)
        one.write_text(key.hex())
    before = there(file)
    for stage in (prepare, Rotation.use, Rotation.retire):
        with pytest.raises(RotationError, match="both there"):
            stage(subject)
    assert there(file) == before


def test_two_at_a_time_keep_out_of_each_others_way(file: Path) -> None:
    subject = Rotation(file)

    def meanwhile() -> str:
        with pytest.raises(RotationError, match="somebody else"):
            subject.use()
        return SECOND.hex()

    assert subject.prepare(meanwhile)
