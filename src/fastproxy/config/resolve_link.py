"""The rules of `link`, and of who proves a name by what, that go beyond single fields, for both roles."""

from __future__ import annotations

from fastproxy.config.key_dates import check_dates
from fastproxy.config.problem import Path, dotted
from fastproxy.config.resolve import Resolver
from fastproxy.config.schema import Caller, Receiver, SharedReceiver
from fastproxy.config.schema_link import Link, Tls
from fastproxy.config.snapshot import Peer, TlsFiles


def resolve_peer(
    name: str,
    described: Caller | Receiver | SharedReceiver,
    path: Path,
    use: str,
    tls_path: Path,
    resolver: Resolver,
) -> Peer:
    """Resolve what proves the name of a peer: one of its keys, or its certificate.

    Args:
        name: of the peer. described, path: what the config says of it, and where.
        use: who it is, e.g. "caller web". tls_path: where this proxy's own certificate is configured.
        resolver: gets what is wrong.
    """
    if not (resolver.structure.is_whole and described.public_keys and not described.tls_id):
        _check_proof(path, tls_path, resolver)
    if described.tls_id:
        resolver.claim_tls_id(described.tls_id, (*path, "tls_id"), use)
    keys_path = (*path, "public_keys")
    keys, key_dates = resolver.public_keys(described.public_keys, keys_path, use)
    psk = resolver.psk(described.psk, (*path, "psk"), use)
    peer = Peer(name, keys, described.tls_id, psk, resolver.structure.line(path), key_dates)
    check_dates(peer, keys_path, use, resolver)
    return peer


def _check_proof(path: Path, tls_path: Path, resolver: Resolver) -> None:
    """Report when not exactly one thing proves a name. Arguments as for `resolve_peer`."""
    written = resolver.structure.written(path)
    tls_id_path = (*path, "tls_id")
    if {"public_keys", "tls_id"} <= written:
        resolver.report(tls_id_path, "`public_keys` and `tls_id` exclude each other", "keep one of them")
    elif "tls_id" in written:
        if tls_path[-1] not in resolver.structure.written(tls_path[:-1]):
            section = dotted(tls_path)
            resolver.report(tls_id_path, f"`tls_id` needs a certificate of this proxy, in `{section}`")
        if "psk" in written:
            resolver.report((*path, "psk"), "`psk` has no meaning with `tls_id`", "remove it")
    elif "public_keys" not in written:
        resolver.report(
            path, "`public_keys` is missing", "add `public_keys: […]`, or `tls_id: …` for links inside TLS"
        )


def resolve_tls(tls: Tls | None, path: Path, use: str, resolver: Resolver) -> TlsFiles | None:
    """Resolve a proxy's own certificate, with a look at its files.

    Args:
        tls, path: what the config says of it, and where. use: who it proves, e.g. "receiver shop-in".
        resolver: gets what is wrong.
    """
    if tls is None:
        return None
    from fastproxy.config.certificates import (  # noqa: PLC0415 - 3 MiB that few proxies need
        CertificateError,
        read_credentials,
    )

    files = TlsFiles(
        resolver.folder / tls.certificate,
        resolver.folder / tls.private_key,
        resolver.folder / tls.authorities,
    )
    try:
        credentials = read_credentials(files, resolver.now_unix_s)
    except CertificateError as exc:
        for setting, error in exc.problems.items():
            resolver.report((*path, setting), error.message, error.suggestion)
        return files
    for tls_id in credentials.tls_ids:
        resolver.claim_tls_id(tls_id, (*path, "certificate"), use)
    return files


def check_windows(link: Link, resolver: Resolver) -> None:
    """Report windows of a link that contradict each other."""
    if link.window_bytes < link.stream_window_bytes:
        path = ("link", "window_bytes")
        own = "window_bytes" in resolver.structure.written(("link",))
        resolver.report(
            path if own else ("link", "stream_window_bytes"),
            f"`window_bytes` ({link.window_bytes}) is less than `stream_window_bytes` "
            f"({link.stream_window_bytes}), which no exchange could use up",
            "raise the one, or lower the other",
        )
