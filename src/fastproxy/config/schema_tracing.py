"""The settings of traces, for both roles; see `schema` for the rules.

Knows nothing of files, YAML or what the settings are used for.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, field

from fastproxy.config.schema_parts import Count, KeySource, NameGlob, Seconds, Strict, Token

Fraction = Annotated[float, Meta(ge=0, le=1)]


class TraceRule(Strict, frozen=True, kw_only=True):
    """What part of the exchanges of some callers with some services begins a trace."""

    callers: Annotated[
        list[NameGlob], Meta(min_length=1, description="Names of callers; `*` stands for any characters.")
    ] = field(default_factory=lambda: ["*"])
    services: Annotated[
        list[NameGlob], Meta(min_length=1, description="Names of services; `*` stands for any characters.")
    ] = field(default_factory=lambda: ["*"])
    sample: Annotated[Fraction, Meta(description="Fraction of these exchanges, in the place of `sample`.")]


class Tracing(Strict, frozen=True, kw_only=True):
    """What both proxies say of traces."""

    endpoint: Annotated[
        str,
        Meta(
            max_length=1024,
            description="URL that takes spans over OTLP/HTTP: `http://HOST:PORT/PATH`, or `https`. No "
            "request waits for it, whatever it does.",
        ),
    ] = "http://127.0.0.1:4318/v1/traces"
    headers: Annotated[
        dict[Token, KeySource],
        Meta(
            description="Header fields that the collector asks for, a token say: a line of printable text "
            "each."
        ),
    ] = field(default_factory=dict)
    authorities: Annotated[
        str,
        Meta(
            description="File of CA certificates (PEM) of which the collector's must come with `https`, "
            "relative to the config file's folder; without it those of the system."
        ),
    ] = ""
    resource: Annotated[
        dict[str, str],
        Meta(
            max_length=64,
            description="Attributes of all spans, as in `{deployment.environment.name: test}`. "
            "`service.name` is the proxy's `name` unless it stands here.",
        ),
    ] = field(default_factory=dict)
    rules: Annotated[
        list[TraceRule],
        Meta(
            max_length=1000,
            description="Other fractions for some callers and services; the first rule that fits counts.",
        ),
    ] = field(default_factory=list)
    queue_exchanges: Annotated[
        Count,
        Meta(
            description="Traced exchanges that wait in a worker to be sent, of up to 8 KiB each; the spans "
            "of more are dropped, and counted."
        ),
    ] = 2048
    batch_exchanges: Annotated[
        int, Meta(ge=1, le=10_000, description="Traced exchanges that are sent at a time.")
    ] = 64
    interval_s: Annotated[
        Seconds, Meta(description="Time that a traced exchange waits for others to be sent with.")
    ] = 1.0
    timeout_s: Annotated[
        Seconds,
        Meta(description="Time for one batch to be sent, repeats included; then its spans are dropped."),
    ] = 10.0
    flush_s: Annotated[
        float,
        Meta(
            ge=0,
            le=60,
            description="Time at the end of a worker for spans that are left, after its exchanges are over; "
            "then they are dropped.",
        ),
    ] = 2.0


class OutTracing(Tracing, frozen=True, kw_only=True):
    """Traces (W3C Trace Context), and where their spans go. Takes the extra `tracing` of this package.

    A request whose `traceparent` is sampled is recorded, and this proxy's span becomes its parent for the
    next hop; one whose `traceparent` is not sampled passes as it came. `sample` and `rules` are for requests
    without one.
    """

    sample: Annotated[
        Fraction, Meta(description="Fraction of the exchanges without a `traceparent` that begins a trace.")
    ] = 0.01


class InTracing(Tracing, frozen=True, kw_only=True):
    """Traces (W3C Trace Context), and where their spans go. Takes the extra `tracing` of this package.

    A request whose `traceparent` is sampled is recorded, and this proxy's span becomes its parent for the
    service; one whose `traceparent` is not sampled passes as it came. `sample` and `rules` are for requests
    without one.
    """

    sample: Annotated[
        Fraction,
        Meta(
            description="Fraction of the exchanges without a `traceparent` that begins a trace. Where the "
            "out proxies trace, they have decided already."
        ),
    ] = 0.0
