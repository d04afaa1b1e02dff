"""A pair of proxies with two workers each, whose keys are changed by commands while calls go through."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from fastproxy.config.key_files import old_of
from fastproxy.wire.identity import PrivateKey
from tests.e2e.client import Client
from tests.e2e.http_wire import CutError
from tests.e2e.proxies import (
    Config,
    ProxyProcess,
    endpoint_of,
    in_config,
    key_of,
    merged,
    out_config,
    write_key,
)
from tests.e2e.services import ScriptedService, answering, sized

CONNECTIONS = 3
_LIMIT_S = 60.0


class Done(subprocess.CompletedProcess[str]):
    """What a command said."""


class Scene:
    """An in proxy that reads its callers from a folder, and an out proxy of the caller `web`.

    inner, out: the proxies, which take and make links and envelopes. folder: their configs and keys.
    """

    def __init__(self, folder: Path, stack: ExitStack, *, inner: Config | None = None) -> None:
        self.folder = folder
        self._stack = stack
        service = stack.enter_context(ScriptedService(answering(sized(b"hello"))))
        services = {"linked": [service.endpoint], "sealed": [service.endpoint]}
        write_key(folder, "in")
        write_key(folder, "web")
        (folder / "callers").mkdir()
        self.publish(key_of("web").public_key.hex())
        config = merged(
            in_config(services, {}),
            {
                "workers": 2,
                "callers": None,
                "callers_dir": "callers",
                "listen": {"accept": ["link", "http"]},
                "admin": {"address": f"unix:{folder}/in.admin"},
            },
        )
        self.inner = self.start(merged(config, inner or {}))
        self.out = self.start(self.out_settings(key_of("in").public_key.hex()))

    def out_settings(self, *receiver_keys: str) -> Config:
        """The config of an out proxy that knows its receiver by these keys."""
        config = out_config({"linked": (), "sealed": ()}, key_of("in"), endpoint_of(self.inner.listen))
        changes: Config = {
            "workers": 2,
            "defaults": {"transport": None},
            "services": {"linked": {"transport": "link"}, "sealed": {"transport": "http"}},
            "receivers": {"in": {"public_keys": list(receiver_keys)}},
            "admin": {"address": f"unix:{self.folder}/out.admin"},
        }
        return merged(config, changes)

    def start(self, config: Config) -> ProxyProcess:
        """Start a proxy."""
        proxy = ProxyProcess(self.folder, config)
        self._stack.callback(proxy.stop)
        return proxy.ready()

    def publish(self, *keys: str, name: str = "web") -> None:
        """Have the in proxy know a caller by these keys."""
        new = self.folder / "callers" / "new"
        new.write_text("".join(f"{key}\n" for key in keys))
        new.rename(self.folder / "callers" / f"{name}.pub")

    def distribute(self) -> None:
        """Copy what `keys rotate` has written to where the in proxy finds it."""
        self.publish(*(self.folder / "web.pub").read_text().split())

    def keys(self, *arguments: str) -> Done:
        """Run `fastproxy keys`."""
        return Done(
            arguments,
            *_run([sys.executable, "-m", "fastproxy", "keys", *arguments], self.folder),
        )

    def key_id(self, name: str) -> str:
        """The id of the key in a file."""
        return PrivateKey.parse((self.folder / name).read_text()).key_id.hex()

    def old_id(self, name: str) -> str:
        """The id of the key that was in a file before."""
        return self.key_id(old_of(Path(name)).name)


def _run(command: list[str], folder: Path) -> tuple[int, str, str]:
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        env={**os.environ, "COLUMNS": "200"},
    )
    return done.returncode, done.stdout, done.stderr


class Load:
    """Callers that call again and again, over either way; what they get is noted.

    failed: answers other than 200. done: calls so far.

    Args:
        proxy: returns the one to call at now. paths: what is called.
    """

    def __init__(
        self, proxy: Callable[[], ProxyProcess], paths: tuple[str, ...] = ("/linked/", "/sealed/")
    ) -> None:
        self.failed: list[str] = []
        self.done = 0
        self._proxy = proxy
        self._called: Counter[int] = Counter()  # connections to each proxy, by its process
        self._over = threading.Event()
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._call, args=(path,)) for path in paths for _ in range(CONNECTIONS)
        ]

    def _call(self, path: str) -> None:
        while not self._over.is_set():
            try:
                self._call_some(path)
            except (OSError, EOFError, CutError) as error:
                self._note(f"{path}: {error!r}")

    def _call_some(self, path: str) -> None:
        """Make a few calls on one connection, and the next ones on another: over either worker."""
        with self._changed:
            proxy = self._proxy()
            self._called[proxy.pid] += 1
        try:
            with Client(proxy.listen, timeout_s=30) as client:
                for _ in range(20):
                    answer = client.request("POST", path, b"content")
                    self._note("" if answer.status == 200 else f"{path}: {answer.status} {answer.body!r}")
        finally:
            with self._changed:
                self._called[proxy.pid] -= 1
                self._changed.notify_all()

    def _note(self, failure: str) -> None:
        with self._changed:
            self.done += 1
            if failure:
                self.failed.append(failure)
            self._changed.notify_all()

    def go_on(self, calls: int = 200) -> None:
        """Wait until so many further calls are done."""
        with self._changed:
            until = self.done + calls
            assert self._changed.wait_for(lambda: self.done >= until, _LIMIT_S), "calls hang"

    def leave(self, proxy: ProxyProcess) -> None:
        """Wait until nobody calls at a proxy any more, which is not the one to call at now."""
        with self._changed:
            assert self._changed.wait_for(lambda: not self._called[proxy.pid], _LIMIT_S), "calls hang"

    @contextmanager
    def running(self) -> Iterator[None]:
        """Call until the block ends; then every call must have gone well."""
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in self._threads:
                thread.join(_LIMIT_S)
        assert self.failed == [], self.failed[:5]


def wait_for_key(proxy: ProxyProcess, key_id: str) -> None:
    """Wait until both workers of a proxy prove themselves by this key first."""
    proxy.log.wait_for_lines(2, message="private keys have changed", key_id=key_id)
