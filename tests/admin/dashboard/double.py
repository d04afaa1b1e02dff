"""A double of the admin API: it hands out the real page, and tells it what is `Played`.

For what real proxies can't be brought to in a test: names with markup in them, a key that ends this week, an
address that stops answering. What a real pair shows is tested on a real pair.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from fastproxy.admin.answers import AdminError, refusal
from fastproxy.admin.dashboard.files import hand_out
from tests.admin.dashboard.played import Answers, Played


@contextmanager
def playing(played: Played) -> Iterator[str]:
    """Answer as an admin address does; yields the URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            with suppress(ConnectionError):  # the page was left
                self._answer()

        def _answer(self) -> None:
            if played.is_gone:
                self.close_connection = True
                return
            url = urlsplit(self.path)
            if not url.path.startswith("/api/v1/"):
                self._hand_out(url.path)
                return
            if played.token and self.headers.get("authorization") != f"Bearer {played.token}":
                self._send(
                    401, {"detail": "this needs the token of `admin.token`"}, "application/problem+json"
                )
                return
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            what = url.path.removeprefix("/api/v1/")
            if what == "tap":
                self._tap()
                return
            answer = played.answer(what, query)
            if answer is None:
                self._send(404, {"detail": "nothing is known of it"}, "application/problem+json")
            else:
                self._send(200, answer, "application/json")

        def _hand_out(self, path: str) -> None:
            try:
                response = hand_out(path.encode())
            except AdminError as error:
                response = refusal(error)
            content = response.content
            assert isinstance(content, bytes)
            self.wfile.write(response.head.start + b"content-length: %d\r\n\r\n" % len(content) + content)

        def _send(self, status: int, content: Answers, content_type: str) -> None:
            raw = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-type", content_type)
            self.send_header("content-length", str(len(raw)))
            if status == 401:
                self.send_header("www-authenticate", 'Basic realm="fastproxy admin"')
            self.end_headers()
            self.wfile.write(raw)

        def _tap(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "application/x-ndjson")
            self.send_header("connection", "close")
            self.end_headers()
            for one in played.taps:
                self.wfile.write(json.dumps(one).encode() + b"\n")
            self.wfile.flush()
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
