"""The error table: every way in which an exchange can be refused or fail.

Pure code raises a `ProxyError` that names one row of the table; one place (`proxy/answer.py`)
turns it into an answer. Nothing tells errors apart by their text: the row is what counts.
Statuses follow RFC 9110, `proxy_error` is the type of RFC 9209, section 2.3.
Knows nothing of HTTP messages, sockets, logs or metrics.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct

Numbers = Mapping[str, float | str]
"""What decided an error, by names with units: for operators, never a secret."""
NO_NUMBERS: Numbers = MappingProxyType({})


class Cause(Struct, frozen=True):
    """One row of the error table.

    label: name in metrics, logs, answers and docs; never changes its meaning.
    status: HTTP status of the answer.
    proxy_error: error type for the `Proxy-Status` header (RFC 9209).
    phase: the step of the request's path at which it usually arises.
    title: what happened, in words.
    advice: what a person can do next.
    """

    label: str
    status: int
    proxy_error: str
    phase: str
    title: str
    advice: str


class ProxyError(Exception):
    """An exchange is refused or has failed.

    Args:
        cause: the row of the error table.
        detail: the particulars in words that a caller may see; never a secret, never the peer's raw bytes.
        phase: where it happened, when that differs from the row's usual phase.
        retry_after_s: when trying again makes sense (429 and 503), in seconds.
        sent: whether a byte of the request may have reached the next hop; decides whether it
            can be repeated.
        numbers: what decided it, such as a limit; kept with the failure, not told to the caller.
    """

    def __init__(
        self,
        cause: Cause,
        detail: str = "",
        *,
        phase: str | None = None,
        retry_after_s: float | None = None,
        sent: bool = False,
        numbers: Numbers = NO_NUMBERS,
    ) -> None:
        super().__init__(cause.label, detail)
        self.cause = cause
        self.detail = detail
        self.phase = phase or cause.phase
        self.retry_after_s = retry_after_s
        self.sent = sent
        self.numbers = numbers

    def again(self) -> ProxyError:
        """Return its like, for whoever keeps one and raises it: the traceback of what is raised holds all
        frames that it went through, and with them whoever keeps it.
        """
        return ProxyError(
            self.cause,
            self.detail,
            phase=self.phase,
            retry_after_s=self.retry_after_s,
            sent=self.sent,
            numbers=self.numbers,
        )


def beyond(cause: Cause, limit_bytes: int) -> ProxyError:
    """The error of what outgrew its limit while it came."""
    return ProxyError(cause, f"more than {limit_bytes} bytes", numbers={"limit_bytes": limit_bytes})


def timed_out(cause: Cause, setting: str, limit_s: float) -> ProxyError:
    """The error of a peer that said nothing for as long as a setting allows."""
    return ProxyError(cause, f"{limit_s:g} s without a byte", numbers={setting: limit_s})


TABLE: dict[str, Cause] = {}


def _row(label: str, status: int, proxy_error: str, phase: str, title: str, advice: str) -> Cause:
    cause = Cause(label, status, proxy_error, phase, title, advice)
    if label in TABLE:
        raise ValueError(f"the error table has two rows named {label}")
    TABLE[label] = cause
    return cause


# A row reads best as a block.
# fmt: off

# --- read: the HTTP message at a plain edge, or inside an envelope ----------
MALFORMED_REQUEST = _row(
    "malformed_request", 400, "http_request_error", "read",
    "The request is not well-formed HTTP/1.1",
    "Correct the client that sent it; the detail names the rule that it breaks.",
)
AMBIGUOUS_PATH = _row(
    "ambiguous_path", 400, "http_request_error", "read",
    "The path can be read in more than one way",
    "Send the path without dot segments, empty segments, encoded separators and backslashes, or allow "
    "them for this route.",
)
HEADER_TIMEOUT = _row(
    "header_timeout", 408, "http_request_error", "read",
    "The header section did not arrive in time",
    "Look for a slow or stuck client; `limits.header_timeout_s` is the limit.",
)
BODY_TIMEOUT = _row(
    "body_timeout", 408, "http_request_error", "read",
    "The request body stopped arriving",
    "Look for a slow or stuck client; `limits.body_timeout_s` is the limit.",
)
BODY_TOO_LARGE = _row(
    "body_too_large", 413, "http_request_error", "read",
    "The request body is larger than allowed",
    "Send less at once, or raise `limits.body_bytes`; over compat also `compat.body_limit_bytes`.",
)
TARGET_TOO_LONG = _row(
    "target_too_long", 414, "http_request_error", "read",
    "The request target is longer than allowed",
    "Move data from the query to the body, or raise `limits.target_bytes`.",
)
EXPECTATION_UNKNOWN = _row(
    "expectation_unknown", 417, "http_request_error", "read",
    "The Expect header asks for something other than 100-continue",
    "Send `Expect: 100-continue` or none.",
)
HEADERS_TOO_LARGE = _row(
    "headers_too_large", 431, "http_request_error", "read",
    "The header section is larger than allowed",
    "Send smaller headers, or raise `limits.header_bytes`.",
)
TOO_MANY_HEADERS = _row(
    "too_many_headers", 431, "http_request_error", "read",
    "There are more header fields than allowed",
    "Send fewer headers, or raise `limits.header_count`.",
)
METHOD_UNSUPPORTED = _row(
    "method_unsupported", 501, "http_request_error", "read",
    "This method cannot be proxied",
    "CONNECT and TRACE have no meaning for a call to a service; use another method.",
)
CODING_UNSUPPORTED = _row(
    "coding_unsupported", 501, "http_request_error", "read",
    "This transfer coding is not supported",
    "Send the body with a Content-Length or with `Transfer-Encoding: chunked`.",
)
UPGRADE_UNSUPPORTED = _row(
    "upgrade_unsupported", 501, "http_request_error", "read",
    "A change of protocol, as to a WebSocket, can't be carried here",
    "Use `transport: link` for this service: the others carry HTTP only.",
)
VERSION_UNSUPPORTED = _row(
    "version_unsupported", 505, "http_request_error", "read",
    "This version of HTTP is not spoken here",
    "Use HTTP/1.1 (or 1.0).",
)
TOO_MANY_CONNECTIONS = _row(
    "too_many_connections", 503, "connection_limit_reached", "read",
    "There are more connections than allowed",
    "Reuse connections, or raise `limits.connections` or `limits.connections_per_peer`.",
)
DESCRIPTORS_EXHAUSTED = _row(
    "descriptors_exhausted", 503, "connection_limit_reached", "read",
    "This process may open no more connections",
    "Raise the limit on open files that the proxy is started with (LimitNOFILE=, `ulimit -n`), add workers, "
    "or lower `limits.connections`. In the phase of connecting, it is one to the next hop that isn't made.",
)
OVERLOADED = _row(
    "overloaded", 503, "proxy_internal_response", "read",
    "More exchanges are in flight than allowed",
    "Try again later, add proxies, or raise `limits.in_flight`.",
)
DRAINING = _row(
    "draining", 503, "proxy_internal_response", "read",
    "The proxy is shutting down",
    "Try again: another replica or the restarted proxy will answer.",
)

# --- identify: who calls ----------
CALLER_UNKNOWN = _row(
    "caller_unknown", 401, "http_request_denied", "identify",
    "The caller that the request names may not be claimed at this listener",
    "Name a caller from `callers` of the out proxy's config, in the configured header.",
)
PEER_REFUSED = _row(
    "peer_refused", 401, "http_request_denied", "identify",
    "The process at the other end of the Unix socket is not among the allowed users",
    "Run the caller under a user of `listen.allowed_uids`, or add its uid there.",
)

# --- open: the envelope ----------
NOT_AN_ENVELOPE = _row(
    "not_an_envelope", 404, "http_request_error", "open",
    "This listener takes sealed envelopes only",
    "Send plain requests to the out proxy's listener, not to the in proxy's.",
)
ENVELOPE_MALFORMED = _row(
    "envelope_malformed", 400, "http_request_error", "open",
    "The sealed message has no form that is known here",
    "Look for a middlebox that changes bodies, or for proxies of different versions.",
)
IDENTITY_UNPROVEN = _row(
    "identity_unproven", 401, "http_request_denied", "open",
    "The message does not prove the identity of a caller that is known here",
    "Compare the caller's public key (`fastproxy keys show`) with `callers` in the in proxy's config, "
    "and the receiver's name and public key with `receiver` in the out proxy's; over compat, the keys under "
    "`compat` in both.",
)
ENVELOPE_REPLAYED = _row(
    "envelope_replayed", 401, "http_request_denied", "open",
    "This envelope has been here before",
    "Someone between the proxies repeats what they recorded, or a middlebox retries by itself.",
)
ENVELOPE_EXPIRED = _row(
    "envelope_expired", 401, "http_request_denied", "open",
    "The envelope's expiry has passed, or lies too far ahead",
    "Compare the clocks of both machines; `max_clock_skew_s` is the tolerance.",
)
SESSIONS_EXHAUSTED = _row(
    "sessions_exhausted", 503, "connection_limit_reached", "open",
    "This caller has more live sessions than allowed",
    "Find out why so many sender processes run under this key, or raise `limits.sessions_per_caller`.",
)
PEER_RATE_LIMITED = _row(
    "peer_rate_limited", 429, "http_request_denied", "open",
    "This address opens new sessions faster than allowed",
    "Find out why so many sender processes start at this address, or raise "
    "`limits.new_sessions_per_peer_per_s`.",
)
MESSAGE_BROKEN = _row(
    "message_broken", 400, "http_request_error", "open",
    "The sealed body was cut, swapped or changed on its way",
    "Look for a middlebox, or an attacker, between the proxies.",
)
COMPRESSION_BROKEN = _row(
    "compression_broken", 400, "http_request_error", "open",
    "A compressed chunk does not decompress within its bound",
    "Look at the sender: this is a decompression bomb or an unknown compressor.",
)
EPOCH_MISMATCH = _row(
    "epoch_mismatch", 503, "connection_terminated", "open",
    "The receiver restarted while the request was on its way, and the body can't be sent again",
    "Send the request again: nothing of it was processed.",
)

# --- privilege, rate, service, deadline ----------
NO_PRIVILEGE = _row(
    "no_privilege", 403, "http_request_denied", "privilege",
    "This caller has no privilege on this route",
    "Add a privilege for the caller, service, method and path to the in proxy's config; `fastproxy "
    "explain` shows which lines decide.",
)
SERVICE_UNKNOWN = _row(
    "service_unknown", 404, "destination_not_found", "route",
    "No service of this name is configured here",
    "Compare the name in the request with `services` in this proxy's config.",
)
RATE_LIMITED = _row(
    "rate_limited", 429, "http_request_denied", "rate",
    "This caller is over its rate on this route",
    "Wait as Retry-After says, or raise the privilege's `rate`.",
)
DEADLINE_EXCEEDED = _row(
    "deadline_exceeded", 504, "connection_timeout", "deadline",
    "The deadline of the exchange has passed",
    "The detail names the phase that used up the time; raise `timeout_s` if it was too short. A deadline "
    "that had passed on arrival comes from the caller: compare the clocks of both machines.",
)

# --- forward: picking an endpoint, connecting, sending, waiting ----------
NO_ENDPOINT = _row(
    "no_endpoint", 503, "destination_unavailable", "pick",
    "No endpoint is known for this service or receiver",
    "Check `endpoints`: whether a DNS name resolves from this machine, whether the center knows the name.",
)
CONNECT_REFUSED = _row(
    "connect_refused", 503, "connection_refused", "connect",
    "No endpoint took the connection",
    "Check that the next hop runs and listens at the address in the detail.",
)
CONNECT_TIMEOUT = _row(
    "connect_timeout", 504, "connection_timeout", "connect",
    "No endpoint took the connection in time",
    "Check network and firewall to the address in the detail; `connect_timeout_s` is the limit.",
)
POOL_EXHAUSTED = _row(
    "pool_exhausted", 503, "connection_limit_reached", "connect",
    "All connections to the endpoint are in use and too many exchanges wait for one",
    "Look for a slow next hop, or raise `limits.connections_per_endpoint`.",
)
LINK_REFUSED = _row(
    "link_refused", 502, "connection_terminated", "connect",
    "No link to the receiver came about: one side did not accept who the other is, or what it said",
    "Compare the receiver's name and public key here with the in proxy's own, and this caller's key with "
    "`callers` there (`fastproxy keys show`). The in proxy's last failures, its log and its metric of failed "
    "handshakes say which; the detail has what is known here.",
)
RECEIVER_KEY_ENDED = _row(
    "receiver_key_ended", 502, "proxy_configuration_error", "connect",
    "Every public key that is known here of the receiver has passed its date",
    "Add the receiver's new public key to this proxy's config, with a later `not_after` or none.",
)
STREAM_REFUSED = _row(
    "stream_refused", 503, "connection_terminated", "wait",
    "The receiver took nothing of this request: it has too much to do, or goes away",
    "Send the request again: nothing of it was processed. If it lasts, look at the in proxy's load and "
    "limits.",
)
CONNECTION_LOST = _row(
    "connection_lost", 502, "connection_terminated", "wait",
    "The next hop closed the connection before it had answered",
    "Look into the next hop's log at this time, or for what changes bytes on the way, if the detail says so; "
    "the request may or may not have been processed.",
)
RESPONSE_MALFORMED = _row(
    "response_malformed", 502, "http_protocol_error", "wait",
    "The next hop's answer is not well-formed HTTP/1.1",
    "Look at what listens at the endpoint, and correct it; the detail names the rule that it breaks.",
)
RESPONSE_TOO_LARGE = _row(
    "response_too_large", 502, "http_response_header_section_size", "wait",
    "The next hop's answer has a larger header section than allowed",
    "Send smaller headers from the service, or raise `limits.header_bytes`.",
)
RESPONSE_UNSEALED = _row(
    "response_unsealed", 502, "http_protocol_error", "open",
    "What came back was not sealed by the receiver; its content was discarded",
    "Look at what answers at the endpoint: a middlebox, another program, or an in proxy that could not "
    "tell who calls. Its own log says which.",
)
RESPONSE_BROKEN = _row(
    "response_broken", 502, "http_response_incomplete", "open",
    "The sealed answer was changed, cut, or belongs to another request",
    "Look for a middlebox, or an attacker, between the proxies.",
)
RESPONSE_BODY_TOO_LARGE = _row(
    "response_body_too_large", 502, "http_response_body_size", "open",
    "The answer has a larger body than may be held in memory",
    "Over compat, messages are held whole: answer with less at once, or raise `compat.body_limit_bytes`.",
)
RECEIVER_REFUSED = _row(
    "receiver_refused", 502, "http_request_denied", "open",
    "The in proxy refused the request, and said so in the clear",
    "The detail has its words, which nothing proves; its own log says more. The status is the in proxy's own "
    "where it means the same to the caller.",
)
TUNNEL_IDLE = _row(
    "tunnel_idle", 504, "connection_timeout", "answer",
    "Neither side of a connection that had left HTTP, as a WebSocket, said anything for long",
    "Let one of them send pings, or raise `limits.tunnel_idle_timeout_s`.",
)
INTERNAL_ERROR = _row(
    "internal_error", 500, "proxy_internal_error", "answer",
    "The proxy itself made a mistake",
    "Report it with the log line that carries this exchange id.",
)
