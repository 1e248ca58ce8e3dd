"""What the Redis configurations stand on: a server, and a small proxy before each worker's pushes.

The server runs in a folder of the run, so that snapshots can be put back. The proxy is a thread
that passes bytes on; frozen, it passes none and says nothing, as a broken network does. Only the
connection that hears pushes goes through it (the commands do without its delays), but where a
worker is to be cut off altogether.
"""

from __future__ import annotations

import json
import selectors
import shutil
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from cascada.model.clock import SystemClock
from cascada.tiers.redis.tier import RedisTier
from cascada.tiers.redis_client.connection import Link
from cascada.tiers.redis_client.server import server_of
from tests.servers.redis import RedisServer

ADDRESSES: Final = "redis.json"
CHUNK: Final = 65536
NAMESPACE: Final = "chaos"


class Proxy:
    """Passes the connections of one worker on to the server, until it is frozen."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._frozen = threading.Event()
        self._ended = False
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"proxy {self.port}")
        self._thread.start()

    def freeze(self) -> None:
        self._frozen.set()

    def thaw(self) -> None:
        self._frozen.clear()

    def close(self) -> None:
        self._ended = True
        self.thaw()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended:
            ready = self._selector.select(0.02)
            if self._frozen.is_set():
                self._wait_for_thaw()
                continue
            for key, _ in ready:
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    self._pass_on(key.fileobj, key.data)
        for each in list(self._selector.get_map().values()):
            self._close(each.fileobj)
        self._listener.close()

    def _wait_for_thaw(self) -> None:
        while self._frozen.is_set():
            threading.Event().wait(0.005)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        try:
            server = socket.create_connection(("127.0.0.1", self._target), timeout=1)
        except OSError:
            client.close()
            return
        for one, other in ((client, server), (server, client)):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(one, selectors.EVENT_READ, other)

    def _pass_on(self, source: Any, target: Any) -> None:
        try:
            data = source.recv(CHUNK)
            if data:
                target.sendall(data)
                return
        except OSError:
            pass
        self._close(source)
        self._close(target)

    def _close(self, one: Any) -> None:
        with suppress(KeyError, ValueError):
            self._selector.unregister(one)
        one.close()


class Ground:
    """The server and the proxies, and what can be done to them. One fault at a time: `lock`."""

    def __init__(self, folder: Path, workers: int, *options: str) -> None:
        self.server = RedisServer(folder, *options)
        self.proxies = [Proxy(self.server.port) for _ in range(workers)]
        self.lock = threading.Lock()
        self._snapshot = folder / "older.rdb"
        self._dump = folder / "dump.rdb"

    def close(self) -> None:
        for proxy in self.proxies:
            proxy.close()
        self.server.kill()

    def stop(self) -> None:
        self.server.signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.server.signal(signal.SIGCONT)

    def take_snapshot(self) -> None:
        if self.server.say("SAVE") == b"+OK\r\n":
            shutil.copy(self._dump, self._snapshot)

    def restart(self, *, empty: bool) -> None:
        """Kill -9, and a new process, with nothing or with what an older snapshot holds."""
        self.server.kill()
        self._dump.unlink(missing_ok=True)
        if not empty and self._snapshot.exists():
            shutil.copy(self._snapshot, self._dump)
        self.server.start()

    def used_memory(self) -> int:
        info = self.server.say("INFO", "memory").decode()
        return int(info.partition("used_memory:")[2].split("\r\n")[0] or 0)


@contextmanager
def redis_ground(folder: Path, workers: int, *options: str) -> Iterator[Ground]:
    """A server for one run; workers find it in a file of the folder."""
    (folder / "redis").mkdir()
    ground = Ground(folder / "redis", workers, *options)
    ports = {"server": ground.server.port, "proxies": [proxy.port for proxy in ground.proxies]}
    (folder / ADDRESSES).write_text(json.dumps(ports))
    try:
        yield ground
    finally:
        ground.close()


class ProxiedTier(RedisTier):
    """The Redis tier, whose pushes come through the proxy of one worker; `whole`: all it says."""

    def __init__(self, folder: Path, slot: int, *, whole: bool = False, capacity: int = 0) -> None:
        ports = json.loads((folder / ADDRESSES).read_text())
        through = ports["proxies"][slot]
        self._pushes = server_of(f"redis://127.0.0.1:{through}/0")
        port = through if whole else ports["server"]
        super().__init__(
            f"redis://127.0.0.1:{port}/0",
            namespace=NAMESPACE,
            clock=SystemClock(),
            capacity_bytes=capacity,
        )

    def make_link(self, **hooks: Any) -> Link:
        if "on_push" not in hooks:
            return super().make_link(**hooks)
        return Link(self._pushes, connect_timeout=1.0, silence=2.0, **hooks)
