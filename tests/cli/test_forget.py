"""`cascada forget` and `cascada keys rotate`, as an operator types them."""

from __future__ import annotations

import base64
import io
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cascada import BadInput, Cache, CacheService, Context
from cascada.cli.command import main
from cascada.service.sync.records import Known, Record, Written
from cascada.service.sync.target import Target
from cascada.testing.inside import inside

Typed = Callable[..., tuple[int, str, str]]


def key(number: int) -> str:
    return f"k{number}:{base64.b64encode(bytes([number]) * 32).decode()}"


class Terminal(io.StringIO):
    """Somebody who types."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def typed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Typed:
    monkeypatch.setenv("CACHE_DATABASE_URL", str(tmp_path / "cache.db"))

    def run(*words: str, stdin: io.StringIO | None = None) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", stdin or io.StringIO())
        status = main(words)
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


async def stored(tmp_path: Path, **options: str) -> None:
    async with Cache(database=str(tmp_path / "cache.db"), **options) as cache:  # type: ignore[arg-type]
        for tenant in ("acme", "globex"):
            await cache.tenant(tenant).set("doc", "1", f"text-of-{tenant}")
            await cache.tenant(tenant, collection="user:u1").set("doc", "2", f"his-{tenant}")


async def left(tmp_path: Path, tenant: str, **options: str) -> list[bool]:
    async with Cache(database=str(tmp_path / "cache.db"), **options) as cache:  # type: ignore[arg-type]
        his = cache.tenant(tenant, collection="user:u1")
        return [bool(await cache.tenant(tenant).get("doc", "1")), bool(await his.get("doc", "2"))]


def in_a_thread(work: Callable[[], tuple[int, str, str]]) -> tuple[int, str, str]:
    """The command has an event loop of its own."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work).result()


async def test_a_tenant_is_forgotten_and_the_report_says_so(typed: Typed, tmp_path: Path) -> None:
    await stored(tmp_path)
    status, out, err = in_a_thread(lambda: typed("forget", "acme", "--yes"))
    assert (status, err) == (0, "")
    assert out.startswith("tenant acme: all of it is forgotten\n")
    assert "l3: 2 entries" in out
    assert b"text-of-acme" not in (tmp_path / "cache.db").read_bytes()
    assert await left(tmp_path, "acme") == [False, False]
    assert await left(tmp_path, "globex") == [True, True]


async def test_of_a_user_goes_his_own(typed: Typed, tmp_path: Path) -> None:
    await stored(tmp_path)
    status, out, _ = in_a_thread(lambda: typed("forget", "acme", "--user", "u1", "--yes"))
    assert (status, out.partition("\n")[0]) == (0, "tenant acme, user u1: all of it is forgotten")
    assert await left(tmp_path, "acme") == [True, False]


async def test_it_asks_first(typed: Typed, tmp_path: Path) -> None:
    await stored(tmp_path)
    status, out, err = in_a_thread(lambda: typed("forget", "acme"))
    assert (status, out) == (2, "")
    assert "--yes" in err
    status, _, err = in_a_thread(lambda: typed("forget", "acme", stdin=Terminal("globex\n")))
    assert (status, "nothing was forgotten" in err) == (2, True)
    assert await left(tmp_path, "acme") == [True, True]
    status, _, err = in_a_thread(lambda: typed("forget", "acme", stdin=Terminal("acme\n")))
    assert (status, "goes for good" in err) == (0, True)
    assert await left(tmp_path, "acme") == [False, False]


