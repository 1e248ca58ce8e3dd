"""`cascada top`: what comes first, by each figure, of types and of tenants."""

import asyncio
import random
import signal
from pathlib import Path

import pytest

from cascada import Cache, Limits, Loaded
from cascada.cli import largest
from cascada.cli.command import main
from cascada.integrations.prometheus import exposition
from cascada.testing.clock import ManualClock
from tests.scenarios.row import all_stored
from tests.servers.redis import RedisServer


async def exposed(**options: object) -> str:
    """Two tenants: many hits of `agent`, some large `report`s, one dear `answer`."""
    clock = ManualClock()
    large = random.Random(1).randbytes(2**20 + 1)

    def slowly(value: object, seconds: float, cost: float | None = None) -> object:
        def load() -> Loaded[object]:
            clock.advance(seconds)
            return Loaded(value, cost=cost)

        return load

    async with Cache(clock=clock) as cache:
        for tenant, reads in (("acme", 9), ("globex", 2)):
            handle = cache.tenant(tenant)
            for _ in range(reads):
                await handle.load("agent", "a1", slowly("small", 0.01))
                await all_stored(handle)
            await handle.load("report", "r1", slowly(large, 0.2))
            await handle.load("report", "r2", slowly(large, 0.2))
            await handle.get("nothing", "n")
        await handle.load("answer", "q", slowly("dear", 4.0, 0.25))
        return (await exposition(cache, **options)).decode()  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pages") / "page.txt"
    path.write_text(asyncio.run(exposed(tenants=9, times_by_type=True)))
    return path


