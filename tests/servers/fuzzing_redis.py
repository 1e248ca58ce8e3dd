"""A server between a cache and a real Redis, in this process, that answers as badly as it is told.

It passes on what it is sent, splits what comes back into replies and pushes, and does with each
reply what the fault says: while a connection is greeted, or afterwards.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

GREETING: Final = 5
"""Replies by the end of which the longest greeting is over."""

Fault = Callable[["Talk", bytes], None]


class Talk:
    """One connection of the cache. A fault says what it likes on it."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.sent = b""
        self.replies = 0
        self.silent = False
        self.held = b""

    def say(self, data: bytes) -> None:
        if not self.silent and not self._writer.is_closing():
            self._writer.write(data)

    def hush(self) -> None:
        """Say nothing any more, for ever."""
        self.silent = True

    def cut(self) -> None:
        self._writer.transport.abort()

    @property
    def is_greeted(self) -> bool:
        """Lists and counters have connections whose greeting is one reply long."""
        return self.replies > (GREETING if b"INFO" in self.sent[:200] else 1)


@dataclass
class Plan:
    """When a fault strikes: at this reply of each new connection, or, with None, of greeted ones
    with this probability."""

    fault: Fault
    step: int | None = None
    probability: float = 1.0
    rng: random.Random = field(default_factory=lambda: random.Random(5))

    def strikes(self, talk: Talk) -> bool:
        if self.step is not None:
            return talk.replies == self.step + 1
        return talk.is_greeted and self.rng.random() < self.probability


