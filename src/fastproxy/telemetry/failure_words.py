"""What is said to people of causes of failures: rows of the error table, links that didn't come about, and
callers who hung up. `docs/troubleshooting.md` has more on each of them.
"""

from __future__ import annotations

from fastproxy.errors import TABLE
from fastproxy.telemetry.failures import HANDSHAKE, Failure
from fastproxy.telemetry.metrics import CALLER_GONE

HANDSHAKES = {
    "mac": "the out proxy there has another public key for this receiver: compare its `receivers` with "
    "`fastproxy keys show` here; or it is no out proxy",
    "handshake": "the out proxy there has another name for this receiver, or a middlebox changes what "
    "passes; or it is no out proxy",
    "unknown_caller": "add the caller's public key to `callers` or `callers_dir` here, if it may call; "
    "`fastproxy keys show` prints key ids, and the out proxy's dashboard has those of its callers",
    "key_ended": "give the caller there another key, made with `fastproxy keys new`, and list it here with a "
    "later date",
    "record": "the caller there has another `psk` than here, or somebody repeats what they recorded",
    "version": "update the older one of the two proxies",
    "identity": "compare the names in the caller's certificate with the `tls_id` of `callers` here",
    "tls": "compare the CAs and dates of both sides' certificates; or it is no out proxy",
    "timeout": "look at the network to this address; `link.handshake_timeout_s` is the limit",
    "closed": "the out proxy there says why in its answers (`link_refused`); a port scan looks like this too",
    "lost": "look at the network to this address, and whether the out proxy there was killed",
    "rate": "find out why so many links are made there, or raise `link.new_links_per_peer_per_s`",
    "user": "run the out proxy under a user of `listen.allowed_uids`, or add its uid there",
    "half_open": "find out who lets so many handshakes hang, or raise `link.handshakes`",
    "links": "find out why so many out proxies run under this key, or raise `link.links_per_caller`",
    "draining": "nothing: this proxy is shutting down, others take the calls",
}
"""What to do about links that didn't come about, by why."""
REFUSALS = {
    "mac": "it was not made for this receiver's public key",
    "handshake": "its handshake doesn't fit this receiver",
    "unknown_caller": "no caller here has the key that it came with",
    "key_ended": "its caller's key has passed its date",
    "record": "its caller's proof didn't open",
    "version": "the two proxies have no version in common",
    "identity": "its certificate is no caller's",
    "tls": "TLS failed",
    "timeout": "its handshake took too long",
    "closed": "the other end hung up during the handshake",
    "lost": "the connection broke during the handshake",
    "rate": "too many are made from there",
    "user": "the user who runs the other end isn't allowed here",
    "half_open": "too many handshakes are under way",
    "links": "its caller has too many links",
    "draining": "this proxy is shutting down",
}
"""What is meant by links that didn't come about, by why."""
_OTHER_ADVICE = "somebody there doesn't keep to the protocol of links"


def advice_on(label: str) -> str:
    """Return what to do about links that didn't come about for this reason (`LinkError.label`)."""
    return HANDSHAKES.get(label, _OTHER_ADVICE)


def with_words(failure: Failure) -> Failure:
    """Say with a failure what its cause means, and what to do; returns the same one."""
    row = TABLE.get(failure.cause)
    if row is not None:
        failure.title, failure.advice = row.title, row.advice
    elif failure.phase == HANDSHAKE:
        label = failure.cause.removeprefix(f"{HANDSHAKE}_")
        failure.title = f"A link was refused: {REFUSALS.get(label, 'it broke a rule of links')}"
        failure.advice = advice_on(label)
    elif failure.cause == CALLER_GONE:
        failure.title = "The caller hung up before its answer was through"
        failure.advice = (
            "Compare the caller's own time limit with how long this took, and look at what it waited for."
        )
    else:
        failure.title = "The next hop refused it for a reason that this version doesn't know"
        failure.advice = "Ask the next hop itself, or update this proxy."
    return failure