async def test_what_is_left_has_a_status_of_its_own(
    typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("CASCADA_INVALIDATE_PATIENCE", "0.1")
    status, out, _ = in_a_thread(lambda: typed("forget", "acme", "--yes"))
    assert status == 1
    assert "NOT all" in out
    assert "run it again" in out


def test_without_tiers_there_is_nothing_to_forget_from(
    typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CACHE_DATABASE_URL")
    status, _, err = typed("forget", "acme", "--yes")
    assert (status, "REDIS_URL" in err) == (2, True)
    status, _, err = typed("keys", "rotate")
    assert (status, "CACHE_ENCRYPTION_KEYS" in err) == (2, True)


async def test_keys_are_rotated_and_it_says_which_may_go(
    typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stored(tmp_path, encryption_keys=key(1), encrypt="all")
    monkeypatch.setenv("CACHE_ENCRYPTION_KEYS", f"{key(2)},{key(1)}")
    monkeypatch.setenv("CASCADA_ENCRYPT", "all")
    status, out, _ = in_a_thread(lambda: typed("keys", "rotate"))
    assert status == 0
    assert out.startswith("2 of 2 tenants' keys were wrapped anew: all are under k2")
    assert "run this once more" in out
    status, out, _ = in_a_thread(lambda: typed("keys", "rotate"))
    assert (status, out.startswith("0 of 2")) == (0, True)
    assert "k1 may be left out" in out
    assert key(1) not in out
    assert await left(tmp_path, "acme", encryption_keys=key(2), encrypt="all") == [True, True]


async def test_a_key_that_does_not_open_is_named_and_the_others_are_rotated(
    typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "cache.db")
    for tenant, number in (("lost", 3), ("sound", 1)):
        async with Cache(database=path, encryption_keys=key(number), encrypt="all") as cache:
            await cache.tenant(tenant).set("doc", "1", tenant)
    monkeypatch.setenv("CACHE_ENCRYPTION_KEYS", f"{key(2)},{key(1)}")
    monkeypatch.setenv("CASCADA_ENCRYPT", "all")
    status, out, err = in_a_thread(lambda: typed("keys", "rotate"))
    assert (status, out) == (2, "")
    assert "the keys of 1 of 2 tenants do not open" in err
    assert "of 'lost': " in err
    async with Cache(database=path, encryption_keys=key(2), encrypt="all") as cache:
        assert await cache.tenant("sound").get("doc", "1")


async def test_an_observer_of_a_rotation_keeps_nobody_from_it(tmp_path: Path) -> None:
    await stored(tmp_path, encryption_keys=key(1), encrypt="all")
    seen: list[tuple[int, int]] = []

    def fail(done: int, total: int) -> None:
        seen.append((done, total))
        raise ValueError(done)

    keys = f"{key(2)},{key(1)}"
    async with Cache(database=str(tmp_path / "cache.db"), encryption_keys=keys) as cache:
        with pytest.raises(BadInput):
            await cache.rotate_keys(on_progress=3)  # type: ignore[arg-type]
        assert await cache.rotate_keys(on_progress=fail) == 2
    assert seen == [(1, 2), (2, 2)]


@pytest.mark.parametrize("own", [True, False])
async def test_rows_that_services_have_synced_go_too(
    typed: Typed, tmp_path: Path, own: bool
) -> None:
    """In the cache's own file, or where it is told that they sync to."""
    url = f"sqlite:///{tmp_path / 'app.db'}"
    async with Cache(database=str(tmp_path / "cache.db")) as cache:
        for name in ("a", "b 5%"):
            service = CacheService(name=name, cache=cache, database=None if own else url)
            await service.sync_now()
            for tenant in ("acme", "globex"):
                with Context(tenant_id=tenant):
                    assert await service.set("note:1", f"text-of-{tenant}", fetched=False)
            assert (await service.sync_now()).written == 2
    words = ["forget", "acme", "--yes", *([] if own else ["--synced", url])]
    status, out, err = in_a_thread(lambda: typed(*words))
    assert (status, err) == (0, "")
    assert "database: 2 rows that services have synced" in out
    with sqlite3.connect(tmp_path / ("cache.db" if own else "app.db")) as connection:
        found = connection.execute(
            "SELECT service, tenant FROM cascada_service_entries WHERE key <> '' ORDER BY 1"
        ).fetchall()
    connection.close()
    assert found == [("a", "globex"), ("b 5%25", "globex")]


@pytest.mark.parametrize("made", [True, False])
async def test_a_service_whose_changes_all_wait_is_forgotten_too(
    typed: Typed, tmp_path: Path, made: bool
) -> None:
    """Another process may have claimed them: then it writes nothing any more."""
    url = f"sqlite:///{tmp_path / 'app.db'}"
    async with Cache(database=str(tmp_path / "cache.db")) as cache:
        service = CacheService(name="b 5%", cache=cache, database=url)
        if made:
            await service.sync_now()
        with Context(tenant_id="acme"):
            assert await service.set("note:1", "text-of-acme", fetched=False)
        journal = inside(cache).engine.journal("service.b 5%")
        assert journal is not None
        (claimed,) = await journal.claim(10, 60)
    words = ["forget", "acme", "--yes", "--synced", url]
    status, out, err = in_a_thread(lambda: typed(*words))
    assert (status, err, "1 changes" in out) == (0, "", True)
    late = Target(url, namespace="cascada", service="b 5%")
    record = Record(claimed.number, "acme", "note:1", "text-of-acme")
    after = Record(claimed.number + 3_600_000_000, "acme", "note:2", "kept")
    assert await late.write([record, after]) == [Known(), Written()]
    await late.aclose()


async def test_a_database_of_the_sync_that_is_away_is_told(typed: Typed, tmp_path: Path) -> None:
    await stored(tmp_path)
    url = f"sqlite:///{tmp_path}/no/such/app.db"
    status, out, _ = in_a_thread(lambda: typed("forget", "acme", "--yes", "--synced", url))
    assert (status, "NOT all" in out, "run it again" in out) == (1, True, True)
    assert await left(tmp_path, "acme") == [False, False]
