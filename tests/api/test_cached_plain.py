"""`@cached` on plain functions: through one bridge, in the caller's context, never in its loop."""

import asyncio
import inspect
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest

from cascada import Cache, Context, Limits, WrongLoop, cached, configure
from cascada.engine.home import bridge
from cascada.testing.inside import inside
from tests.api.settled import settled


@pytest.fixture
def plain_cache(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cache]:
    """The default cache of a program without an event loop."""
    monkeypatch.setenv("CASCADA_TENANT", "acme")
    cache = Cache()
    configure(cache)
    yield cache
    configure(None)


def test_a_program_without_a_loop_just_calls_it(plain_cache: Cache) -> None:
    calls = []

    @cached("sum", ttl=60)
    def add(a: int, b: int = 1) -> list[int]:
        """The sum."""
        calls.append((a, b))
        return [a + b]

    mine = add(1)
    mine.append(99)
    assert add(1) == add(a=1, b=1) == [2]
    assert calls == [(1, 1)]
    assert add.invalidate(1).keys == 1
    assert add(1) == [2]
    assert add.refresh(1) == [2]
    assert len(calls) == 3
    assert add.cache_key(1) == add.aio.cache_key(1)
    assert add.__doc__ == "The sum."
    assert str(inspect.signature(add)) == "(a: int, b: int = 1) -> list[int]"
    with pytest.raises(TypeError, match="missing a required argument"):
        add()  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "ending", [SystemExit, KeyboardInterrupt, GeneratorExit, StopAsyncIteration]
)
def test_what_ends_a_thread_ends_its_caller_s_alone(
    plain_cache: Cache, ending: type[BaseException]
) -> None:
    """The bridge is one loop for all threads: it must not be ended by what one of them calls."""
    holding, let_go = threading.Event(), threading.Event()

    @cached("others")
    def other() -> str:
        holding.set()
        assert let_go.wait(10)
        return "mine"

    @cached("ends")
    def end() -> None:
        raise ending

    with ThreadPoolExecutor(1) as pool:
        others = pool.submit(other)
        assert holding.wait(10)
        for _ in range(2):
            with pytest.raises(ending):
                end()
        let_go.set()
        assert others.result(10) == "mine"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bridge_whose_loop_was_stopped_begins_anew(plain_cache: Cache) -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    async def stop_it() -> None:
        loops.append(asyncio.get_running_loop())
        loops[0].stop()
        await asyncio.sleep(10)

    @cached("stops")
    def stop() -> Any:
        return stop_it() if not loops else "anew"

    @cached("one")
    def one() -> int:
        return 1

    assert one() == 1
    (thread,) = [each for each in threading.enumerate() if each.name == "cascada-bridge"]
    assert stop() == "anew", "its call was cut off, and sent again"
    thread.join(10)
    assert loops[0].is_closed()
    assert one() == 1


def test_all_threads_share_one_bridge_and_one_call(plain_cache: Cache) -> None:
    calls, inside, go_on = [], threading.Event(), threading.Event()

    @cached("slow")
    def slow() -> int:
        calls.append(threading.current_thread().name)
        inside.set()
        assert go_on.wait(10)
        return 7

    with ThreadPoolExecutor(20) as threads:
        asking = [threads.submit(slow) for _ in range(20)]
        assert inside.wait(10)
        go_on.set()
        assert [each.result(10) for each in asking] == [7] * 20
    assert len(calls) == 1
    assert [thread.name for thread in threading.enumerate()].count("cascada-bridge") == 1


def test_cached_functions_may_call_each_other_from_many_threads(plain_cache: Cache) -> None:
    """More callers at once than the default pool has threads, each waiting for one more thread."""
    calls = 3 * ((os.cpu_count() or 1) + 4)
    barrier = threading.Barrier(calls)

    @cached("inner", cache=Cache(limits=Limits(max_loads=200, max_loads_per_type=200)))
    def inner(n: int) -> int:
        return n + 1

    @cached("outer", cache=Cache(limits=Limits(max_loads=200, max_loads_per_type=200)))
    def outer(n: int) -> int:
        barrier.wait(10)
        return inner(n)

    with ThreadPoolExecutor(calls) as threads:
        asking = [threads.submit(outer, n) for n in range(calls)]
        assert [each.result(20) for each in asking] == [n + 1 for n in range(calls)]


