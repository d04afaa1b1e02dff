"""What both roles resolve alike: addresses, keys, and that no key has two uses.

Every method reports what is wrong and goes on, so that one run finds everything; what it returns in that
case is a stand-in that never leaves `load`, which raises once all is said.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Set
from pathlib import Path as FilePath

from fastproxy.config.address import Address, parse_address, parse_center_url
from fastproxy.config.key_files import read_all
from fastproxy.config.keys import (
    KeyMaterialError,
    is_usable_public_key,
    parse_date,
    public_from_private,
    read_secret,
    read_text_secret,
)
from fastproxy.config.problem import Path, Problem, dotted, nearest
from fastproxy.config.schema_parts import NAME_PATTERN, Admin, DatedKey, KeySource
from fastproxy.config.secret import Secret
from fastproxy.config.snapshot import NO_DATES, AdminListener, Center, OwnKey
from fastproxy.config.structure import Structure

NOWHERE = Address("", 0, "")
"""Stands in for an address that has been reported as wrong."""

_AT_CENTER = re.compile(rf"center(:(?![0-9]+\Z)(?P<name>{NAME_PATTERN.removeprefix('^')}))?\Z")
"""Endpoints that the center knows. With a number behind the colon it is a host that is called center."""
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{16,512}\Z")
"""What the center and the admin address take as a token (token68 of RFC 9110, section 11.2)."""


class Resolver:
    """Resolves the parts of one file.

    Args:
        structure: the typed config and where its values stand. folder: what relative file names start from.
        environ: the environment, for keys that come from there.
        now_unix_s: the time at which certificates must be valid.
    """

    def __init__(
        self, structure: Structure, folder: FilePath, environ: Mapping[str, str], now_unix_s: float
    ) -> None:
        self.structure = structure
        self.folder = folder
        self.now_unix_s = now_unix_s
        self.warnings: list[Problem] = []
        self.lapsed: list[Problem] = []
        self._environ = environ
        self._key_uses: dict[bytes, tuple[str, int]] = {}
        self._tls_id_uses: dict[str, tuple[str, int]] = {}

    def report(self, path: Path, message: str, suggestion: str = "") -> None:
        """Add a problem."""
        self.structure.report(path, message, suggestion)

    def warn(self, path: Path, message: str, suggestion: str = "") -> None:
        """Add something that works but is worth a look."""
        self.warnings.append(self._problem(path, message, suggestion))

    def lapse(self, path: Path, message: str, suggestion: str) -> None:
        """Add a name that nothing proves any more: time alone has done it, so that it stops no proxy."""
        self.lapsed.append(self._problem(path, message, suggestion))

    def _problem(self, path: Path, message: str, suggestion: str) -> Problem:
        line = self.structure.line(path)
        setting = dotted(self.structure.original(path))
        return Problem(self.structure.document.file, line, setting, message, suggestion)

    # --- addresses ----------------------------------------------------------------------------------------

    def listener(self, text: str, path: Path) -> Address:
        """Resolve an address to listen at."""
        return self._address(text, path, to_listen=True)

    def plain_listener(self, text: str, path: Path, *, allow_remote: bool, exposes: str) -> Address:
        """Resolve an address to listen at without encryption, which must be loopback unless allowed."""
        address = self.listener(text, path)
        if address is not NOWHERE and not address.is_loopback and not allow_remote:
            self.report(
                path,
                f"{address} can be reached from other machines: {exposes}",
                f"use 127.0.0.1:{address.port}, or confirm with `allow_remote: true`",
            )
        return address

    def admin(self, admin: Admin | None, listen: Address) -> AdminListener | None:
        """Resolve the admin listener."""
        if admin is None:
            return None
        path = ("admin", "address")
        exposes = "health and metrics are shown unencrypted"
        address = self.plain_listener(admin.address, path, allow_remote=admin.allow_remote, exposes=exposes)
        if address is not NOWHERE and (address.is_unix or address.port) and address == listen:
            self.report(path, "this is the address of `listen` as well", "give each its own port")
        if admin.open and address is not NOWHERE and not address.is_loopback:
            self.report(
                ("admin", "open"),
                f"{address} can be reached from other machines: they could have "
                f"{' and '.join(admin.open)} without a token",
                "use `token`",
            )
        token = self._admin_token(admin.token, ("admin", "token"), address)
        reader_token = self._admin_token(admin.reader_token, ("admin", "reader_token"), address)
        if token is not None and token == reader_token:
            self.report(("admin", "reader_token"), "this is `admin.token` as well", "make another one")
        if reader_token is not None and "reading" in admin.open:
            self.warn(("admin", "reader_token"), "with `open: [reading]` nothing asks for it", "remove it")
        return AdminListener(address, token, reader_token, tuple(admin.open))

    def _admin_token(self, source: KeySource | None, path: Path, address: Address) -> Secret | None:
        """Resolve a token, and say where it has no effect, or is exposed."""
        if source is None:
            return None
        if address.is_unix:
            self.warn(path, "a Unix socket asks for no token: its mode is 0600", "remove it")
        elif address is not NOWHERE and not address.is_loopback:
            self.warn(path, f"it comes to {address} unencrypted")
        return self._token(source, path)

    def endpoints(self, texts: Iterable[str], path: Path) -> tuple[Address, ...]:
        """Resolve addresses to connect to."""
        found: list[Address] = []
        known: set[Address] = set()
        for index, text in enumerate(texts):
            address = self._address(text, (*path, index), to_listen=False)
            if address is not NOWHERE and address in known:
                self.report((*path, index), "this endpoint is listed twice", "remove one of them")
            known.add(address)
            found.append(address)
        return tuple(found)

    def center_name(self, texts: list[str], path: Path, name: str) -> str:
        """Return the name under which the center is asked for endpoints; "" when they are addresses.

        Args:
            texts: the endpoints, as configured. path: where they stand. name: what `center` alone stands for.
        """
        found = [match for text in texts if (match := _AT_CENTER.match(text))]
        if not found:
            return ""
        if len(texts) > 1:
            self.report(path, "`center` stands for all endpoints", "remove it, or the others")
        if "center" not in self.structure.written(()):
            advice = "add `center: {url: http://HOST:PORT}`"
            self.report(path, "`center` is named but not configured", advice)
        return found[0]["name"] or name

    def center(self, url: str, token: KeySource | None, advertise: Address | None) -> Center:
        """Resolve what both roles say of the center."""
        address = NOWHERE
        try:
            address = parse_center_url(url)
        except ValueError as exc:
            self.report(("center", "url"), str(exc))
        secret = None if token is None else self._token(token, ("center", "token"))
        if secret is not None and address is not NOWHERE and not address.is_loopback:
            self.warn(("center", "token"), f"it goes to {address} unencrypted")
        return Center(address, secret, advertise)

    def _address(self, text: str, path: Path, *, to_listen: bool) -> Address:
        try:
            return parse_address(text, to_listen=to_listen)
        except ValueError as exc:
            self.report(path, str(exc))
            return NOWHERE

    # --- keys ---------------------------------------------------------------------------------------------

    def caller_key(self, source: KeySource, path: Path, name: str) -> OwnKey:
        """Read the private key of a caller and note its use."""
        return self._own_key(source, path, name, f"caller {name}", with_neighbours=False)

    def receiver_key(self, source: KeySource, path: Path, name: str) -> OwnKey:
        """Read a private key of a receiver, with those beside its file, and note their use."""
        return self._own_key(source, path, name, f"receiver {name}", with_neighbours=True)

    def _own_key(
        self, source: KeySource, path: Path, name: str, use: str, *, with_neighbours: bool
    ) -> OwnKey:
        secret = self._secret(source, path)
        if secret is None:
            return OwnKey(name, (Secret(b""),), None)
        file = self.folder / source.file if source.file else None
        secrets: tuple[Secret, ...] = (secret,)
        if file is not None and with_neighbours:
            try:
                secrets = read_all(file, with_neighbours=True)
            except KeyMaterialError as exc:
                self.report(path, exc.message, exc.suggestion)
        for one in secrets:
            self.claim_key(public_from_private(one), path, use)
        return OwnKey(name, secrets, file)

    def text_secret(self, source: KeySource, path: Path) -> Secret | None:
        """Read a secret that is a line of text; None, and a problem reported, when it can't be used."""
        try:
            return read_text_secret(source, self.folder, self._environ)
        except KeyMaterialError as exc:
            self.report(path, exc.message, exc.suggestion)
            return None

    def _token(self, source: KeySource, path: Path) -> Secret | None:
        """Read a token."""
        secret = self.text_secret(source, path)
        if secret is not None and not _TOKEN.match(secret.reveal().decode()):
            self.report(path, "this is not a token", "16 to 512 letters, digits and ._~+/=-")
        return secret

    def psk(self, source: KeySource | None, path: Path, use: str) -> Secret | None:
        """Read a pre-shared key and note its use."""
        if source is None:
            return None
        secret = self._secret(source, path)
        if secret is not None:
            # Kept as a digest: nothing here needs the key itself.
            self._claim(hashlib.sha256(b"psk" + secret.reveal()).digest(), path, f"psk of {use}")
        return secret

    def public_keys(
        self, items: Iterable[str | DatedKey], path: Path, use: str
    ) -> tuple[tuple[bytes, ...], Mapping[bytes, float]]:
        """Decode public keys and note their use; return them, and the dates of those that have one."""
        keys: list[bytes] = []
        dates: dict[bytes, float] = {}
        for index, item in enumerate(items):
            place = (*path, index)
            key = bytes.fromhex(item if isinstance(item, str) else item.key)
            if key in keys:
                self.report(place, "this key is listed twice", "remove one of them")
            self.claim_key(key, place, use)
            keys.append(key)
            if isinstance(item, DatedKey):
                try:
                    dates[key] = parse_date(item.not_after)
                except ValueError as exc:
                    self.report((*place, "not_after"), str(exc))
        return tuple(keys), dates or NO_DATES

    def claim_key(self, public_key: bytes, path: Path, use: str) -> None:
        """Note that a public key stands for `use`, and report when it can't or stands for another already."""
        if not is_usable_public_key(public_key):
            self.report(
                path, "this is not a usable X25519 public key", "make one with `fastproxy keys new NAME`"
            )
        self._claim(public_key, path, use)

    def claim_tls_id(self, tls_id: str, path: Path, use: str) -> None:
        """Note that a certificate's name stands for `use`, and report when it stands for another already."""
        known, line = self._tls_id_uses.setdefault(tls_id, (use, self.structure.line(path)))
        if known != use:
            self.report(
                path,
                f"the `tls_id` of {use} is also that of {known} (line {line})",
                "one `tls_id` belongs to one name",
            )

    def key_uses(self) -> dict[bytes, str]:
        """Return whom each key that was noted so far stands for."""
        return {key: use for key, (use, _) in self._key_uses.items()}

    def _claim(self, fingerprint: bytes, path: Path, use: str) -> None:
        known, line = self._key_uses.setdefault(fingerprint, (use, self.structure.line(path)))
        if known != use:
            self.report(
                path,
                f"the key of {use} is also that of {known} (line {line})",
                "one key belongs to one name: make another with `fastproxy keys new NAME`",
            )

    def _secret(self, source: KeySource, path: Path) -> Secret | None:
        try:
            return read_secret(source, self.folder, self._environ)
        except KeyMaterialError as exc:
            self.report(path, exc.message, exc.suggestion)
            return None

    # --- names --------------------------------------------------------------------------------------------

    def known_name(self, name: str, known: Set[str], path: Path, what: str) -> bool:
        """Whether a name is among those written in the file; reports it when it isn't."""
        if name in known:
            return True
        names = sorted(known)
        advice = nearest(name, names) or (f"known here: {', '.join(names[:8])}" if names else "")
        self.report(path, f"there is no {what} of the name {name}", advice)
        return False
