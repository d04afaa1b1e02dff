"""Opening requests: who calls, whether this envelope was here before, whether it comes in time.

The order of the checks is part of the design:
    1. form, receiver name, key ids      cheap; refuses strays before any curve operation
    2. replay window of a known session  cheap; a replay costs a look-up; for this epoch alone
    3. keys of an unknown session        two curve operations: the price of a stranger's attempt
    4. tag                               from here on the sender is proven and the answer can be sealed
    5. epoch, expiry                     before a window is kept, so that old recordings take no room
    6. session entered, counter marked   before the content is looked at: a counter is taken once
    7. content of the first record
Which check failed before the tag must not show outside: unknown sender, unknown receiver key, wrong name
and wrong tag are one cause.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable

from cryptography.exceptions import InvalidTag
from msgspec import Struct

from fastproxy.errors import (
    ENVELOPE_EXPIRED,
    ENVELOPE_MALFORMED,
    ENVELOPE_REPLAYED,
    EPOCH_MISMATCH,
    IDENTITY_UNPROVEN,
    MESSAGE_BROKEN,
    ProxyError,
)
from fastproxy.wire.ciphers import CIPHERS, NONCE_BYTES, TAG_BYTES
from fastproxy.wire.envelope import (
    AEAD_AT,
    COUNTER_AT,
    COUNTER_EPOCH_EXPIRY,
    ENC_AT,
    EPOCH_BYTES,
    INFO_LABEL,
    MAX_COUNTER,
    NAME_AT,
    PSK_ID,
    RECEIVER_AT,
    REQUEST_START,
    SENDER_AT,
    UNKNOWN_EPOCH,
    name_field,
)
from fastproxy.wire.hpke import PreSharedKey, auth_decap, key_schedule
from fastproxy.wire.identity import PrivateKey
from fastproxy.wire.records import (
    LAST,
    MAX_CIPHERTEXT_BYTES,
    MIN_CIPHERTEXT_BYTES,
    REQUEST_FAULTS,
    WORD,
    WORD_BYTES,
    Chunk,
    MessageOpener,
    meta_of,
    unpack,
)
from fastproxy.wire.replay import CLOCK_SET_BACK, DEFAULT_WIDTH
from fastproxy.wire.responses import (
    EXPORT_CONTEXT,
    ResponseBinding,
    binding_of,
)
from fastproxy.wire.sessions import CallerKey, Session, SessionTable, WindowlessSessions

WINDOWLESS_SESSIONS = 256
"""Sessions of another epoch that are known at most: each is a process of a caller, and takes some 2 KiB."""


class ReceiverLimits(Struct, frozen=True):
    """The bounds that a receiver keeps.

    max_age_ms: how far ahead an expiry may lie. max_clock_skew_ms: by how much the clocks may differ.
    sessions_per_caller: live sessions of one key of a caller. window_width: see `ReplayWindow`.
    """

    max_age_ms: int = 60_000
    max_clock_skew_ms: int = 10_000
    sessions_per_caller: int = 1024
    window_width: int = DEFAULT_WIDTH

    @property
    def lifetime_ms(self) -> int:
        """After this long, whatever was accepted has expired.

        Accepted means expiry <= accepted_at + max_age + skew; it has expired when expiry + skew < now.
        """
        return self.max_age_ms + 2 * self.max_clock_skew_ms


class PackedRequest(Struct, frozen=True, gc=False):
    """A request that is here entirely, its sender proven, its single record open and packed as it came.

    session, base_nonce: as in `OpenedRequest`. plaintext: the record's. length: of the message.
    bound_to: what the answer is bound to.
    """

    session: Session
    base_nonce: int
    plaintext: bytes
    length: int
    bound_to: bytes


class OpenedRequest(Struct, frozen=True, gc=False):
    """A request whose sender is proven and whose first record is open.

    session, base_nonce: for the records after the first. chunk: the first record.
    consumed_bytes: where in the buffer the rest begins. binding: what seals the answer.
    """

    session: Session
    base_nonce: int
    chunk: Chunk
    consumed_bytes: int
    binding: ResponseBinding

    @property
    def caller(self) -> CallerKey:
        """Whose key it was."""
        return self.session.caller

    def opener(self) -> MessageOpener:
        """Return what opens the records after the first; it also refuses whatever follows the last."""
        return MessageOpener(
            self.session.aead, self.base_nonce, b"", REQUEST_FAULTS, index=1, finished=self.chunk.last
        )


class ProvenRefusalError(ProxyError):
    """A request is refused although its sender is proven, so that the refusal can be sealed.

    With EPOCH_MISMATCH the answer is a `Challenge`; with all others a `Refusal`.

    caller: whose key it was. binding: what seals the answer. meta: of the first record, as it came.

    Args:
        error: why.
    """

    def __init__(self, error: ProxyError, caller: CallerKey, binding: ResponseBinding, meta: bytes) -> None:
        super().__init__(error.cause, error.detail, numbers=error.numbers)
        self.caller = caller
        self.binding = binding
        self.meta = meta


def _out_of_time(detail: str, late_ms: int, limits: ReceiverLimits) -> ProxyError:
    """The error of an envelope that came so long after its expiry; below zero, so far before it."""
    numbers = {"late_s": late_ms / 1000, "max_clock_skew_s": limits.max_clock_skew_ms / 1000}
    return ProxyError(ENVELOPE_EXPIRED, detail, numbers=numbers)


def unpacked(request: PackedRequest) -> OpenedRequest:
    """Return a packed request as one that was opened step by step.

    Raises:
        ProvenRefusalError: what the record holds has no known form.
    """
    session = request.session
    binding = ResponseBinding(session.response_aead, request.bound_to)
    try:
        chunk = unpack(request.plaintext, True, REQUEST_FAULTS)
    except ProxyError as exc:
        raise ProvenRefusalError(exc, session.caller, binding, meta_of(request.plaintext)) from exc
    return OpenedRequest(session, request.base_nonce, chunk, request.length, binding)


class Receiver:
    """Opens the requests that are meant for one in proxy.

    epoch: 16 random bytes of this receiver's life; a restart, which forgets the windows, needs new ones.
    """

    __slots__ = (
        "_callers",
        "_head",
        "_latest_ms",
        "_limits",
        "_live",
        "_name",
        "_private_keys",
        "_record_at",
        "_sessions",
        "_shortest",
        "_skew_ms",
        "_windowless",
        "_word_at",
        "epoch",
    )

    def __init__(
        self,
        private_keys: Iterable[PrivateKey],
        name: str,
        epoch: bytes,
        callers: Iterable[CallerKey],
        limits: ReceiverLimits = ReceiverLimits(),
        sessions: SessionTable | None = None,
    ) -> None:
        """Make a receiver.

        Args:
            private_keys: the receiver's own; several while a key is being replaced.
            name: as senders know it.
            epoch: 16 random bytes, drawn anew whenever the session table starts empty.
            callers: every key that may call.
            limits: bounds.
            sessions: the table, where it isn't this receiver's alone.

        Raises:
            ValueError: a name or epoch that doesn't fit, or two keys with one id.
        """
        if len(epoch) != EPOCH_BYTES or epoch == UNKNOWN_EPOCH:
            raise ValueError("an epoch is 16 bytes, not all zero")
        self.epoch = epoch
        self._name = name_field(name)
        self._word_at = NAME_AT + len(self._name)
        self._head = struct.Struct(f">{AEAD_AT}s{COUNTER_AT - AEAD_AT}sQ{EPOCH_BYTES}sQ{len(self._name)}sI")
        self._record_at = self._head.size
        self._shortest = self._record_at + MIN_CIPHERTEXT_BYTES
        self._limits = limits
        self._latest_ms = limits.max_age_ms + limits.max_clock_skew_ms
        self._skew_ms = limits.max_clock_skew_ms
        if sessions is None:
            sessions = SessionTable(limits.sessions_per_caller, limits.lifetime_ms, limits.window_width)
        self._sessions = sessions
        self._live = self._sessions.live
        self._windowless = WindowlessSessions(WINDOWLESS_SESSIONS, limits.lifetime_ms)
        self.replace_keys(private_keys, callers)

    @property
    def session_count(self) -> int:
        """How many sessions the table holds."""
        return len(self._sessions)

    def replace_keys(self, private_keys: Iterable[PrivateKey], callers: Iterable[CallerKey]) -> None:
        """Take the keys of a new config. Sessions of keys that are gone or changed are refused at once.

        Raises:
            ValueError: two keys have one id; nothing was changed.
        """
        own, known = list(private_keys), list(callers)
        own_by_id = {key.key_id: key for key in own}
        known_by_id = {key.key_id: key for key in known}
        if (
            len(own_by_id) + len(known_by_id) != len(own) + len(known)
            or own_by_id.keys() & known_by_id.keys()
        ):
            raise ValueError("the same key stands in two places")
        self._private_keys = own_by_id
        self._callers = known_by_id
        self._sessions.reassign(self._owner)
        self._windowless.reassign(self._owner)

    def expire(self, now_ms: int) -> None:
        """Forget sessions that can't be replayed any more; call it every few seconds."""
        self._sessions.expire(now_ms)
        self._windowless.expire(now_ms)

    def open_packed(self, message: bytes, now_ms: int) -> PackedRequest | None:
        """Open a request of a known session that is here entirely, in a single record, with nothing amiss.

        The same checks as in `open_head`, in fewer steps. Its counter is taken: it can't be opened again.

        Args: as for `open_head`.

        Returns:
            None for any other: `open_head` judges it step by step, and names what is wrong.
        """
        if len(message) < self._shortest:
            return None
        start, session_key, counter, epoch, expiry_ms, name, word = self._head.unpack_from(message)
        session = self._live.get(session_key)
        record_at = self._record_at
        if (
            session is None
            or session.revoked
            or word != len(message) - record_at | LAST
            or start != REQUEST_START
            or name != self._name
            or counter > MAX_COUNTER
            or epoch != self.epoch
            or not -self._skew_ms <= expiry_ms - now_ms <= self._latest_ms
            or expiry_ms <= self._sessions.floor_ms
        ):
            return None
        header = message[: record_at - WORD_BYTES]
        base_nonce = session.base_nonce ^ (counter << 40)
        try:
            plaintext = session.aead.decrypt(
                (base_nonce ^ 1).to_bytes(NONCE_BYTES, "big"), message[record_at:], header
            )
        except InvalidTag:
            return None
        if now_ms != session.last_use_ms or expiry_ms > session.latest_expiry_ms:
            # First, so that the window lasts for as long as what is marked in it.
            self._sessions.use(session_key, session, expiry_ms, now_ms)
        if not session.window.mark(counter):
            return None
        return PackedRequest(session, base_nonce, plaintext, len(message), header + message[-TAG_BYTES:])

    def open_head(
        self,
        buffer: bytes | bytearray,
        now_ms: int,
        *,
        complete: bool = False,
        admit_newcomer: Callable[[str], None] | None = None,
        peer: str = "",
    ) -> OpenedRequest | None:
        """Open a request as far as its first record; None for "need more".

        Args:
            buffer: the message from its first byte on; bytes are faster than a bytearray.
            now_ms: Unix time in ms.
            complete: no more bytes will come.
            admit_newcomer: called with `peer` before curve operations are spent on an unknown session;
                what it raises refuses the request.
            peer: the source address.

        Raises:
            ProxyError: refused; the sender isn't proven.
            ProvenRefusalError: refused; the sender is proven, and the answer can be sealed.
        """
        end = self._head_end(buffer)
        if end is None:
            if complete:
                raise ProxyError(ENVELOPE_MALFORMED, "the envelope is cut")
            return None
        message = bytes(buffer[:end])  # no copy when the buffer is bytes and holds just this
        session_key = message[AEAD_AT:COUNTER_AT]
        counter, epoch, expiry_ms = COUNTER_EPOCH_EXPIRY.unpack_from(message, COUNTER_AT)
        if counter > MAX_COUNTER:
            raise ProxyError(ENVELOPE_MALFORMED, "the counter is too large")
        known = self._sessions.find(session_key)
        if known is not None and known.revoked:
            raise ProxyError(IDENTITY_UNPROVEN)
        # What was sealed for another epoch can't have been accepted in this one, however old its counter is.
        if known is not None and epoch == self.epoch and not known.window.check(counter):
            raise ProxyError(ENVELOPE_REPLAYED)
        session = known or self._windowless.find(session_key)
        if session is None:
            self._parties(session_key)  # whom nobody here knows costs nothing, and takes no one's place
            if admit_newcomer is not None:
                admit_newcomer(peer)
            session = self._derive(session_key)

        word_at = self._word_at
        last = message[word_at] >> 7
        base_nonce = session.base_nonce ^ (counter << 40)
        try:
            plaintext = session.aead.decrypt(
                (base_nonce ^ last).to_bytes(NONCE_BYTES, "big"),
                message[word_at + WORD_BYTES :],
                message[:word_at],
            )
        except InvalidTag as exc:
            raise ProxyError(
                IDENTITY_UNPROVEN, numbers={"unfit_caller_key_id": session.caller.key_id.hex()}
            ) from exc

        binding = ResponseBinding(session.response_aead, binding_of(message[:word_at], message))
        try:
            if epoch != self.epoch:
                if known is None:
                    self._windowless.keep(session_key, session, now_ms)
                raise ProxyError(EPOCH_MISMATCH)
            self._check_time(expiry_ms, now_ms)
            if known is None:
                self._sessions.insert(session_key, session, expiry_ms, now_ms)
                self._windowless.forget(session_key)
            self._sessions.use(session_key, session, expiry_ms, now_ms)
            if not session.window.mark(counter):  # another process has opened it meanwhile
                raise ProxyError(ENVELOPE_REPLAYED)
            chunk = unpack(plaintext, bool(last), REQUEST_FAULTS)
        except ProxyError as exc:
            raise ProvenRefusalError(exc, session.caller, binding, meta_of(plaintext)) from exc
        return OpenedRequest(session, base_nonce, chunk, end, binding)

    def _head_end(self, buffer: bytes | bytearray) -> int | None:
        """Return where the first record ends, once all of it is here; refuse what can't become a request."""
        if not buffer.startswith(REQUEST_START):
            if not REQUEST_START.startswith(buffer):
                raise ProxyError(ENVELOPE_MALFORMED, "it does not start as a request")
            return None
        word_at = self._word_at
        if not buffer.startswith(self._name, NAME_AT):
            name = buffer[NAME_AT:word_at]
            if name and name[0] == 0:
                raise ProxyError(ENVELOPE_MALFORMED, "it names no receiver")
            if not self._name.startswith(name):
                raise ProxyError(IDENTITY_UNPROVEN)
            return None
        if len(buffer) < word_at + WORD_BYTES:
            return None
        word: int = WORD.unpack_from(buffer, word_at)[0]
        length = word & ~LAST
        if not MIN_CIPHERTEXT_BYTES <= length <= MAX_CIPHERTEXT_BYTES:
            raise ProxyError(ENVELOPE_MALFORMED, "the first record has an impossible length")
        end = word_at + WORD_BYTES + length
        if len(buffer) < end:
            self._parties(bytes(buffer[AEAD_AT:COUNTER_AT]))  # a stranger's record isn't worth waiting for
            return None
        if word >= LAST and len(buffer) > end:
            raise ProxyError(MESSAGE_BROKEN, "something follows the last record")
        return end

    def _parties(self, session_key: bytes) -> tuple[CallerKey, PrivateKey]:
        """Return whom the header names, proven by nothing yet."""
        if int.from_bytes(session_key[: SENDER_AT - AEAD_AT], "big") not in CIPHERS:
            raise ProxyError(ENVELOPE_MALFORMED, "unknown cipher")
        caller = self._callers.get(session_key[SENDER_AT - AEAD_AT : RECEIVER_AT - AEAD_AT])
        private_key = self._private_keys.get(session_key[RECEIVER_AT - AEAD_AT : ENC_AT - AEAD_AT])
        if caller is None:  # in the answer all this looks the same; the numbers are for the operator
            key_id = session_key[SENDER_AT - AEAD_AT : RECEIVER_AT - AEAD_AT].hex()
            raise ProxyError(IDENTITY_UNPROVEN, numbers={"unknown_caller_key_id": key_id})
        if private_key is None:
            key_id = session_key[RECEIVER_AT - AEAD_AT : ENC_AT - AEAD_AT].hex()
            raise ProxyError(IDENTITY_UNPROVEN, numbers={"unknown_receiver_key_id": key_id})
        return caller, private_key

    def _derive(self, session_key: bytes) -> Session:
        """Make the session that a header names, without keeping it."""
        caller, private_key = self._parties(session_key)
        cipher = CIPHERS[int.from_bytes(session_key[: SENDER_AT - AEAD_AT], "big")]
        schedule = key_schedule(
            auth_decap(private_key, caller.public_key, session_key[ENC_AT - AEAD_AT :]),
            INFO_LABEL + self._name,
            cipher,
            PreSharedKey(caller.psk, PSK_ID) if caller.psk is not None else None,
        )
        return Session(
            caller,
            private_key.key_id,
            cipher.keyed(schedule.key),
            int.from_bytes(schedule.base_nonce, "big"),
            cipher.keyed(schedule.export(EXPORT_CONTEXT, cipher.key_bytes)),
        )

    def _check_time(self, expiry_ms: int, now_ms: int) -> None:
        limits = self._limits
        if now_ms > expiry_ms + limits.max_clock_skew_ms:
            raise _out_of_time("its expiry has passed", now_ms - expiry_ms, limits)
        if expiry_ms - now_ms > limits.max_age_ms + limits.max_clock_skew_ms:
            raise _out_of_time("its expiry lies too far ahead", now_ms - expiry_ms, limits)
        if expiry_ms <= self._sessions.floor_ms:  # of a session that has come back as well: see there
            raise ProxyError(ENVELOPE_EXPIRED, CLOCK_SET_BACK)

    def _owner(self, session: Session) -> CallerKey | None:
        """Return the key to which a session belongs under the present keys, if to any."""
        known = self._callers.get(session.caller.key_id)
        if known is None or session.receiver_key_id not in self._private_keys:
            return None
        same = known.public_key == session.caller.public_key and known.psk == session.caller.psk
        return known if same else None
