"""Centers for end-to-end tests: the real one as a process, and one that says what a test wants it to say."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.e2e.client import Address, Answer, Client
from tests.e2e.proxies import LineFeed, address_of, endpoint_of
from tests.e2e.services import Conversation, ScriptedService, sized

_STOP_S = 30.0
_WATCH_S = 20.0


class CenterProcess:
    """A running `fastproxy center`.

    Args:
        folder: for its file. port: where it listens; 0 takes any free one. options: of the command line.
    """

    def __init__(self, folder: Path, *options: str, port: int = 0) -> None:
        self.store = folder / "center.db"
        command = [sys.executable, "-m", "fastproxy", "center", *options]
        self._process = subprocess.Popen(
            [*command, "--listen", f"127.0.0.1:{port}", "--store", str(self.store)],
            stderr=subprocess.PIPE,
        )
        assert self._process.stderr is not None
        self.log = LineFeed(self._process.stderr)
        self.address: Address = address_of(self.log.wait_for(message="ready")["listen"])
        self.url = f"http://{endpoint_of(self.address)}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self.stop()

    def client(self) -> Client:
        """Connect."""
        return Client(self.address, timeout_s=_WATCH_S)

    def ask(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        *headers: str,
        host: str = "127.0.0.1",
    ) -> Answer:
        """Make one request on a connection of its own."""
        with self.client() as client:
            return client.request(method, target, body, headers, host)

    def endpoints(self, kind: str, name: str) -> list[str]:
        """Look a name up."""
        return [each["address"] for each in self._document(kind, name)["endpoints"]]

    def wait_for_endpoints(self, kind: str, name: str, wanted: Callable[[list[str]], bool]) -> list[str]:
        """Watch a name until its endpoints are as wanted; the test's time limit bounds it."""
        document = self._document(kind, name)
        while not wanted([each["address"] for each in document["endpoints"]]):
            document = self._document(kind, f"{name}?after={document['version']}")
        return [each["address"] for each in document["endpoints"]]

    def wait_until_written(self, text: str) -> None:
        """Wait until its file holds this; the test's time limit bounds it."""
        log = self.store.with_name(f"{self.store.name}-wal")
        while text.encode() not in log.read_bytes():
            pass

    def kill(self) -> None:
        """End it at once, with no time to write anything."""
        self._process.kill()
        self._end()

    def signal(self) -> None:
        """Tell it to stop, without waiting."""
        self._process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """Let it drain, and check that it went well all along."""
        self.signal()
        assert self._end() == 0
        assert not [line for line in self.log.lines if "text" in line or line["level"] == "error"]

    def _end(self) -> int:
        code = self._process.wait(_STOP_S)
        self.log.close()
        return code

    def _document(self, kind: str, name: str) -> Any:
        answer = self.ask("GET", f"/v1/{kind}/{name}")
        assert answer.status == 200, answer.body
        return json.loads(answer.body)


class PlayedCenter:
    """A center of which a test says what it knows, and how it behaves.

    mood: "honest"; "garbage": answers no JSON; "failing": answers 500; "hanging": gives no answer,
        and hangs up when the mood changes; "forgetful": knows nothing, at a lower version.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._version = 1
        self._endpoints: list[str] = []
        self._mood = "honest"
        self._service = ScriptedService(self._play)
        self.url = f"http://{self._service.endpoint}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.say(mood="failing")  # so that nobody waits for a change any more
        self._service.__exit__(kind, error, trace)

    def say(self, *endpoints: str, mood: str = "honest") -> None:
        """Change endpoints, where any are given, and mood; whoever watches is answered at once."""
        with self._changed:
            self._version += 1
            self._endpoints = list(endpoints) or self._endpoints
            self._mood = mood
            self._changed.notify_all()

    def _play(self, conversation: Conversation) -> None:
        while True:
            target = conversation.request().start.split(" ")[1]
            watch = re.search(r"after=(\d+)", target)
            with self._changed:
                if watch:
                    self._wait_for_change(int(watch[1]))
                answer = self._answer(target.partition("?")[0].rpartition("/")[2])
                if not answer:
                    self._wait_for_change(self._version)
                    return
            conversation.send(answer)

    def _wait_for_change(self, known: int) -> None:
        self._changed.wait_for(lambda: self._version != known, _WATCH_S)

    def _answer(self, name: str) -> bytes:
        endpoints, version = self._endpoints, self._version
        if self._mood == "forgetful":
            endpoints, version = [], 0
        told = [{"address": address} for address in endpoints]
        content = json.dumps({"name": name, "version": version, "endpoints": told}).encode()
        return {
            "garbage": sized(b"<html>welcome</html>"),
            "failing": sized(content, status="500 Internal Server Error"),
            "hanging": b"",
        }.get(self._mood, sized(content))
