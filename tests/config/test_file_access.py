"""Who can read a file with a secret: by its permissions, and by its access control list."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from fastproxy.config.file_access import is_open_to_others, names_others

OWN, ROOT, OTHER = 1000, 0, 1001
USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHERS = 1, 2, 4, 8, 16, 32
READ = 4
NOBODY = 0xFFFFFFFF
"""What stands where an entry has no id."""


def access_list(*entries: tuple[int, int, int], version: int = 2) -> bytes:
    return struct.pack("<I", version) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def of(user: int) -> bytes:
    """What a service manager gives to a credential: root's, readable by one user."""
    return access_list(
        (USER_OBJ, READ, NOBODY),
        (USER, READ, user),
        (GROUP_OBJ, 0, NOBODY),
        (MASK, READ, NOBODY),
        (OTHERS, 0, NOBODY),
    )


def test_a_list_may_name_the_user_itself_and_root() -> None:
    assert not names_others(of(OWN), OWN)
    assert not names_others(of(ROOT), OWN)


@pytest.mark.parametrize(
    "others",
    [
        of(OTHER),
        access_list((USER_OBJ, READ, NOBODY), (GROUP_OBJ, READ, NOBODY), (OTHERS, 0, NOBODY)),
        access_list(
            (USER_OBJ, READ, NOBODY), (GROUP_OBJ, 0, NOBODY), (GROUP, READ, OWN), (MASK, READ, NOBODY)
        ),
        access_list((USER, READ, OWN), version=3),
        of(OWN)[:-1],
        b"",
    ],
)
def test_a_list_that_names_others_or_is_not_understood_is_open_to_others(others: bytes) -> None:
    assert names_others(others, OWN)


@pytest.mark.parametrize(("mode", "is_open"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True)])
def test_permissions_alone(tmp_path: Path, mode: int, is_open: bool) -> None:
    file = tmp_path / "key"
    file.touch()
    file.chmod(mode)
    with file.open("rb") if os.access(file, os.R_OK) else file.open("wb") as stream:
        assert is_open_to_others(stream.fileno()) == is_open


def test_a_list_counts_and_not_the_permissions_that_it_shows(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.touch()
    file.chmod(0o400)
    try:
        os.setxattr(file, "system.posix_acl_access", of(os.geteuid()))
    except OSError:
        pytest.skip("this file system has no access control lists")
    assert file.stat().st_mode & 0o777 == 0o440
    with file.open("rb") as stream:
        assert not is_open_to_others(stream.fileno())
    os.setxattr(file, "system.posix_acl_access", of(os.geteuid() + 1))
    with file.open("rb") as stream:
        assert is_open_to_others(stream.fileno())
