"""Transports in several processes: those that share a Redis ask once, and a forked child asks."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.servers.model import ModelServer
from tests.servers.redis import RedisServer

ASKING = """
import asyncio, sys, time
from pathlib import Path
import httpx2
from cascada import Cache
from cascada.ai.httpx2 import AsyncModelTransport

url, redis, folder, me = sys.argv[1:]

async def main():
    async with Cache(redis=redis) as cache:
        transport = AsyncModelTransport(cache, tenant="acme")
        async with httpx2.AsyncClient(transport=transport, timeout=30) as http:
            async def ask(stream):
                body = {"model": "m", "stream": stream, "messages": [
                    {"role": "user", "content": "hello"}]}
                answer = await http.post(url + "/chat/completions", json=body)
                assert answer.status_code == 200
                return len(answer.content)
            await cache.tenant("acme").get("x", "1")
            Path(folder, me).touch()
            while not Path(folder, "go").exists():
                time.sleep(0.005)
            print(await asyncio.gather(*[ask(bool(n % 2)) for n in range(20)]))

asyncio.run(main())
"""


def test_two_processes_that_share_a_redis_ask_once(
    models: ModelServer, redis_server: RedisServer, tmp_path: Path
) -> None:
    redis_server.flush()
    models.before = 0.5
    names = ("one", "two")
    words = [sys.executable, "-c", ASKING, models.url, redis_server.url, str(tmp_path)]
    asking = [subprocess.Popen([*words, each], stdout=subprocess.PIPE) for each in names]
    while not all((tmp_path / each).exists() for each in names):
        assert all(each.poll() is None for each in asking)
        time.sleep(0.005)
    (tmp_path / "go").touch()
    one, two = [each.communicate(timeout=60)[0] for each in asking]
    assert one == two != b""
    assert len(models.calls) == 2, "one plain, one streamed"


FORKING = """
import asyncio, os, sys
import {library}
from cascada import Cache
from cascada.ai.{library} import AsyncModelTransport, ModelTransport

url = sys.argv[1]
body = {{"model": "m", "messages": [{{"role": "user", "content": "hello"}}]}}
cache, other = Cache(), Cache()
plain = {library}.Client(transport=ModelTransport(cache, tenant="acme"), timeout=20)
later = {library}.AsyncClient(transport=AsyncModelTransport(other, tenant="acme"), timeout=20)

def ask(**more):
    answer = plain.post(url + "/chat/completions", json={{**body, **more}})
    assert answer.status_code == 200, answer.text
    return answer.headers.get("cache-status", "")

async def ask_later():
    answer = await later.post(url + "/chat/completions", json=body)
    assert answer.status_code == 200, answer.text

ask(seed=0)                     # a connection to the provider is open by now
if (child := os.fork()) == 0:
    for each in range(20):
        ask(seed=each)
        ask(seed=each, stream=True)
    asyncio.run(ask_later())
    sys.stdout.flush()
    os._exit(0)
for each in range(20):          # at the same time as the child
    ask(seed=100 + each)
assert os.waitpid(child, 0)[1] == 0, "the child has failed"
print(ask(seed=0))
"""


@pytest.mark.parametrize("library", ["httpx2", "httpx"])
def test_a_transport_made_before_a_fork_asks_in_the_child(
    models: ModelServer, library: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKING.format(library=library), models.url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "hit" in done.stdout
    assert len(models.calls) == 1 + 40 + 1 + 20
