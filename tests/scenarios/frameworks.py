"""How frameworks run code, as far as a load has to follow what it reads.

Each way runs `read`, which reads a document through the cache, for the code that stands in a
loader. What a task inherits its context of is followed; a thread or a process that was there before
is not.
"""

import asyncio
import contextvars
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypedDict

from celery import Celery
from celery.contrib.testing.worker import start_worker
from celery.signals import setup_logging
from langgraph.graph import START, StateGraph

Read = Callable[[], Awaitable[Any]]


async def awaited(read: Read) -> None:
    await read()


async def create_task(read: Read) -> None:
    await asyncio.create_task(read())  # type: ignore[arg-type]  # a coroutine, to be exact


async def gather(read: Read) -> None:
    await asyncio.gather(read(), asyncio.sleep(0))


async def task_group(read: Read) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(read())  # type: ignore[arg-type]  # as above


def _from_thread(read: Read) -> Callable[[], Any]:
    """`read`, for a thread beside the loop."""
    loop = asyncio.get_running_loop()
    return lambda: asyncio.run_coroutine_threadsafe(read(), loop).result(30)  # type: ignore[arg-type]


async def to_thread(read: Read) -> None:
    await asyncio.to_thread(_from_thread(read))


async def run_in_executor(read: Read) -> None:
    await asyncio.get_running_loop().run_in_executor(None, _from_thread(read))


async def pool_with_context(read: Read) -> None:
    work = _from_thread(read)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(contextvars.copy_context().run, work)
        await asyncio.wrap_future(running)


async def callback(read: Read) -> None:
    """A done callback that starts the read."""
    loop = asyncio.get_running_loop()
    over = loop.create_future()

    def on_done(_: object) -> None:
        task = loop.create_task(read())  # type: ignore[arg-type]  # as above
        task.add_done_callback(lambda _: over.set_result(None))

    asyncio.ensure_future(asyncio.sleep(0)).add_done_callback(on_done)
    await over


async def queue_worker(read: Read) -> None:
    """A worker that was there before the load began."""
    done = asyncio.get_running_loop().create_future()
    _queue.get().put_nowait((read, done))
    await done


async def langgraph_nodes(read: Read) -> None:
    class State(TypedDict, total=False):
        text: str

    async def node(state: State) -> State:
        await read()
        return {"text": "read"}

    graph = StateGraph(State)
    graph.add_node("node", node)
    graph.add_edge(START, "node")
    await graph.compile().ainvoke({})


async def langgraph_plain_nodes(read: Read) -> None:
    class State(TypedDict, total=False):
        text: str

    work = _from_thread(read)

    def node(state: State) -> State:
        work()
        return {"text": "read"}

    graph = StateGraph(State)
    graph.add_node("node", node)
    graph.add_edge(START, "node")
    await graph.compile().ainvoke({})


async def celery_task(read: Read) -> None:
    """A worker of Celery: here a thread of its own, elsewhere mostly another process."""
    _celery_work.append(_from_thread(read))
    await asyncio.to_thread(lambda: _run.delay().get(timeout=30))


_queue: contextvars.ContextVar["asyncio.Queue[Any]"] = contextvars.ContextVar("queue")


@asynccontextmanager
async def worker() -> AsyncIterator[None]:
    """Run the worker of `queue_worker`, in a context from before."""
    queue: asyncio.Queue[Any] = asyncio.Queue()
    _queue.set(queue)

    async def work() -> None:
        while True:
            read, done = await queue.get()
            await read()
            done.set_result(None)

    task = asyncio.create_task(work())
    try:
        yield
    finally:
        task.cancel()


# Else a worker sets the logging of the whole process to its own liking.
setup_logging.connect(lambda **_: None, weak=False)
_celery = Celery(broker="memory://", backend="cache+memory://", set_as_current=False)
_celery_work: list[Callable[[], Any]] = []


@_celery.task(name="run", shared=False)
def _run() -> None:
    _celery_work.pop()()


@contextmanager
def celery_worker() -> Iterator[None]:
    """Run a worker of Celery in a thread, with a broker in memory."""
    with start_worker(_celery, pool="solo", perform_ping_check=False, shutdown_timeout=30):
        yield


WAYS: dict[str, Callable[[Read], Awaitable[None]]] = {
    "`await`": awaited,
    "`asyncio.create_task`": create_task,
    "`asyncio.gather`": gather,
    "`asyncio.TaskGroup`": task_group,
    "`asyncio.to_thread`": to_thread,
    "`loop.run_in_executor`": run_in_executor,
    "an executor with `copy_context().run`": pool_with_context,
    "callbacks (`add_done_callback`, `call_soon`)": callback,
    "a queue's worker": queue_worker,
    "LangGraph nodes": langgraph_nodes,
    "LangGraph nodes that are plain functions": langgraph_plain_nodes,
    "a Celery task": celery_task,
}
"""By the words of the table in docs/sources.md."""
