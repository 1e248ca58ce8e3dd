"""`cascada doctor` on a machine: too little memory, and databases that cannot be used."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from cascada import Cache, Limits
from cascada.cli import database_checks, host_checks
from cascada.cli.database_checks import database_findings
from cascada.model.door.secret import Url
from tests.cli.conftest import Doctor


def test_more_memory_than_there_is(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    there, _ = host_checks.memory_limit()
    monkeypatch.setenv("L1_CACHE_SIZE_MB", str(there // 2**20 // 2 + 1))
    status, text = doctor()("memory of workers")
    assert status == "fail"
    assert "2 workers x " in text
    assert "L1_CACHE_SIZE_MB" in text
    monkeypatch.setenv("L1_CACHE_SIZE_MB", str(there // 2**20 // 4 + 1))
    assert doctor()("memory of workers")[0] == "warn"
    monkeypatch.setenv("L1_CACHE_SIZE_MB", "50")
    (tmp_path / "memory.max").write_text(f"{80 * 2**20}\n")
    monkeypatch.setattr(host_checks, "CGROUPS", tmp_path)
    status, text = doctor()("memory of workers")
    assert status == "fail"
    assert "80 MiB of its control group" in text


@pytest.mark.parametrize("there", [False, True])
def test_a_database_that_cannot_be_written(there: bool) -> None:
    """Looked at by a process that is not root's, to which nothing is forbidden."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "cache.db")
        if there:
            with closing(sqlite3.connect(file)) as made:
                made.execute("CREATE TABLE t (x)")
        Path(folder).chmod(0o555)
        told, tell = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                if os.getuid() == 0:
                    os.setuid(65534)
                found = [*database_findings(Url(str(file)), Limits())]
                os.write(tell, json.dumps(found).encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        ((check, status, what, cure),) = json.loads(os.read(told, 65536))
        os.close(told)
        os.close(tell)
        Path(folder).chmod(0o755)
    assert (check, status) == ("database", "fail")
    assert ("not writable" if there else "cannot be made") in what
    assert "write" in cure


def test_databases_that_are_none(doctor: Doctor, tmp_path: Path) -> None:
    file = tmp_path / "cache.db"
    file.write_bytes(b"a picture of a cat" * 100)
    assert doctor()("database")[0] == "fail"
    file.unlink()
    with closing(sqlite3.connect(file)) as made:
        made.execute("CREATE TABLE somebody (s TEXT)")
    status, text = doctor()("database")
    assert status == "fail"
    assert "another program" in text
    file.unlink()
    (tmp_path / "file").touch()
    assert doctor("--database", tmp_path / "file" / "cache.db")("database")[0] == "fail"
    assert doctor("--database", tmp_path / "nowhere" / "cache.db")("database")[0] == "fail"
    assert doctor("--database", tmp_path)("database")[0] == "fail"
    assert doctor("--database", "postgresql://u:hunter2@h/d")("database")[0] == "fail"


async def test_a_database_in_use(
    doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Cache(database=str(tmp_path / "cache.db")) as cache:
        await cache.tenant("acme").set("x", "1", "value")
        monkeypatch.setattr(database_checks, "PATIENCE", 0.01)
        assert doctor()("database")[0] == "ok"
        with closing(sqlite3.connect(tmp_path / "cache.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            status, text = doctor()("database")
            assert status == "warn"
            assert "locked" in text
            other.execute("ROLLBACK")
        with closing(sqlite3.connect(tmp_path / "cache.db")) as other:
            other.execute("PRAGMA user_version = 99")
        status, text = doctor()("database")
        assert status == "fail"
        assert "layout 99" in text
