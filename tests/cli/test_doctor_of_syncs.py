"""`cascada doctor --synced URL`: can a sync write there? On real databases, set up either way."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from cascada.cli import sync_checks
from cascada.service.sync import databases
from cascada.service.sync.databases import opened
from cascada.service.sync.target import Target
from tests.cli.conftest import Doctor

CHECK = "sync database"


async def asked(url: str, *statements: str) -> None:
    engine = opened(url)
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        for sql in statements:
            await connection.exec_driver_sql(sql)
    await engine.dispose()


async def made(url: str) -> None:
    """The tables, as a sync makes them."""
    service = Target(url, namespace="cascada", service="default")
    await service.begin()
    await service.aclose()


@pytest.fixture
def database(postgres: str) -> Iterator[str]:
    """A database of this test's own, with the user `app`, who may connect and no more."""
    asyncio.run(
        asked(
            f"{postgres}/postgres",
            "DROP DATABASE IF EXISTS doctors", "CREATE DATABASE doctors",
            "DROP ROLE IF EXISTS app", "CREATE ROLE app LOGIN PASSWORD 'hunter2'",
        )
    )  # fmt: skip
    yield f"{postgres}/doctors"
    asyncio.run(
        asked(f"{postgres}/postgres", "DROP DATABASE doctors WITH (FORCE)", "DROP ROLE app")
    )


def as_app(url: str) -> str:
    return url.replace("postgres@", "app:hunter2@")


def test_rights_in_postgres(doctor: Doctor, database: str) -> None:
    app = as_app(database)

    def look(url: str, *statements: str) -> tuple[str, str]:
        asyncio.run(asked(database, *statements))
        said = doctor("--synced", url)
        assert "hunter2" not in said.text
        return said(CHECK)

    status, text = look(app)
    assert (status, "may not make them" in text) == ("fail", True)
    assert look(app, "GRANT CREATE ON DATABASE doctors TO app")[0] == "ok"
    asyncio.run(made(database))
    status, text = look(app)
    assert (status, "may not use the schema" in text) == ("fail", True), text
    status, text = look(app, "GRANT USAGE ON SCHEMA cascada TO app")
    assert (status, 'may not write to "cascada"."service_entries"' in text) == ("fail", True)
    rights = "GRANT {} ON ALL TABLES IN SCHEMA cascada TO app"
    status, text = look(app, rights.format("SELECT, INSERT, UPDATE"))
    assert status == "fail", "rows go again: what was removed long ago, and whom forget names"
    status, text = look(app, rights.format("DELETE"))
    assert (status, "may write" in text) == ("ok", True)
    status, text = look(app, "ALTER ROLE app SET default_transaction_read_only = on")
    assert (status, "takes no writes" in text) == ("fail", True)
    assert look(database)[0] == "ok"


def test_a_database_that_is_not_there(doctor: Doctor, postgres: str) -> None:
    status, text = doctor("--synced", f"{postgres}/nowhere")(CHECK)
    assert (status, "nowhere" in text) == ("fail", True)
    said = doctor("--synced", "postgresql://app:hunter2@127.0.0.1:1/app")
    assert said(CHECK)[0] == "fail"
    assert "hunter2" not in said.text


@contextmanager
def silent() -> Iterator[int]:
    """A server that takes connections and says nothing."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_one_that_stands_still_is_waited_for_only_so_long(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_checks, "PATIENCE", 0.2)
    monkeypatch.setattr(databases, "CONNECT", 30.0)
    with silent() as port:
        status, text = doctor("--synced", f"postgresql://app:hunter2@127.0.0.1:{port}/app")(CHECK)
    assert (status, text.startswith("timeout: ")) == ("fail", True)


def test_a_file(doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "app.db"
    url = f"sqlite:///{file}"
    status, text = doctor("--synced", url)(CHECK)
    assert (status, file.exists()) == ("ok", False), text
    with closing(sqlite3.connect(file)) as there:
        there.execute("CREATE TABLE campaigns (id TEXT)")
    assert "made at the first start" in doctor("--synced", url)(CHECK)[1]
    monkeypatch.setenv("CASCADA_SYNC_DATABASE", url)
    assert "made at the first start" in doctor()(CHECK)[1], "as the services have it"
    asyncio.run(made(url))
    status, text = doctor("--synced", url)(CHECK)
    assert (status, "has its tables" in text) == ("ok", True)
    file.write_bytes(b"a picture of a cat" * 100)
    assert doctor("--synced", url)(CHECK)[0] == "fail"
    assert doctor("--synced", f"sqlite:///{tmp_path}/no/app.db")(CHECK)[0] == "fail"


def test_a_file_that_somebody_holds(
    doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "CONNECT", 0.05)
    with closing(sqlite3.connect(tmp_path / "app.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("CREATE TABLE t (x)")
        status, text = doctor("--synced", f"sqlite:///{tmp_path}/app.db")(CHECK)
    assert status == "fail"
    assert "lock" in text


@pytest.mark.parametrize("url", ["mysql://u:hunter2@h/d", "nonsense", "postgresql"])
def test_what_is_no_such_url(doctor: Doctor, url: str) -> None:
    said = doctor("--synced", url)
    assert said(CHECK)[0] == "fail"
    assert "hunter2" not in said.text
