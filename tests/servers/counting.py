"""A proxy before a real Redis that counts what is asked for and found, by the wire alone.

It knows nothing of cascada but that the entries lie under `v:`. Commands are paired with their
replies in order; pushes are no replies.
"""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO


class Counted:
    """Entries that MGETs have asked for, and those that came."""

    def __init__(self) -> None:
        self.asked = self.found = 0

    def reply(self, command: list[Any], reply: Any) -> None:
        if command[0].upper() != b"MGET" or not isinstance(reply, list):
            return
        for key, value in zip(command[1:], reply, strict=True):
            if b":v:" in key:
                self.asked += 1
                self.found += value is not None


@contextmanager
def counting(port: int) -> Iterator[tuple[int, Counted]]:
    """A port to connect to instead of `port`, and what is counted there."""
    listening = socket.create_server(("127.0.0.1", 0))
    counted = Counted()
    taken: list[socket.socket] = []

    def accept() -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", port))
            taken.extend((client, server))
            commands: deque[list[Any]] = deque()

            def note(reply: Any, commands: deque[list[Any]] = commands) -> None:
                if not isinstance(reply, Push):
                    counted.reply(commands.popleft(), reply)

            for source, target, heard in (
                (client, server, commands.append),
                (server, client, note),
            ):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=_carry, args=(source, target, heard), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listening.getsockname()[1], counted
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        for each in taken:
            each.close()


class Push(list[Any]):
    """What a server says unasked."""


def _carry(source: socket.socket, target: socket.socket, heard: Any) -> None:
    """Pass on frame after frame, each once it has been read and heard."""
    stream = source.makefile("rb")
    with suppress(OSError, ValueError, EOFError):
        while True:
            raw: list[bytes] = []
            heard(_frame(stream, raw))
            target.sendall(b"".join(raw))
    for each in (source, target):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


def _frame(stream: BinaryIO, raw: list[bytes]) -> Any:
    line = stream.readline()
    if not line:
        raise EOFError
    raw.append(line)
    kind, said = line[:1], line[1:-2]
    if kind in b"$=!":
        if int(said) < 0:
            return None
        data = stream.read(int(said) + 2)
        raw.append(data)
        return data[:-2]
    if kind in b"*>~%|":
        count = int(said) * (2 if kind in b"%|" else 1)
        return (Push if kind == b">" else list)(_frame(stream, raw) for _ in range(count))
    return None if kind == b"_" else said
