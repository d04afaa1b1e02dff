"""What both proxies do when they refuse an exchange, or could not carry it through: note it, and answer."""

from __future__ import annotations

import logging
from collections.abc import Callable

from fastproxy.errors import INTERNAL_ERROR, ProxyError
from fastproxy.model import Exchange, Response
from fastproxy.proxy.answer import answer_to
from fastproxy.proxy.recorder import Recorder

_LOG = logging.getLogger("fastproxy.exchange")


class Refusals:
    """Turns errors into answers of one proxy.

    Args:
        hop: name of this proxy. role: "out" or "in".
        recorder: notes what is refused.
        new_id: makes exchange ids.
        for_original: whether answers may go to a peer that runs the Go original.
    """

    __slots__ = ("_for_original", "_hop", "_new_id", "_recorder", "_role")

    def __init__(
        self,
        hop: str,
        role: str,
        recorder: Recorder,
        new_id: Callable[[], str],
        *,
        for_original: bool = False,
    ) -> None:
        self._hop = hop
        self._role = role
        self._recorder = recorder
        self._new_id = new_id
        self._for_original = for_original

    def answer(self, exchange: Exchange, error: ProxyError) -> Response:
        """Note the error with the exchange, and return what the caller is told."""
        exchange.cause, exchange.phase = error.cause.label, error.phase
        exchange.status = error.cause.status
        self._recorder.failed(exchange, error)
        return answer_to(
            error,
            hop=self._hop,
            role=self._role,
            exchange_id=exchange.id,
            trace_id=exchange.trace_id,
            for_original=self._for_original,
        )

    def answer_mistake(self, exchange: Exchange) -> Response:
        """Answer when an unforeseen exception ended the exchange; call it where that is being handled."""
        _LOG.exception(
            "a mistake of the proxy",
            extra={"exchange": exchange.id, "trace_id": exchange.trace_id, "phase": exchange.phase},
        )
        return self.answer(exchange, ProxyError(INTERNAL_ERROR, phase=exchange.phase))

    def answer_unread(self, error: ProxyError, peer: str) -> tuple[str, Response]:
        """Answer something that never became a request; it is noted as an exchange all the same.

        Returns:
            The exchange id and the answer.
        """
        exchange = self._recorder.begin(self._new_id(), peer)
        response = self.answer(exchange, error)
        self._recorder.end(exchange, 0, 0)
        return exchange.id, response
