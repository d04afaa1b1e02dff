"""An admin address that answers with metrics made by hand, and with nothing else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from fastproxy.telemetry.exposition import render
from fastproxy.telemetry.key_uses import KeyUse
from fastproxy.telemetry.state import State


def metrics_of(since_unix_s: float, *uses: KeyUse, role: str = "in") -> bytes:
    """The metrics of a proxy that has counted these uses of keys since then."""
    state = State(role, "1.0")
    state.levels["fastproxy_start_timestamp_seconds"] = {"": since_unix_s}
    state.key_uses = list(uses)
    return render(state)


@contextmanager
def answering(metrics: bytes) -> Iterator[str]:
    """Answer with these metrics; yields the URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/metrics" else 404)
            self.send_header("Content-Length", str(len(metrics)))
            self.end_headers()
            self.wfile.write(metrics)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
