"""The demo in its short form: the whole way, in seconds; and that it would see a stale answer."""

import asyncio
import io
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cascada import Tenant
from cascada.engine.engine import Engine
from cascada.engine.writing.cascade import Cascade
from examples.agent_service import demo, terminal
from examples.agent_service.app import create_app
from examples.agent_service.by_hand import Store, by_hand
from examples.agent_service.client import Client, NoAnswer
from examples.agent_service.corpus import standard_library
from examples.agent_service.drive import Bill, Column
from examples.agent_service.process import DidNotStart, redis_binary, running_redis
from examples.agent_service.report import (
    HEADINGS,
    Figures,
    Outcome,
    missed_by_sync,
    missed_targets,
    rows,
    summary,
)
from examples.agent_service.settings import Settings
from examples.agent_service.sync_act import Synced
from examples.agent_service.workload import Read, steps
from examples.agent_service.world import World
from tests.examples.serving import served
from tests.servers.redis import RedisServer

SHORT = ["--reads", "300", "--edit-every", "20", "--latency", "10", "--rate", "100"]

WORLD = World(standard_library(300), seed=3)
CREATIONS = list(WORLD.creations())
STEPS = list(steps(WORLD, 200, 10, 1.0, seed=3))


def test_the_demo_runs_three_columns_over_http(capsys: pytest.CaptureFixture[str]) -> None:
    code = demo.main(SHORT)
    said = capsys.readouterr().out
    last = said.splitlines()[-1]
    found = re.fullmatch(
        r"demo: hit_ratio=(\d\.\d\d) latency=([-+]\d+)% db_queries=([-+]\d+)% "
        r"model_calls=([-+]\d+)%",
        last,
    )
    assert found, said
    hit_ratio, _, db_queries, model_calls = map(float, found.groups())
    assert hit_ratio > 0.4
    assert db_queries < -50
    assert model_calls < -40
    table = {line[:20].strip(): line[20:].split() for line in said.splitlines()}
    without, by_hand_wrong, cascada, target = table["WRONG ANSWERS"]
    assert (without, cascada, target) == ("0", "0", "0"), said
    assert int(by_hand_wrong) > 0, said
    assert table["failed requests"][::2] == ["0", "0"], said
    # So short a race has more first reads than the targets leave room for; all else holds.
    missed = [line for line in said.splitlines() if line.startswith("missed:")]
    assert all(line.startswith(("missed: hit", "missed: mod", "missed: dat")) for line in missed)
    assert code == (1 if missed else 0)
    # Both workers had the answer, and neither has it now; the cache by hand has it still.
    assert re.search(r"worker 1: in memory, v\d+ -> (made anew|from Redis), v\d+", said), said
    assert re.search(r"worker 2: in memory, v\d+ -> (made anew|from Redis), v\d+", said), said
    assert "agent_response" in said
    assert "goes on answering" in said
    assert re.search(r"cascada: \d+ reads meanwhile, 0 requests failed", said), said
    assert "Both workers used Redis again" in said
    assert re.search(r"200 updates of 50 campaigns by 2 workers: all acknowledged in \d+ ms", said)
    locked = re.search(
        r"50 updates more .*, 50 of them wait, and the lag grows to (\d\.\d) s", said
    )
    assert locked, said
    assert float(locked[1]) > 0
    assert re.search(r"all are in the table after \d+\.\d s, lag 0\.0 s", said), said
    assert re.search(r"stays \(database_wins\): \d+\.\d s after", said), said
    assert table["synced updates"][:3] == ["250", "of", "250"], said
    assert re.search(r"globex asks .*\n +from globex/\S+(, globex/\S+)*\n", said), said
    assert "local stand-in for a hosted model" in said
    assert re.search(r"own account \(stats\): \$\d.\d\d spent on the model, \$\d", said), said


