"""`fastproxy center`: what it refuses to start with, and the tokens that it makes."""

from __future__ import annotations

import hashlib
import socket
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fastproxy.admin.center.access import Access
from fastproxy.admin.center.refusals import CenterError
from fastproxy.admin.center.tokens import TokensError, read_tokens
from tests.cli.conftest import Call

DIGEST = "sha256:" + "0a" * 32


def write_tokens(content: str, mode: int = 0o600) -> None:
    file = Path("center.tokens")
    file.write_text(content)
    file.chmod(mode)


# --- options that can't be used -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "say who may register"),
        (["--open", "--tokens", "center.tokens"], "say who may register"),
        (["--open", "--listen", "0.0.0.0:0"], "loopback only"),
        (["--open", "--allow-remote", "--listen", "0.0.0.0:0"], "loopback only"),
        (["--tokens", "center.tokens", "--listen", "0.0.0.0:0"], "--allow-remote"),
        (["--open", "--listen", "8040"], "HOST:PORT"),
        (["--tokens", "none.tokens"], "can't be opened"),
    ],
)
def test_options_that_contradict_each_other_or_open_too_much(
    call: Call, options: list[str], words: str
) -> None:
    write_tokens(f"song {DIGEST}\n")
    result = call("center", *options)
    assert result.exit_code == 2
    assert words in " ".join(result.output.split())
    assert not Path("center.db").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "no token stands there"),
        ("# song sha256:00\n\n", "no token stands there"),
        (f"song {DIGEST}\nchat as-it-is-0123456789\n", "center.tokens:2: "),
        ("song as-it-is-0123456789-not-a-digest\n", "center.tokens:1: "),
        (f"{DIGEST}\n", "NAME sha256:HEX"),
        (f"song chat {DIGEST}\n", "NAME sha256:HEX"),
        (f"../song {DIGEST}\n", "NAME sha256:HEX"),
        ("song sha256:0a\n", "64 hex digits"),
        (f"song {DIGEST}\n" * 60_000, "larger than"),
    ],
)
def test_a_file_of_tokens_that_is_none(call: Call, content: str, words: str) -> None:
    write_tokens(content)
    result = call("center", "--tokens", "center.tokens")
    assert result.exit_code == 2
    assert words in " ".join(result.output.split())
    assert "as-it-is" not in result.output, "it may be a token"


def test_a_file_of_tokens_that_others_can_write(call: Call) -> None:
    write_tokens(f"song {DIGEST}\n", mode=0o620)
    result = call("center", "--tokens", "center.tokens")
    assert result.exit_code == 2
    assert "chmod go-w" in result.output
    assert call("center", "--tokens", ".").exit_code == 2


def test_several_tokens_of_a_name(call: Call) -> None:
    other = DIGEST.replace("0a", "0b")
    write_tokens(f"# of the song\nsong {DIGEST}\n\n  song   {other}\nchat {DIGEST}", mode=0o644)
    digests = read_tokens(Path("center.tokens"))
    first, second = bytes.fromhex("0a" * 32), bytes.fromhex("0b" * 32)
    assert digests == {"song": [first, second], "chat": [first]}


# --- a start that fails ---------------------------------------------------------------------------------


def run_to_its_end(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Start a center that can't start."""
    command = [sys.executable, "-m", "fastproxy", "center", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=20)


def test_a_port_in_use_is_told_with_its_address(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = run_to_its_end(tmp_path, "--open", "--listen", address)
    assert ended.returncode == 1
    assert (
        ended.stderr == f"fastproxy: can't listen on {address}: address already in use: another program "
        "listens there; stop it, or change `address`\n"
    )


def test_a_file_of_another_program_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "center.db"
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE precious (content TEXT)")
    connection.close()
    before = file.read_bytes()
    ended = run_to_its_end(tmp_path, "--open", "--listen", "127.0.0.1:0")
    assert ended.returncode == 1
    assert "center.db: it belongs to another program; name another file" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert file.read_bytes() == before


# --- tokens ---------------------------------------------------------------------------------------------


def test_a_new_token_may_register_its_names_and_no_others(call: Call) -> None:
    result = call("center", "token", "shop-in", "cart")
    assert result.exit_code == 0
    file = Path("shop-in.token")
    token = file.read_text().strip()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert token not in result.output
    digest = hashlib.sha256(token.encode()).hexdigest()
    assert result.stdout == f"shop-in sha256:{digest}\ncart sha256:{digest}\n"
    write_tokens(result.stdout)
    access = Access(read_tokens(Path("center.tokens")), is_open=False)
    bearer = f"Bearer {token}".encode()
    assert access.permit("cart", bearer, "192.0.2.1") == access.permit("shop-in", bearer, "192.0.2.1")
    with pytest.raises(CenterError):
        access.permit("pay", bearer, "192.0.2.1")


def test_another_token_each_time_and_none_is_overwritten(call: Call) -> None:
    first = call("center", "token", "cart").stdout
    assert call("center", "token", "cart", "-o", "second.token").stdout != first
    kept = Path("cart.token").read_text()
    result = call("center", "token", "cart")
    assert result.exit_code == 1
    assert "is there already" in result.output
    assert Path("cart.token").read_text() == kept


def test_a_token_is_for_names(call: Call) -> None:
    assert call("center", "token", "../cart").exit_code == 1
    assert call("center", "token").exit_code == 2
    with pytest.raises(TokensError):
        read_tokens(Path("cart.token"))
