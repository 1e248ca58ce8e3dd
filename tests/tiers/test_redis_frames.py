"""What arrives is bounded before the parser believes it, in whatever pieces it comes."""

from __future__ import annotations

import random

import hiredis
import pytest

from cascada import Cache, Limits
from cascada.testing.inside import InsideRedis, inside
from cascada.tiers.redis_client import frames as redis_frames
from cascada.tiers.redis_client.frames import Frames, TooMuch
from tests.servers.redis import RedisServer

REPLIES = (
    b"+OK\r\n",
    b"-WRONGTYPE no\r\n",
    b":-5\r\n",
    b"$-1\r\n",
    b"_\r\n",
    b"#t\r\n",
    b",1.5\r\n",
    b"(123456789012345678901234567890\r\n",
    b"$0\r\n\r\n",
    b"$5\r\nva\r\nl\r\n",
    b"$18\r\n\r\n*200000000\r\n\r\n\r\n\r\n",  # no header: a value that looks like one
    b"=7\r\ntxt:abc\r\n",
    b"*-1\r\n",
    b"*0\r\n",
    b"*3\r\n$1\r\na\r\n_\r\n:1\r\n",
    b"*2\r\n*2\r\n:1\r\n*0\r\n$2\r\n\r\n\r\n",
    b"%1\r\n$5\r\nproto\r\n:3\r\n",
    b"~2\r\n:1\r\n:2\r\n",
    b">3\r\n$7\r\nmessage\r\n$1\r\ni\r\n$2\r\n*9\r\n",
    b"$30000\r\n" + b"*9\r\n" * 7500 + b"\r\n",
)

TOO_MUCH = (
    b"*200000000\r\n",
    b"*99999999999999999999\r\n",
    b"~200000000\r\n",
    b"%200000000\r\n",
    b">200000000\r\n",
    b"$4000000000\r\n",
    b"=4000000000\r\n",
    b"*1\r\n" * 500,
    b"*2\r\n:1\r\n" * 500,
    b"*2\r\n*900000\r\n" + b"*0\r\n" * 100_000 + b"*900000\r\n",
    b"%257\r\n",
    b"+" + b"x" * 70_000,
    b"*" + b"9" * 70_000,
    b"$" + b"9" * 5_000 + b"\r\n",
    b"|1\r\n+a\r\n+b\r\n",
    b"*?\r\n",
    b"$?\r\n",
    b"HTTP/1.1 400 Bad Request\r\n",
    b"\r\n",
    b"\x00\r\n",
)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000_000])
def test_replies_pass_in_whatever_pieces(size: int) -> None:
    rng = random.Random(size)
    stream = b"".join(rng.choices(REPLIES, k=100) if size > 3 else REPLIES)
    frames, reader = Frames(), hiredis.Reader()
    read = 0
    for start in range(0, len(stream), size):
        piece = stream[start : start + size]
        unfinished = frames.look(piece)
        reader.feed(piece)
        while reader.gets() is not False:
            read += 1
    assert read == (100 if size > 3 else len(REPLIES))
    assert not unfinished


@pytest.mark.parametrize("piece", [b"*2\r\n$1\r\na\r\n", b"*1\r\n$99", b":12"])
def test_it_says_how_much_is_here_of_a_reply_that_is_not_whole(piece: bytes) -> None:
    """By that the wire knows that something large is on its way."""
    frames = Frames()
    assert frames.look(b"+OK\r\n") == 0
    assert frames.look(piece) == len(piece)


@pytest.mark.parametrize("header", [b"", b"*1\r\n"])
def test_it_says_so_of_a_large_string_until_it_is_whole(header: bytes) -> None:
    frames = Frames()
    frames.look(header + b"$200000\r\n" + 50_000 * b"x")
    assert [frames.look(50_000 * b"x") for _ in range(2)] == [50_000, 100_000]
    assert frames.look(50_000 * b"x" + b"\r\n+OK\r\n") == 0


@pytest.mark.parametrize("size", [1_000, 10_000_000])
@pytest.mark.parametrize("promise", TOO_MUCH, ids=lambda promise: repr(promise[:12]))
def test_what_promises_too_much_is_refused(promise: bytes, size: int) -> None:
    """By the time that its header is here, before anything is made of it."""
    frames = Frames()
    frames.look(b"*1\r\n$2\r\nok\r\n")
    pieces = [promise[start : start + size] for start in range(0, len(promise), size)]
    with pytest.raises((TooMuch, ValueError)):
        list(map(frames.look, pieces))


def test_a_reply_that_never_ends_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_frames, "MAX_REPLY", 100_000)
    frames = Frames()
    for _ in range(100):
        frames.look(b"$1000\r\n" + b"x" * 1000 + b"\r\n")  # each by itself is small
    frames.look(b"*1000\r\n")
    with pytest.raises(TooMuch):
        list(map(frames.look, [b"$1000\r\n" + b"x" * 1000 + b"\r\n"] * 100))


def test_a_reply_may_be_as_long_as_its_command_makes_it() -> None:
    """A long list costs the event loop its making, before anybody knows that it fits nothing."""
    frames = Frames()
    with pytest.raises(TooMuch):
        frames.look(b"*%d\r\n" % (2 * redis_frames.MAX_ELEMENTS))
    frames = Frames()
    frames.most = 2 * redis_frames.MAX_ELEMENTS
    frames.look(b"*%d\r\n" % (2 * redis_frames.MAX_ELEMENTS))


async def test_a_hundred_thousand_keys_are_read_at_once(redis_server: RedisServer) -> None:
    redis_server.flush()
    async with Cache(redis=redis_server.url, limits=Limits(op_timeout=30)) as cache:
        wire = InsideRedis(inside(cache).tiers["l2"]).link.need()
        names = [b"%d" % number for number in range(100_000)]
        assert await wire.send((b"MGET", *names)) == [None] * 100_000