@pytest.mark.parametrize(
    ("option", "value"),
    [("--reads", "0"), ("--rate", "0"), ("--rate", "inf"), ("--concurrency", "-1"),
     ("--latency", "nan"), ("--skews", "much")],
)  # fmt: skip
def test_what_it_cannot_do_it_refuses(
    option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        demo.main([option, value])
    assert option in capsys.readouterr().err


@asynccontextmanager
async def column(
    folder: Path, *, cache: bool = True, store: Store | None = None
) -> AsyncIterator[Column]:
    """A column of one process, this one, which has run the short race."""
    settings = Settings(
        database_url=f"sqlite+aiosqlite:///{folder}.db", cache=cache, model_latency_ms=1
    )
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        if store is not None:
            app.state.service = by_hand(app.state.service, store)
        async with served(app) as address, Client(address) as client:
            made = Column("it", [client, client])
            await made.create(CREATIONS)
            await made.drive(STEPS, concurrency=8, rate=10_000)
            yield made


async def test_no_answer_is_wrong_with_cascada_and_without_a_cache(tmp_path: Path) -> None:
    for cache in (False, True):
        async with column(tmp_path / str(cache), cache=cache) as raced:
            assert raced.tally.failed == []
            assert raced.tally.wrong == []
            assert len(raced.tally.seconds) == 200
            assert len(raced.truth.seen) > 20
            bill = await raced.bill()
            assert (bill.hits > 0) == (bill.saved > 0) == cache
            if cache:
                assert bill.spent == pytest.approx(bill.dollars), "two accounts of the model"


async def test_a_service_that_forgets_to_invalidate_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forget(*_: Any, **__: Any) -> Cascade:
        return Cascade(Counter())

    monkeypatch.setattr(Tenant, "invalidate", forget)
    monkeypatch.setattr(Engine, "cascade", forget)
    async with column(tmp_path / "forgetful") as raced:
        assert len(raced.tally.wrong) > 10


async def test_the_cache_by_hand_forgets_what_it_has_changed_and_no_more(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    redis_server.flush()
    async with (
        aclosing(Store(redis_server.url)) as store,
        column(tmp_path / "by-hand", cache=False, store=store) as raced,
    ):
        assert raced.tally.failed == []
        wrong = Counter(sentence.split()[0] for sentence in raced.tally.wrong)
        assert wrong["POST"] > 3, "questions"  # how many depends on what meets what
        # Unless a read was under way beside the edit: nobody fences it.
        assert wrong["GET"] <= 3, "documents"
        asked = sum(step.request.method == "POST" for step in STEPS if isinstance(step, Read))
        assert (await raced.bill()).model_calls < 0.8 * asked, "it caches"


def of(wrong: int = 0, queries: int = 1000, calls: int = 100, hits: int = 0, misses: int = 0,
       failed: int = 0, ms: float = 100.0) -> Figures:  # fmt: skip
    return Figures(
        "a column", wrong, failed, ms, ms, Bill(queries, calls, calls / 10, hits, misses)
    )


GOOD = {"queries": 120, "calls": 9, "hits": 93, "misses": 7, "ms": 6.0}


def outcome(observable: int = 210, by_hand: int = 300, **cascada: Any) -> Outcome:
    made = of(**{**GOOD, **cascada})
    return Outcome(1.0, of(), of(wrong=by_hand), made, observable, Synced(250, 0, 1.2, 0.3))


def test_the_last_line_says_what_was_measured() -> None:
    assert summary(outcome()) == (
        "demo: hit_ratio=0.93 latency=-94% db_queries=-88% model_calls=-91%"
    )
    assert missed_targets(outcome()) == []


@pytest.mark.parametrize(
    ("measured", "missed"),
    [
        (outcome(queries=310), "database queries -69.0%, target -70%"),
        (outcome(calls=41), "model calls -59.0%, target -60%"),
        (outcome(hits=85, misses=15), "hit ratio 0.850, target > 0.85"),
        (outcome(wrong=1), "a column: 1 wrong answers, target 0"),
        (outcome(failed=1), "a column: 1 failed requests, target 0"),
        (outcome(observable=199), "199 edits were seen in answers, target 200"),
        (outcome(by_hand=0), "no answer of the cache by hand was wrong: so this proves nothing"),
    ],
)
def test_a_target_that_is_missed_is_named(measured: Outcome, missed: str) -> None:
    assert missed in missed_targets(measured)


def test_what_the_table_of_campaigns_lacks_is_told() -> None:
    assert missed_by_sync(outcome()) == []
    lacking = replace(outcome(), synced=Synced(250, 3, 30.0, 0.3))
    (told,) = missed_by_sync(lacking)
    assert told.startswith("3 updates of campaigns")
    assert ("synced updates", "", "", "247 of 250", "+30.0 s", "all") in rows(lacking)


def test_latency_is_shown_and_does_not_decide() -> None:
    late = outcome(ms=99.0)
    assert missed_targets(late) == []
    assert ("mean latency", "100.0 ms", "100.0 ms", "99.0 ms", "-1 %", "-80 % to -95 %") in rows(
        late
    )


def test_the_table_fits_a_terminal_and_shows_all_targets(
    capsys: pytest.CaptureFixture[str],
) -> None:
    terminal.table(HEADINGS, rows(outcome(queries=123_456)))
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    for target in ("> 0.85", "-70 %", "-60 %", "-80 % to -95 %"):
        assert target in said


def test_a_terminal_shows_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(terminal, "console", Console(file=out, force_terminal=True, width=100))
    with terminal.race(HEADINGS[:3], 10) as tell:
        tell(5, [("WRONG ANSWERS", "0", "17", "0")])
    terminal.tree(terminal.Node("[root]", [terminal.Node("leaf", [terminal.Node("[x v1]")])]))
    terminal.table(HEADINGS, rows(outcome()))
    terminal.title("An act")
    said = out.getvalue()
    for word in ("17", "[root]", "leaf", "[x v1]", "hit ratio", "An act"):
        assert word in said


async def test_a_client_goes_on_when_a_kept_connection_was_closed() -> None:
    asked = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, Client(f"http://127.0.0.1:{port}") as client:
        assert [(await client.request("GET", "/")).text for _ in range(3)] == ["hi"] * 3
    assert asked == 3
    with pytest.raises(NoAnswer, match="GET /gone"):
        await Client(f"http://127.0.0.1:{port}").request("GET", "/gone")


async def test_redis_comes_back_where_it_was_and_empty(tmp_path: Path) -> None:
    async with running_redis(tmp_path) as redis:
        url = redis.url
        await redis.kill()
        await redis.start()
        assert redis.url == url
    await redis.kill()  # once more harms nobody


def test_without_a_server_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(DidNotStart, match="install one"):
        redis_binary()
