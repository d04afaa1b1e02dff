"""Dates of public keys in configs and key files: what counts, what is warned of, what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from fastproxy.config.key_dates import shown_date
from fastproxy.config.keys import KeyMaterialError, parse_date, read_public_key_file
from fastproxy.config.snapshot import InSnapshot, OutSnapshot, Snapshot
from tests.certificates import NOW
from tests.config.conftest import Folder
from tests.config.test_load import in_example


def date(days: float) -> str:
    """So many days from the moment at which configs are loaded here."""
    return shown_date(NOW.timestamp() + days * 86_400 + 1)  # what is below a second is cut off


def with_keys(folder: Folder, keys: str) -> str:
    """The config of an in proxy whose caller has these keys."""
    text = in_example(folder)
    plain = f"public_keys: [{folder.key('chat_service')}]"
    assert plain in text
    return text.replace(plain, f"public_keys: [{keys}]")


def dated(folder: Folder, name: str, not_after: str) -> str:
    return f"{{key: {folder.key(name)}, not_after: {not_after}}}"


def inside(snapshot: Snapshot) -> InSnapshot:
    assert isinstance(snapshot, InSnapshot)
    return snapshot


def test_a_key_with_a_date_stands_beside_one_without(folder: Folder) -> None:
    keys = f"{folder.key('chat_service')}, {dated(folder, 'old', date(90))}"
    snapshot = inside(folder.load(with_keys(folder, keys)))
    peer = snapshot.callers["chat_service"]
    lasting, ending = (bytes.fromhex(folder.key(name)) for name in ("chat_service", "old"))
    last_s = parse_date(date(90))
    assert abs(last_s - NOW.timestamp() - 90 * 86_400) <= 1
    assert peer.public_keys == (lasting, ending)
    assert peer.key_dates == {ending: last_s}
    assert peer.at(last_s) is peer, "it counts through its last second"
    assert peer.at(last_s + 1).public_keys == (lasting,)
    assert peer.at(last_s + 1).key_dates == peer.key_dates
    assert not snapshot.warnings
    assert not snapshot.lapsed


def test_what_ends_within_30_days_or_has_ended_is_warned_of(folder: Folder) -> None:
    keys = f"{dated(folder, 'old', date(-1))}, {dated(folder, 'chat_service', date(29))}"
    keys += f", {dated(folder, 'far', date(31))}"
    snapshot = inside(folder.load(with_keys(folder, keys)))
    past, soon = snapshot.warnings
    assert "caller chat_service has passed its date" in past.message
    assert f"ends in 29 day(s), on {date(29)}" in soon.message
    assert {past.path, soon.path} == {"callers.chat_service.public_keys"}
    assert not snapshot.lapsed


def test_a_name_whose_keys_have_all_ended_is_told_apart(folder: Folder) -> None:
    keys = f"{dated(folder, 'old', date(-9))}, {dated(folder, 'chat_service', date(-1))}"
    snapshot = inside(folder.load(with_keys(folder, keys)))
    (lapsed,) = snapshot.lapsed
    assert f"every public key of caller chat_service has passed its date, the last one on {date(-1)}" in (
        lapsed.message
    )
    assert "keys new" in lapsed.suggestion
    assert not snapshot.warnings


def test_receivers_have_dates_wherever_they_are_described(folder: Folder) -> None:
    folder.key("web")
    text = f"""role: out
caller: web
private_key: {{file: web.key}}
receivers:
  shop-in: {{public_keys: [{dated(folder, "shop-in", date(-1))}], endpoints: ["h:1"]}}
services:
  cart: {{receiver: shop-in}}
  mail:
    receiver: {{name: mail-in, public_keys: [{dated(folder, "mail-in", date(5))}]}}
    endpoints: ["h:2"]
