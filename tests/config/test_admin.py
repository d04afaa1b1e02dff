"""The admin listener's settings: who may have profiles."""

from __future__ import annotations

import pytest

from fastproxy.config.snapshot import AdminListener
from tests.config.conftest import Folder

TOKEN = "0123456789abcdef"


def text(folder: Folder, admin: str) -> str:
    folder.key("web")
    return f"""\
role: out
caller: web
private_key: {{file: web.key}}
services:
  api:
    receiver: {{name: in, public_keys: [{folder.key("in")}]}}
    endpoints: ["127.0.0.1:8033"]
admin: {{{admin}}}
"""


def admin_of(folder: Folder, admin: str) -> tuple[AdminListener, list[str]]:
    snapshot = folder.load(text(folder, admin))
    assert snapshot.admin is not None
    return snapshot.admin, [problem.message for problem in snapshot.warnings]


def test_profiles_are_closed_unless_said(folder: Folder) -> None:
    admin, warnings = admin_of(folder, "address: 127.0.0.1:9090")
    assert (admin.token, admin.open_to_all, admin.address.port, warnings) == (None, (), 9090, [])


def test_a_token_comes_from_a_file_that_only_its_owner_may_read(folder: Folder) -> None:
    folder.secret("admin", TOKEN)
    setting = "address: 127.0.0.1:9090, token: {file: admin.secret}"
    admin, warnings = admin_of(folder, setting)
    assert admin.token is not None
    assert admin.token.reveal() == TOKEN.encode()
    assert warnings == []
    assert TOKEN not in repr(admin)
    (folder.path / "admin.secret").chmod(0o640)
    (problem,) = folder.problems(text(folder, setting))
    assert "can be read by others" in problem.message
    assert problem.path == "admin.token"


@pytest.mark.parametrize("token", ["short", "with space inside it", "ünicode-is-no-token"])
def test_what_is_no_token_is_refused_and_not_repeated(folder: Folder, token: str) -> None:
    folder.secret("admin", token)
    (problem,) = folder.problems(text(folder, "address: 127.0.0.1:9090, token: {file: admin.secret}"))
    assert "not a token" in problem.message
    assert token not in str(problem)


def test_open_is_for_loopback_alone(folder: Folder) -> None:
    admin, _ = admin_of(folder, "address: 127.0.0.1:9090, open: [profiles, reading]")
    assert admin.open_to_all == ("profiles", "reading")
    (problem,) = folder.problems(text(folder, "address: 0.0.0.0:9090, allow_remote: true, open: [profiles]"))
    assert (problem.path, problem.suggestion) == ("admin.open", "use `token`")
    assert folder.problems(text(folder, "address: 127.0.0.1:9090, open: [config]"))


@pytest.mark.parametrize(
    ("setting", "warning"),
    [
        ("address: unix:/run/admin.sock", "a Unix socket asks for no token"),
        ("address: 0.0.0.0:9090, allow_remote: true", "unencrypted"),
    ],
)
def test_a_token_that_is_not_asked_for_or_exposed_is_warned_of(
    folder: Folder, setting: str, warning: str
) -> None:
    folder.secret("admin", TOKEN)
    _, warnings = admin_of(folder, f"{setting}, token: {{file: admin.secret}}")
    assert len(warnings) == 1
    assert warning in warnings[0]


def test_the_readers_token_is_another_one(folder: Folder) -> None:
    folder.secret("admin", TOKEN)
    folder.secret("reader", "another-token-of-it")
    tokens = "token: {file: admin.secret}, reader_token: {file: reader.secret}"
    admin, warnings = admin_of(folder, f"address: 127.0.0.1:9090, {tokens}")
    assert admin.reader_token is not None
    assert (admin.reader_token.reveal(), warnings) == (b"another-token-of-it", [])
    same = tokens.replace("reader.secret", "admin.secret")
    (problem,) = folder.problems(text(folder, f"address: 127.0.0.1:9090, {same}"))
    assert (problem.path, problem.suggestion) == ("admin.reader_token", "make another one")
    _, warnings = admin_of(folder, f"address: 127.0.0.1:9090, open: [reading], {tokens}")
    assert len(warnings) == 1
    assert "nothing asks for it" in warnings[0]
