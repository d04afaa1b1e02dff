"""The rules of `tracing` that go beyond single fields, for both roles."""

from __future__ import annotations

import re
from importlib.util import find_spec

from fastproxy.config.address import parse_address
from fastproxy.config.problem import Path
from fastproxy.config.resolve import Resolver
from fastproxy.config.schema_tracing import InTracing, OutTracing
from fastproxy.config.snapshot import Tracing

_PATH: Path = ("tracing",)
_URL = re.compile(r"(https?)://([^/?#@\s]+)(/[!$->@-~]*)?\Z")
_PORTS = {"http": 80, "https": 443}
_PACKAGES = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")


def resolve_tracing(tracing: OutTracing | InTracing | None, name: str, resolver: Resolver) -> Tracing | None:
    """Resolve where spans go; what is wrong is reported to `resolver`.

    Args:
        tracing: what the config says. name: of the proxy.
    """
    if tracing is None:
        return None
    if not all(map(_is_installed, _PACKAGES)):
        resolver.report(
            _PATH,
            "traces need OpenTelemetry's SDK, which is not installed",
            "pip install 'fastproxy-link[tracing]', or remove `tracing`",
        )
    is_exposed = _check_endpoint(tracing.endpoint, resolver)
    headers = {}
    for field, source in tracing.headers.items():
        secret = resolver.text_secret(source, (*_PATH, "headers", field))
        if secret is not None:
            headers[field] = secret
    if headers and is_exposed:
        resolver.warn((*_PATH, "headers"), f"they go to {tracing.endpoint} unencrypted", "use https")
    authorities = ""
    if tracing.authorities:
        file = resolver.folder / tracing.authorities
        authorities = str(file.absolute())
        if not file.is_file():
            resolver.report((*_PATH, "authorities"), f"there is no file {file}")
    return Tracing(headers, authorities, {"service.name": name} | tracing.resource)


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # nor is what it is a part of
        return False


def _check_endpoint(url: str, resolver: Resolver) -> bool:
    """Report what is wrong with the collector's URL; whether what goes there can be read on its way."""
    path = (*_PATH, "endpoint")
    match = _URL.match(url)
    if match is None:
        resolver.report(path, "this is not the URL of a collector", "as in http://127.0.0.1:4318/v1/traces")
        return False
    scheme, host, _ = match.groups()
    has_port = re.search(r":[0-9]*\Z", host) is not None
    try:
        address = parse_address(host if has_port else f"{host}:{_PORTS[scheme]}")
    except ValueError as exc:
        resolver.report(path, str(exc))
        return False
    return scheme == "http" and not address.is_loopback