"""
    snapshot = folder.load(text)
    assert isinstance(snapshot, OutSnapshot)
    (lapsed,), (soon,) = snapshot.lapsed, snapshot.warnings
    assert (lapsed.path, lapsed.line) == ("receivers.shop-in.public_keys", 5)
    assert soon.path == "services.mail.receiver.public_keys"
    mail = snapshot.services["mail"].receiver
    assert mail is not None
    assert list(mail.key_dates.values()) == [parse_date(date(5))]


def test_one_receiver_has_one_set_of_dates(folder: Folder) -> None:
    folder.key("web")
    one, other = (
        f"{{name: in, public_keys: [{dated(folder, 'in', date(days))}]}}, endpoints: ['h:1']"
        for days in (90, 91)
    )
    text = f"role: out\ncaller: web\nprivate_key: {{file: web.key}}\nservices:\n  a: {{receiver: {one}}}\n"
    (problem,) = folder.problems(text + f"  b: {{receiver: {other}}}\n")
    assert "is proven by something else" in problem.message


@pytest.mark.parametrize(
    "text",
    ["2027-01-31", "2027-01-31T00:00:00", "2027-01-31 00:00:00Z", "tomorrow", "2027-01-31T00:00:00+01:00"],
)
def test_a_date_has_one_form(folder: Folder, text: str) -> None:
    (problem,) = folder.problems(with_keys(folder, dated(folder, "chat_service", text)))
    assert problem.path == "callers.chat_service.public_keys[0].not_after"
    assert problem.message == "this is not a date"


def test_a_date_stands_in_the_calendar(folder: Folder) -> None:
    (problem,) = folder.problems(with_keys(folder, dated(folder, "chat_service", "2027-02-29T00:00:00Z")))
    assert problem.path == "callers.chat_service.public_keys[0].not_after"
    assert "no date of the calendar" in problem.message


def test_a_date_without_a_key_or_the_other_way_round_is_refused(folder: Folder) -> None:
    for item, words in (
        (f"{{key: {folder.key('chat_service')}}}", "`not_after` is missing"),
        (f"{{not_after: {date(1)}}}", "`key` is missing"),
        (f"{{key: 12ab, not_after: {date(1)}}}", "this is not a public key"),
        (dated(folder, "chat_service", date(1)).replace("}", ", not_before: 1}"), "unknown key"),
    ):
        assert words in [problem.message for problem in folder.problems(with_keys(folder, item))]


def test_the_folder_of_callers_knows_dates(folder: Folder) -> None:
    (folder.path / "more").mkdir()
    file = folder.path / "more" / "bot.pub"
    file.write_text(f"# two\n{folder.key('bot')}\n{folder.key('old')}  not_after {date(-1)}\n")
    snapshot = inside(folder.load(in_example(folder) + "callers_dir: more\n"))
    peer = snapshot.callers["bot"]
    assert peer.at(NOW.timestamp()).public_keys == (bytes.fromhex(folder.key("bot")),)
    (warning,) = snapshot.warnings
    assert warning.path == "callers_dir"
    assert "caller bot has passed its date" in warning.message


@pytest.mark.parametrize(
    ("behind", "words"),
    [
        ("not_after", "is not its date"),
        ("until 2027-01-31T00:00:00Z", "is not its date"),
        ("not_after 2027-01-31T00:00:00Z x", "is not its date"),
        ("not_after 2027-13-31T00:00:00Z", "no date of the calendar"),
    ],
)
def test_what_stands_behind_a_key_is_its_date_or_the_file_is_refused(
    folder: Folder, behind: str, words: str
) -> None:
    file = folder.path / "bot.pub"
    file.write_text(f"{folder.key('bot')} {behind}\n")
    with pytest.raises(KeyMaterialError, match=words):
        read_public_key_file(file)


def test_a_key_file_says_each_key_once(folder: Folder) -> None:
    file = folder.path / "bot.pub"
    file.write_text(f"{folder.key('bot')}\n{folder.key('bot')} not_after {date(1)}\n")
    with pytest.raises(KeyMaterialError, match="a key twice"):
        read_public_key_file(file)


def test_dates_are_written_as_they_are_read() -> None:
    moment = datetime(2027, 1, 31, 23, 59, 59, tzinfo=UTC)
    assert shown_date(moment.timestamp()) == "2027-01-31T23:59:59Z"
    assert parse_date("2027-01-31T23:59:59Z") == moment.timestamp()
    assert parse_date("2027-02-01T00:00:00Z") == (moment + timedelta(seconds=1)).timestamp()