def test_what_was_made_of_a_result_goes_with_it(plain_cache: Cache) -> None:
    versions = iter(range(10))

    @cached("inner")
    def inner() -> int:
        return next(versions)

    @cached("outer")
    def outer() -> list[Any]:
        return ["made of", inner()]

    assert outer() == outer() == ["made of", 0]
    inner.invalidate()
    assert outer() == ["made of", 1]


VARIABLE: ContextVar[str] = ContextVar("variable", default="unset")


def test_the_caller_s_context_is_kept(plain_cache: Cache) -> None:
    @cached("context")
    def variable() -> str:
        return VARIABLE.get()

    def in_thread() -> str:
        VARIABLE.set("of the caller")
        with Context(tenant_id="of-the-caller"):
            assert variable.cache_key().tenant == "of-the-caller"
            return variable()

    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(in_thread).result(10) == "of the caller"
    assert VARIABLE.get() == "unset"
    assert variable() == "unset", "another tenant's value"


def test_what_the_function_raises_is_raised(plain_cache: Cache) -> None:
    @cached("failing")
    def failing() -> None:
        raise ConnectionError("no database")

    with pytest.raises(ConnectionError, match="no database"):
        failing()


def test_stop_iteration_does_not_hang(plain_cache: Cache) -> None:
    @cached("first")
    def first(rows: list[int]) -> int:
        return next(iter(rows))

    assert first([1]) == 1
    with pytest.raises(RuntimeError, match="raised StopIteration"):
        first([])


# --- beside an event loop -----------------------------------------------------------------------


@cached("plain")
def plain(n: int) -> list[Any]:
    return [n, threading.current_thread() is threading.main_thread()]


@pytest.fixture(autouse=True)
def tenant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASCADA_TENANT", "acme")


async def test_on_a_thread_whose_loop_runs_it_names_the_async_form(cache: Cache) -> None:
    for call in (plain, plain.invalidate, plain.refresh):
        with pytest.raises(WrongLoop, match=r"event loop.*await plain\.aio\(\.\.\.\)"):
            call(1)
    assert await plain.aio(1) == [1, False]
    await settled()  # a caller goes on before what was loaded for him is stored
    assert (await plain.aio.invalidate(1)).keys == 1
    assert await plain.aio.refresh(1) == [1, False]


async def test_from_other_threads_it_uses_the_loop_that_its_cache_runs_on(cache: Cache) -> None:
    async with cache:
        assert await asyncio.to_thread(plain, 1) == [1, False]
        await settled()
        assert await cache.get(plain.cache_key(1)), "it is the very cache that runs here"
        assert (await asyncio.to_thread(plain.invalidate, 1)).keys == 1
        assert not await cache.get(plain.cache_key(1))


async def test_the_loop_goes_on_while_a_plain_function_runs(cache: Cache) -> None:
    go_on = threading.Event()

    @cached("waiting")
    def waiting() -> int:
        assert go_on.wait(10)
        return 1

    async with asyncio.TaskGroup() as tasks:
        waits = tasks.create_task(waiting.aio())
        await asyncio.sleep(0.01)
        assert not waits.done()
        go_on.set()
    assert waits.result() == 1


def test_a_loop_that_is_open_but_does_not_run_is_told(plain_cache: Cache) -> None:
    with asyncio.Runner() as runner:
        runner.run(plain.aio(1))
        with pytest.raises(WrongLoop, match=r"still open.*does not run.*await cache\.reset\(\)"):
            plain(1)
    assert plain(1)[0] == 1, "that loop is closed; the bridge takes over"