def table(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[dict[str, str]]:
    assert main(["top", *map(str, arguments)]) == 0
    headings, *lines = capsys.readouterr().out.splitlines()
    names = headings.replace("MB stored", "MB").replace("KB each", "KB").replace(" ms", "")
    names = names.replace("spent s", "seconds").replace("spent money", "money")
    return [dict(zip(names.split(), line.split(), strict=True)) for line in lines]


def test_what_comes_first(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = {by: table(capsys, page, "--by", by)[0] for by in ("hits", "misses", "bytes", "cost")}
    assert {by: row["type"] for by, row in first.items()} == {
        "hits": "agent", "misses": "report", "bytes": "report", "cost": "answer",
    }  # fmt: skip
    assert (first["hits"]["reads"], first["hits"]["hits"], first["hits"]["ratio"]) == (
        "11", "9", "0.818",
    )  # fmt: skip
    assert (first["bytes"]["MB"], first["bytes"]["KB"], first["bytes"]["bulky"]) == (
        "4.2", "1048.6", "4",
    )  # fmt: skip
    assert (first["cost"]["money"], first["cost"]["seconds"]) == ("0.2500", "4.0")
    # How long reads waited that memory did not answer.
    assert first["bytes"]["mean"] == "200.0"
    assert 100 < float(first["bytes"]["p99"]) <= 250
    last = table(capsys, page)[1:]
    assert [row["type"] for row in last] == ["answer", "nothing", "report"], "none has a hit"
    assert (last[1]["misses"], last[1]["KB"]) == ("2", "-")


def test_by_tenant(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    acme, globex = table(capsys, page, "--per", "tenant")
    assert (acme["tenant"], acme["hits"], acme["mean"]) == ("acme", "8", "102.5")
    assert (globex["tenant"], globex["hits"], globex["money"]) == ("globex", "1", "0.2500")
    assert acme["p99"] == "-", "histograms are of types"
    both = table(capsys, page, "--per", "both", "--by", "misses")
    assert {(row["type"], row["tenant"]) for row in both} >= {
        ("report", "acme"), ("report", "globex"), ("answer", "globex"),
    }  # fmt: skip


def test_so_many_rows(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", str(page), "-n", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[-1] == "and 2 more"


def test_pages_are_added_up(page: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = table(capsys, page), table(capsys, page, page)
    assert [int(row["reads"]) for row in two] == [2 * int(row["reads"]) for row in one]
    assert [row["mean"] for row in two] == [row["mean"] for row in one]
    assert [row["p99"] for row in two] == [row["p99"] for row in one]


def test_a_page_without_tenants_says_how_to_have_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = tmp_path / "plain.txt"
    plain.write_text(asyncio.run(exposed()))
    assert main(["top", str(plain), "--per", "tenant"]) == 2
    assert "exposition(cache, tenants=50)" in capsys.readouterr().err
    assert {row["p99"] for row in table(capsys, plain)} == {"-"}


@pytest.mark.parametrize("wrong", [["-n", "0"], ["--by", "size"], ["--per", "key"], []])
def test_what_it_does_not_know_it_refuses(wrong: list[str], page: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["top", *([str(page)] if wrong else []), *wrong])
    assert stopped.value.code == 2


@pytest.mark.parametrize(
    "line",
    [
        'cache_response_time_seconds_sum{layer="l3",data_type="x"} NaN',
        'cache_response_time_seconds_bucket{layer="l3",data_type="x"} 1',
        'cache_response_time_seconds_bucket{layer="l3",data_type="x",le="much"} 1',
        'cache_response_time_seconds_count{data_type="x"} 1',
        'cache_stored_bytes_total{data_type="x"} +Inf',
    ],
)
def test_a_page_that_lies_is_none(
    line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.txt"
    page.write_text(f'cache_mode{{mode="on"}} 1\n{line}\n')
    assert main(["top", str(page)]) == 2
    assert "is no metrics page of cascada's" in capsys.readouterr().err


def test_a_page_of_nothing_is_a_table_of_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "page.txt").write_text('cache_mode{mode="on"} 1\n')
    assert table(capsys, tmp_path / "page.txt") == []


def test_the_largest_values_by_key(
    redis_server: RedisServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    redis_server.flush()
    url, file = redis_server.url, str(tmp_path / "cache.db")

    async def fill(**tiers: str) -> None:
        options = {"limits": Limits(op_timeout=10), "namespace": "shop"}
        async with Cache(**tiers, **options) as cache:  # type: ignore[arg-type]
            acme = cache.tenant("acme", agent="a:1")
            for name, size in (("small", 100), ("large", 300_000), ("medium", 20_000)):
                assert await acme.set("doc", name, random.Random(1).randbytes(size))

    def told(*more: str) -> list[list[str]]:
        assert main(["top", "--keys", *more]) == 0
        headings, *rows = capsys.readouterr().out.splitlines()
        assert headings.split() == ["MB", "layer", "key"]
        return [row.split() for row in rows]

    asyncio.run(fill(redis=url))
    asyncio.run(fill(database=file))
    monkeypatch.setenv("REDIS_URL", url)
    assert told() == [], "of another namespace"
    monkeypatch.setenv("CASCADA_NAMESPACE", "shop")
    key = "acme:doc:agent:a%3A1:"
    assert [row[1:] for row in told()][:2] == [["l2", f"{key}large"], ["l2", f"{key}medium"]]
    monkeypatch.setenv("CACHE_DATABASE_URL", f"sqlite:///{file}")
    first, second = told("-n", "2")
    assert {first[1], second[1]} == {"l2", "l3"}
    assert first[2] == second[2] == f"{key}large"
    assert 0.3 <= float(first[0]) < 0.31
    monkeypatch.delenv("REDIS_URL")
    assert [row[1:] for row in told()] == [
        ["l3", f"{key}{name}"] for name in ("large", "medium", "small")
    ]
    redis_server.flush()


@pytest.mark.parametrize(
    ("redis", "says"),
    [
        (None, "set REDIS_URL or CACHE_DATABASE_URL"),
        ("redis://:hunter2@127.0.0.1:1/0", "Redis cannot be looked into"),
    ],
)
def test_tiers_that_are_not_there(
    redis: str | None,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if redis is not None:
        monkeypatch.setenv("REDIS_URL", redis)
    assert main(["top", "--keys"]) == 2
    told = capsys.readouterr().err
    assert says in told
    assert "hunter2" not in told


def test_a_redis_that_stands_still_is_waited_for_only_so_long(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(largest, "CONNECTING", 0.2)
    monkeypatch.setenv("REDIS_URL", server.url)
    server.signal(signal.SIGSTOP)
    try:
        assert main(["top", "--keys"]) == 2
    finally:
        server.signal(signal.SIGCONT)
    assert "no answer" in capsys.readouterr().err
