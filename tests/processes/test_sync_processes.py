"""Code that waits, in programs of its own: what they print, and that they leave nothing behind."""

import subprocess
import sys
from pathlib import Path

TASK = """
import asyncio, multiprocessing, os, signal, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from cascada import Cache, CacheClosed, Limits

cache = Cache(database={database!r}, limits=Limits(op_timeout=10))
acme = cache.sync.tenant("acme")

def use(number):
    value = acme.load("x", number, lambda: number * 10).value
    acme.set("own", number, number)
    assert acme.get("own", number).value == number
    acme.increment("uses", "all")
    return value
"""

THREADS = """
with ThreadPoolExecutor(16) as threads:
    print(sorted(threads.map(use, range(32))) == [n * 10 for n in range(32)])
"""

LOOPS = """
async def awaited(number):
    handle = cache.tenant("acme")
    return (await handle.load("y", number, lambda: number)).value

def loop(number):
    return asyncio.run(awaited(number))

with ThreadPoolExecutor(12) as threads:
    print(list(threads.map(loop, range(12))) == list(range(12)))
"""

LATE = """
def late():
    threading.main_thread().join()
    try:
        use(7)
    except CacheClosed as error:
        print(error)

threading.Thread(target=late).start()
"""

FORKED = """
use(1)
busy = threading.Event()

def go_on():
    while not busy.wait(0.001):
        use(2)

threads = [threading.Thread(target=go_on) for _ in range(2)]
for thread in threads:
    thread.start()
children = []
for number in range(2):
    child = os.fork()
    if not child:
        with ThreadPoolExecutor(4) as pool:
            right = list(pool.map(use, range(8))) == [n * 10 for n in range(8)]
        ended = number % 2
        if ended:
            cache.sync.close()
        os.write(1, b"child %d\\n" % right)
        sys.stderr.flush()
        os._exit(0) if ended else sys.exit(0)
    children.append(child)
statuses = [os.waitpid(child, 0)[1] for child in children]
busy.set()
for thread in threads:
    thread.join()
print(statuses, use(9))
"""

POOL = """
if __name__ == "__main__":
    use(1)  # before the workers are made, as an application is imported
    before = acme.counter("uses", "all")
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print(pool.map(use, range(8)))
        pool.close()
        pool.join()
    print(acme.counter("uses", "all") - before)
"""

INTERRUPTED = """
def ring(*_):
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, ring)
let_go, here = threading.Event(), threading.get_ident()

def slow():
    let_go.wait(20)
    return "loaded"

def hurried(loader, key):
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        acme.load("x", key, loader)
    except KeyboardInterrupt:
        return "left"

async def slow_there():
    return await asyncio.to_thread(slow)

with ThreadPoolExecutor(2) as threads:
    started = threading.Event()
    others = threads.submit(acme.load, "x", "1", lambda: started.set() or slow())
    started.wait(10)
    print(hurried(slow, "1"), "while another one loads")
    let_go.set()
    print(others.result(10).value)
    let_go.clear()
    print(hurried(slow, "2"), "in the loader")
    print(acme.load("x", "2", lambda: "another one").value)
    print(hurried(slow_there, "3"), "a load of the loop's")
    print(acme.load("x", "3", lambda: "the next one").value)
    let_go.set()
"""


def run(program: str, tmp_path: Path) -> list[str]:
    program = TASK.format(database=str(tmp_path / "cache.db")) + program
    done = subprocess.run(
        # From 3.12 on Python warns of each fork beside threads, which is what is tested here.
        [
            *(sys.executable, "-u", "-X", "dev", "-W", "error"),
            *("-W", "ignore:This process:DeprecationWarning", "-c", program),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    # That a step took long is said of a busy machine.
    said = [line for line in done.stderr.splitlines() if not line.startswith("Executing <")]
    assert (done.returncode, said) == (0, [])
    return done.stdout.splitlines()


def test_threads_and_loops_leave_nothing_at_exit_though_nobody_closes(tmp_path: Path) -> None:
    *said, late = run(THREADS + LOOPS + LATE, tmp_path)
    assert said == ["True", "True"]
    assert late.startswith("the main thread has ended"), "who works on is told"


def test_forked_children_have_bridges_of_their_own(tmp_path: Path) -> None:
    """As of gunicorn --preload, while threads of the parent's are in the middle of calls."""
    said = run(FORKED, tmp_path)
    assert sorted(said[:-1]) == ["child 1"] * 2
    assert said[-1] == "[0, 0] 90"


def test_a_pool_of_forked_workers(tmp_path: Path) -> None:
    """As of Celery's prefork: the parent has used the cache, and each worker runs many tasks."""
    assert run(POOL, tmp_path) == [str([n * 10 for n in range(8)]), "8"]


def test_who_is_interrupted_leaves_at_once_and_the_others_go_on(tmp_path: Path) -> None:
    assert run(INTERRUPTED, tmp_path) == [
        "left while another one loads",
        "loaded",
        "left in the loader",
        "another one",
        "left a load of the loop's",
        "the next one",
    ]
