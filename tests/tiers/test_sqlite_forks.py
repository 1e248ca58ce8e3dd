"""The SQLite tier across forks: no connection, thread or lock is shared with the parent."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from cascada.model.names import key_name
from cascada.testing.clock import ManualClock
from cascada.testing.inside import InsideSqlite
from cascada.tiers.contract import Why
from cascada.tiers.sqlite.tier import SqliteTier
from tests.tiers.sqlite_world import (
    World,
    entry,
    key,
    load,
    look,
    put,
)


def in_child(work: Callable[[], None]) -> None:
    """Run `work` in a forked child and fail if it fails."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0


@pytest.mark.parametrize("inline", [False, True])
def test_a_child_works_on_its_own_connections(tmp_path: Path, inline: bool) -> None:
    path = tmp_path / "cache.db"
    tier = SqliteTier(path, namespace="test", clock=ManualClock(), inline_reads=inline)
    asyncio.run(load(tier, key("parent")))

    def child() -> None:
        async def work() -> None:
            assert await look(tier, key("parent")) == b"value"
            await put(tier, key("child"), entry(b"child"))
            gone = await tier.invalidate([key_name(key("parent"))])
            assert gone.keys == 1

        asyncio.run(work())

    in_child(child)

    async def after() -> None:
        assert await look(tier, key("parent")) == Why.ABSENT
        assert await look(tier, key("child")) == b"child"
        await tier.aclose()

    asyncio.run(asyncio.wait_for(after(), 20))


def test_a_parent_that_closes_does_not_take_the_file_from_its_child(tmp_path: Path) -> None:
    """With inherited lock books the child would hold no lock, and lose what it commits."""
    tier = SqliteTier(tmp_path / "cache.db", namespace="test", clock=ManualClock())
    asyncio.run(load(tier, key("parent")))
    (child_hears, to_child), (parent_hears, to_parent) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        os.close(to_child)  # so that a parent that fails does not leave the child waiting
        for name in ("before", "after"):
            asyncio.run(put(tier, key(name), entry()))
            os.write(to_parent, b"x")
            os.read(child_hears, 1)
        os._exit(0)
    try:
        os.read(parent_hears, 1)
        assert asyncio.run(look(tier, key("before"))) == b"value"
        asyncio.run(tier.aclose())
        os.write(to_child, b"x")
        os.read(parent_hears, 1)
        assert asyncio.run(look(tier, key("after"))) == b"value"
        asyncio.run(tier.aclose())
    finally:
        os.close(to_child)
        os.waitpid(pid, 0)


def test_a_fork_waits_for_the_transaction_under_way(tmp_path: Path) -> None:
    tier = SqliteTier(tmp_path / "cache.db", namespace="test", clock=ManualClock())

    async def main() -> None:
        await load(tier, key())
        entered, go_on = threading.Event(), threading.Event()

        def slowly(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE meta SET evictions = 7")
            entered.set()
            go_on.wait(10)

        task = asyncio.ensure_future(InsideSqlite(tier).writer.run(slowly))
        await asyncio.to_thread(entered.wait, 10)
        threading.Timer(0.1, go_on.set).start()

        def child() -> None:
            assert not InsideSqlite(tier).reader.link.is_open
            assert not InsideSqlite(tier).writer.link.is_open
            with closing(sqlite3.connect(tmp_path / "cache.db")) as connection:
                assert connection.execute("SELECT evictions FROM meta").fetchall() == [(7,)]

        in_child(child)
        await task
        await tier.aclose()

    asyncio.run(main())


async def test_forget_lets_go_without_closing(world: World) -> None:
    tier = world.tier()
    await load(tier, key())
    links = (InsideSqlite(tier).reader.link, InsideSqlite(tier).writer.link)
    tier.forget()
    assert [link.is_open for link in links] == [True, True]
    assert InsideSqlite(tier).abandoned[-1][0].link is links[0]
    assert not InsideSqlite(tier).reader.link.is_open
    assert await look(tier, key()) == b"value"
    tier.forget()
    await tier.aclose()
    abandoned = InsideSqlite(tier).abandoned
    for reader, writer in abandoned:  # this process is the one that may close them
        reader.end().result(10)
        writer.end().result(10)
    abandoned.clear()