def test_a_call_at_import_leaves_the_cache_to_the_loop_that_opens_it(plain_cache: Cache) -> None:
    """A module calls a plain function when imported; the service runs on its own loop."""
    assert plain(1)[0] == 1

    async def service() -> Any:
        async with plain_cache:
            hit = await plain_cache.tenant("acme").load("x", "1", lambda: "here")
            assert await plain.aio(2) == [2, False]
            assert await asyncio.to_thread(plain, 3) == [3, False], "it goes to this loop now"
            return hit.value

    assert asyncio.run(service()) == "here"


def test_a_loop_that_does_not_open_it_is_served_from_there(plain_cache: Cache) -> None:
    async def asked() -> Any:
        return await plain.aio(1)

    assert plain(1)[0] == 1
    thread = asyncio.run(running_on(plain_cache))
    assert thread.name == "cascada-bridge"
    for _ in "twice":
        assert asyncio.run(asked()) == [1, True], "the hit of the plain call"
    asyncio.run(plain_cache.reset())
    assert asyncio.run(asked()) == [1, False]
    assert plain(1)[0] == 1, "and back: that loop is closed"


async def running_on(cache: Cache) -> threading.Thread:
    """The thread of the loop that the cache is at home on."""
    (found,) = [each for each in threading.enumerate() if each.ident == inside(cache).home]
    return found


class Rows:
    @cached("rows", ignore=("self",))
    def get(self, table: str) -> list[str]:
        return [table]


def test_methods(plain_cache: Cache) -> None:
    rows = Rows()
    assert rows.get("t") == Rows().get("t") == ["t"]
    assert rows.get.invalidate("t").keys == 1
    assert str(inspect.signature(rows.get)) == "(table: str) -> list[str]"
    assert asyncio.run(on_its_own_loop()) == ["u"]


async def on_its_own_loop() -> list[str]:
    async with Cache() as cache:
        configure(cache)
        return await Rows().get.aio("u")


def test_what_a_plain_function_returns_may_be_awaitable(plain_cache: Cache) -> None:
    async def fetch() -> int:
        return 1

    @cached("awaitable")
    def awaitable() -> Any:
        return fetch()

    assert awaitable() == awaitable() == 1


# --- the bridge's life --------------------------------------------------------------------------


def test_the_bridge_starts_when_needed_and_ends_when_closed() -> None:
    own = bridge.Bridge()
    own.close()
    loop = own.loop()
    assert own.loop() is loop
    assert loop.is_running()
    own.close()
    assert loop.is_closed()
    assert own.loop() is not loop, "a new one"
    own.close()


PROGRAM = """
import os, sys, threading
from cascada import Cache, Limits, cached, configure
os.environ["CASCADA_TENANT"] = "acme"
configure(Cache(database={database!r}, limits=Limits(op_timeout=10)))

@cached("sum")
def add(a, b):
    print("called")
    return a + b

print(add(1, 2))
"""


def test_at_exit_what_was_loaded_is_stored(tmp_path: Path) -> None:
    program = PROGRAM.format(database=str(tmp_path / "cache.db"))
    assert run(program) == ["called", "3"]
    assert run(program) == ["3"], "the next process finds it in the database"


def test_a_forked_child_has_a_bridge_of_its_own(tmp_path: Path) -> None:
    program = (
        PROGRAM.format(database=str(tmp_path / "cache.db"))
        + """
child = os.fork()
if not child:
    print(add(3, 4), add.invalidate(3, 4).keys)
    sys.stdout.flush()
    sys.exit(0)
status = os.waitpid(child, 0)[1]
print(add(5, 6), status)
"""
    )
    assert run(program) == ["called", "3", "called", "7", "1", "called", "11", "0"]


def run(program: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-u", "-W", "error", "-X", "dev", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    # That a step took long is said of a busy machine.
    said = [line for line in done.stderr.splitlines() if not line.startswith("Executing <")]
    assert (done.returncode, said) == (0, [])
    return done.stdout.split()
