"""The fixtures of the pytest plugin, each used in a test project of its own, from the wheel."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PROJECT = """
import asyncio
import pytest
from cascada import Cache, Context, Limits, cached
import cascada

def test_time_is_by_hand(manual_clock):
    before = manual_clock.time()
    manual_clock.advance(60)
    assert manual_clock.time() == before + 60

async def test_a_cache_of_its_own(cascada_cache, manual_clock):
    acme = cascada_cache.tenant("acme")
    await acme.set("plan", "p1", "draft", ttl=60)
    assert (await acme.get("plan", "p1")).value == "draft"
    manual_clock.advance(61)
    assert not await acme.get("plan", "p1")

def test_nothing_is_left_of_the_test_before(cascada_cache):
    assert not asyncio.run(cascada_cache.tenant("acme").get("plan", "p1"))

async def test_it_is_the_default_one(cascada_cache, ran_once):
    @cached("answer", key="{q}")
    async def answer(q: str) -> str:
        return await asked(q)
    async def made(q):
        return q.upper()
    asked = ran_once(made)
    with Context(tenant_id="acme"):
        assert await answer("a") == await answer("a") == "A"

@pytest.mark.parametrize("number", range(3))
async def test_one_load_for_all(cascada_cache, ran_once, number):
    row = ran_once(lambda: {"model": "small"})
    acme = cascada_cache.tenant("acme")
    await asyncio.gather(*(acme.load("config", "a1", row) for _ in range(20)))

async def test_fails_as_the_loader_ran_twice(cascada_cache, ran_once):
    async def fetch_row():
        return 1
    row = ran_once(fetch_row)
    await row(), await row()

async def test_a_real_redis_and_its_end(cascada_redis, redis_down, ran_once):
    async def fetch_row():
        return "row"
    async with Cache(redis=cascada_redis.url) as one, Cache(redis=cascada_redis.url) as two:
        row = ran_once(fetch_row)
        assert (await one.tenant("acme").load("config", "a1", row)).value == "row"
        await one.tenant("acme").get("config", "a1")
        assert (await two.tenant("acme").load("config", "a1", row)).value == "row"
        with redis_down():
            assert cascada_redis.say("PING") == b""
            assert (await two.tenant("acme").load("config", "a2", lambda: "own")).value == "own"
        assert cascada_redis.say("PING") == b"+PONG\\r\\n"
    cascada_redis.kill()

async def test_redis_is_back_and_empty(cascada_redis):
    assert cascada_redis.say("DBSIZE") == b":0\\r\\n"

def test_the_default_is_given_back():
    from cascada.api import default
    assert default._configured is None
"""

SETTINGS = "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"

UNUSED = """
import sys

def test_nothing_of_it_was_loaded():
    loaded = [name for name in sys.modules if name.startswith("cascada.")]
    assert loaded == ["cascada.testing", "cascada.testing.plugin"], loaded
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the wheel installs, before what is installed here."""
    folder = tmp_path_factory.mktemp("wheel")
    build = (sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder))
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(installed: Path, folder: Path, text: str) -> str:
    (folder / "test_service.py").write_text(text, "utf-8")
    (folder / "pytest.ini").write_text(SETTINGS, "utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=folder,
        env={"PYTHONPATH": str(installed), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.stdout + done.stderr


def test_each_fixture_does_what_its_page_says(installed: Path, tmp_path: Path) -> None:
    said = run(installed, tmp_path, PROJECT)
    assert re.search(r"\b11 passed", said), said
    assert "1 error" in said
    assert "fetch_row ran 2 times, and not 1" in said
    assert "test_fails_as_the_loader_ran_twice" in said


def test_a_project_that_asks_for_none_loads_nothing(installed: Path, tmp_path: Path) -> None:
    said = run(installed, tmp_path, UNUSED)
    assert "1 passed" in said, said