class FuzzingRedis:
    """`plan` is what it does at present; None: it is sane. `struck` counts the faults."""

    def __init__(self, port: int) -> None:
        self._behind = port
        self.plan: Plan | None = None
        self.struck = 0
        self._talks: set[Talk] = set()
        self._running: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.url = ""

    async def __aenter__(self) -> FuzzingRedis:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"
        return self

    async def __aexit__(self, *raised: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._running):
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)
        await asyncio.sleep(0)

    def cut_all(self) -> None:
        for talk in list(self._talks):
            talk.cut()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        talk = Talk(writer)
        self._talks.add(talk)
        behind: asyncio.StreamWriter | None = None
        try:
            answers, behind = await asyncio.open_connection("127.0.0.1", self._behind)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._ask(talk, reader, behind))
                group.create_task(self._answer(talk, answers))
        except* (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            self._talks.discard(talk)
            self._running.discard(task)
            writer.transport.abort()
            if behind is not None:
                behind.transport.abort()

    async def _ask(
        self, talk: Talk, reader: asyncio.StreamReader, behind: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(2**16):
            talk.sent = (talk.sent + data)[:200]
            behind.write(data)
        raise EOFError

    async def _answer(self, talk: Talk, answers: asyncio.StreamReader) -> None:
        came = b""
        while data := await answers.read(2**18):
            came += data
            while (end := end_of(came, 0)) is not None:
                self._pass_on(talk, came[:end])
                came = came[end:]
        raise EOFError

    def _pass_on(self, talk: Talk, reply: bytes) -> None:
        if reply.startswith(b">"):
            talk.say(reply)
            return
        talk.replies += 1
        if self.plan is not None and self.plan.strikes(talk):
            self.struck += 1
            self.plan.fault(talk, reply)
        else:
            talk.say(reply)


def end_of(data: bytes, at: int) -> int | None:
    """Where the reply that begins here ends; None if it is not here whole."""
    line = data.find(b"\r\n", at)
    if line < 0:
        return None
    kind, end = data[at : at + 1], line + 2
    if kind in b"$=!":
        length = int(data[at + 1 : line])
        end += length + 2 if length >= 0 else 0
    elif kind in b"*%~>":
        for _ in range(int(data[at + 1 : line]) * (2 if kind == b"%" else 1)):
            inner = end_of(data, end)
            if inner is None:
                return None
            end = inner
    return end if end <= len(data) else None


# --- faults ---------------------------------------------------------------------------------------


def instead(data: bytes) -> Fault:
    return lambda talk, reply: talk.say(data)


def before(data: bytes) -> Fault:
    return lambda talk, reply: talk.say(data + reply)


def half_and_silent(talk: Talk, reply: bytes) -> None:
    talk.say(reply[: len(reply) // 2])
    talk.hush()


def half_and_cut(talk: Talk, reply: bytes) -> None:
    talk.say(reply[: len(reply) // 2])
    asyncio.get_running_loop().call_later(0.01, talk.cut)


def then_silent(data: bytes) -> Fault:
    def fault(talk: Talk, reply: bytes) -> None:
        talk.say(data)
        talk.hush()

    return fault


def swapped(talk: Talk, reply: bytes) -> None:
    """With the next one, which comes first."""
    if talk.held:
        held, talk.held = talk.held, b""
        talk.say(reply + held)
    else:
        talk.held = reply


def trickling(talk: Talk, reply: bytes) -> None:
    loop = asyncio.get_running_loop()
    for at in range(min(len(reply), 40)):
        loop.call_later(0.1 * at, talk.say, reply[at : at + 1])
    talk.replies -= 1  # what comes next is mixed with it


ERRORS: Final = (
    "LOADING Redis is loading the dataset in memory",
    "READONLY You can't write against a read only replica.",
    "NOSCRIPT No matching script. Please use EVAL.",
    "MOVED 3999 127.0.0.1:6381",
    "ASK 3999 127.0.0.1:6381",
    "OOM command not allowed when used memory > 'maxmemory'.",
    "WRONGPASS invalid username-password pair or user is disabled.",
    "BUSY Redis is busy running a script.",
    "BUSYKEY Target key name already exists.",
    "MASTERDOWN Link with MASTER is down.",
    "CLUSTERDOWN The cluster is down",
    "CROSSSLOT Keys in request don't hash to the same slot",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "NOAUTH Authentication required.",
    "NOPERM this user has no permissions to run the 'get' command",
    "EXECABORT Transaction discarded because of previous errors.",
    "WRONGTYPE Operation against a key holding the wrong kind of value",
    "NOREPLICAS Not enough good replicas to write.",
    "MISCONF Redis is configured to save RDB snapshots",
    "NOPROTO unsupported protocol version",
    "UNKILLABLE",
    "ERR unknown command",
    "ERR value is not an integer or out of range",
    "ERR increment or decrement would overflow",
    "ERR max number of clients reached",
    "",
    "ERR " + "x" * 60_000,
    "ERR \x00\xff\xfe",
)

FAULTS: Final[dict[str, Fault]] = {
    "bytes": instead(b"\x00\xff\xfe garbage \x01\r\n"),
    "another protocol": instead(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\nno\n"),
    "an empty line": instead(b"\r\n"),
    "a small number": instead(b":5\r\n"),
    "a negative number": instead(b":-7\r\n"),
    "a huge number": instead(b":9223372036854775807\r\n"),
    "a number beyond": instead(b":99999999999999999999999\r\n"),
    "no number": instead(b":x\r\n"),
    "a status": instead(b"+OK\r\n"),
    "PONG": instead(b"+PONG\r\n"),
    "a string": instead(b"$3\r\nabc\r\n"),
    "an empty string": instead(b"$0\r\n\r\n"),
    "null": instead(b"_\r\n"),
    "an old null": instead(b"$-1\r\n"),
    "an old null list": instead(b"*-1\r\n"),
    "a bool": instead(b"#t\r\n"),
    "not a number": instead(b",nan\r\n"),
    "a big number": instead(b"(" + b"9" * 400 + b"\r\n"),
    "a verbatim string": instead(b"=7\r\ntxt:abc\r\n"),
    "an empty list": instead(b"*0\r\n"),
    "a list of nulls": instead(b"*5\r\n_\r\n_\r\n_\r\n_\r\n_\r\n"),
    "a list of numbers": instead(b"*3\r\n:1\r\n:2\r\n:3\r\n"),
    "a list of errors": instead(b"*2\r\n-ERR a\r\n-ERR b\r\n"),
    "lists in lists": instead(
        b"*4\r\n$2\r\nOK\r\n:1\r\n$8\r\nabcdefgh\r\n*1\r\n*2\r\n:1\r\n:2\r\n"
    ),
    "a lease of nobody": instead(
        b"*4\r\n$2\r\nOK\r\n:1\r\n$8\r\nabcdefgh\r\n*1\r\n*2\r\n$5\r\nLEASE\r\n$0\r\n\r\n"
    ),
    "found what is none": instead(
        b"*4\r\n$2\r\nOK\r\n:1\r\n$8\r\nabcdefgh\r\n*1\r\n*2\r\n$5\r\nFOUND\r\n$3\r\nabc\r\n"
    ),
    "another layout": instead(b"*1\r\n$6\r\nLAYOUT\r\n"),
    "a map": instead(b"%1\r\n$5\r\nproto\r\n:3\r\n"),
    "a map by a list": instead(b"%1\r\n*1\r\n:1\r\n:2\r\n"),
    "a set": instead(b"~2\r\n$1\r\na\r\n$1\r\nb\r\n"),
    "an attribute": before(b"|1\r\n+ttl\r\n:3600\r\n"),
    "a stream of unknown length": instead(b"$?\r\n;4\r\nabcd\r\n;0\r\n"),
    "an endless list": then_silent(b"*200000000\r\n"),
    "an endless string": then_silent(b"$4000000000\r\n"),
    "an endless map": then_silent(b"%200000000\r\n"),
    "an endless push": then_silent(b">200000000\r\n"),
    "a long list, begun": then_silent(b"*1000000\r\n:1\r\n"),
    "a long string, begun": then_silent(b"$400000000\r\nabc"),
    "deep lists": instead(b"*1\r\n" * 100_000),
    "deep lists with more": instead(b"*2\r\n:1\r\n" * 50_000),
    "an endless line": then_silent(b"+" + b"x" * 200_000),
    "a million numbers": instead(b"*1000000\r\n" + b":1\r\n" * 1_000_000),
    "an empty push": before(b">0\r\n"),
    "a push of a number": before(b">1\r\n:5\r\n"),
    "a push of null": before(b">2\r\n$7\r\nmessage\r\n_\r\n"),
    "a message from elsewhere": before(b">3\r\n$7\r\nmessage\r\n$1\r\nx\r\n$1\r\ni\r\n"),
    "an odd invalidation": before(b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n"),
    "a goodbye": before(b">2\r\n$11\r\nunsubscribe\r\n$1\r\nx\r\n"),
    "an extra number": before(b":5\r\n"),
    "an extra string": before(b"$3\r\nabc\r\n"),
    "an extra null": before(b"_\r\n"),
    "an extra status": before(b"+PONG\r\n"),
    "said twice": lambda talk, reply: talk.say(reply + reply),
    "said thrice": lambda talk, reply: talk.say(reply * 3),
    "missing": lambda talk, reply: None,
    "swapped": swapped,
    "half, then silence": half_and_silent,
    "half, then the end": half_and_cut,
    "silence": lambda talk, reply: talk.hush(),
    "the end": lambda talk, reply: talk.cut(),
    "a reply, then the end": lambda talk, reply: (talk.say(reply), talk.cut())[0],
    "byte by byte": trickling,
    **{f"-{error[:12]}": instead(f"-{error}\r\n".encode("latin-1")) for error in ERRORS},
}
