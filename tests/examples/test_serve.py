"""`make serve`: what it prints can be tried, and it stops when asked to."""

import asyncio
import os
import shlex
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from examples.agent_service.process import DidNotStart, running_service
from examples.agent_service.serve import main

ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def serving(database: Path, **environment: str) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "examples.agent_service.serve", "--port", "0"),
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": f"sqlite:///{database}", **environment},
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def welcome(process: Process) -> str:
    """All that it prints until it has said how to stop it."""
    assert process.stdout is not None
    said = ""
    async with asyncio.timeout(60):
        while "Ctrl-C" not in said:
            line = (await process.stdout.readline()).decode()
            assert line, "it ended before it had started"
            said += line
    return said


def without_speedups(folder: Path) -> Path:
    """A folder in which uvloop and httptools are found, and cannot be imported."""
    for name in ("uvloop", "httptools"):
        (folder / f"{name}.py").write_text(f"raise ImportError('{name}')\n", "utf-8")
    return folder


SLOW = "asyncio and h11 (faster with `pip install uvloop httptools`)"


@pytest.mark.parametrize(
    ("secret", "runs_on"),
    [("", "uvloop and httptools"), ("a secret of more than thirty-two bytes", SLOW)],
)
async def test_what_it_prints_can_be_tried(tmp_path: Path, secret: str, runs_on: str) -> None:
    environment = {"AGENT_SERVICE_JWT_SECRET": secret}
    if runs_on == SLOW:
        environment["PYTHONPATH"] = (
            f"{without_speedups(tmp_path)}:{os.environ.get('PYTHONPATH', '')}"
        )
    async with serving(tmp_path / "service.db", **environment) as process:
        said = await welcome(process)
        assert f", on {runs_on}\n" in said
        words = shlex.split(said[said.index("curl") : said.index("Ctrl-C")])
        assert words[:2] == ["curl", "-i"]
        headers = dict(words[place + 1].split(": ") for place, w in enumerate(words) if w == "-H")
        body = words[words.index("-d") + 1]
        async with httpx.AsyncClient(trust_env=False) as client:
            assert ("X-Tenant-ID" in headers) == (not secret)
            answers = [await client.post(words[2], headers=headers, content=body) for _ in range(2)]
            addresses = [
                word
                for word in said.split()
                if word.startswith("http") and word.endswith(("/", "/docs", "/stats"))
            ]
            assert [(await client.get(url)).status_code for url in addresses] == [200, 200, 200]
        assert answers[0].status_code == 200, answers[0].text
        assert answers[0].headers["Cache-Status"].startswith("cascada; fwd=miss")
        assert answers[1].headers["Cache-Status"].startswith("cascada; hit")
        assert answers[0].json() == answers[1].json()
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(10):
            assert await process.wait() == 0
    if not secret:  # it may be started again on what is there
        async with serving(tmp_path / "service.db") as process:
            assert "curl" in await welcome(process)


@pytest.mark.parametrize(
    ("variable", "value"), [("AGENT_SERVICE_CACHE", "maybe"), ("L1_CACHE_SIZE_MB", "lots")]
)
def test_a_wrong_setting_stops_it_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert main(["--port", "0"]) == 2
    out, sentence = capsys.readouterr()
    assert out == ""
    assert sentence.startswith(f"serve: {variable}")
    assert value in sentence
    assert sentence.count("\n") == 1, "a sentence, no traceback"


async def test_a_service_that_does_not_start_is_said_to(tmp_path: Path) -> None:
    with pytest.raises(DidNotStart, match="ended with code 2"):
        async with running_service({"AGENT_SERVICE_CACHE": "maybe"}):
            pass
