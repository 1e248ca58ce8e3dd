"""A proxy between a client and real servers, which makes them late, changing, or older."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager


@contextmanager
def between(
    *ports: int, pause: float = 0.0, change: tuple[bytes, bytes] = (b"", b"")
) -> Iterator[int]:
    """A proxy before real servers: late, to each of them in turn, or with other words."""
    listening = socket.create_server(("127.0.0.1", 0))
    taken: list[socket.socket] = []

    def carry(source: socket.socket, target: socket.socket, *, back: bool) -> None:
        with closing(source), closing(target):
            while data := _received(source):
                if back:
                    time.sleep(pause)
                    data = data.replace(*change) if change[0] else data
                try:
                    target.sendall(data)
                except OSError:
                    return

    def accept() -> None:
        number = 0
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            upstream = socket.create_connection(("127.0.0.1", ports[number % len(ports)]))
            number += 1
            taken.extend((client, upstream))
            for one, other, back in ((client, upstream, False), (upstream, client, True)):
                threading.Thread(
                    target=carry, args=(one, other), kwargs={"back": back}, daemon=True
                ).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        for each in taken:
            each.close()


def _received(source: socket.socket) -> bytes:
    try:
        return source.recv(65536)
    except OSError:
        return b""
