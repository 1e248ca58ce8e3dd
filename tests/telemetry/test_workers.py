"""Counts of several processes in files: each once, whoever dies or stands still."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from cascada.telemetry import ledger, workers
from cascada.telemetry.ledger import CHUNK, NUMBER, Ledger, read
from cascada.telemetry.workers import Past, Workers

COLUMNS = {"type": ("hits", "misses"), "wide": tuple(f"c{each}" for each in range(100))}
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="who made a process is not known")


def in_a_child(work: Callable[[], Ledger], *, killed: bool = True) -> int:
    """Work of another process, which is killed after it; the process."""
    child = os.fork()
    if child == 0:
        try:
            kept = work()
            assert kept.name
        finally:
            os.kill(os.getpid(), signal.SIGKILL if killed else signal.SIGSTOP)
    os.waitpid(child, os.WUNTRACED)
    return child


def counting(folder: Path, name: str, hits: float, tenant: str = "acme") -> Callable[[], Ledger]:
    def work() -> Ledger:
        written = Ledger(folder, f"cache.{name}", COLUMNS)
        written.row("type", tenant, "x")[0] = hits
        return written

    return work


def summed(group: Workers) -> tuple[int, float]:
    with group.locked() as alone:
        alive, live, dead = group.others(None, alone=alone)
    rows = [row for key, row in (*live.items(), *dead.items()) if key[0] == "type"]
    return alive, sum(row[0] for row in rows)


def test_a_killed_process_is_moved_to_the_past_and_counted_once(tmp_path: Path) -> None:
    group = Workers(tmp_path, "cache", COLUMNS)
    in_a_child(counting(tmp_path, "1", 3))
    stopped = in_a_child(counting(tmp_path, "2", 4), killed=False)
    try:
        for _ in range(3):
            assert summed(group) == (1, 7)
        assert [path.name for path in tmp_path.glob("*.counts")] == ["cache.2.counts"]
        assert not (tmp_path / "cache.1.rows").exists()
    finally:
        os.kill(stopped, signal.SIGKILL)
        os.waitpid(stopped, 0)
    assert summed(group) == (0, 7)
    assert not [*tmp_path.glob("*.counts")]
    assert summed(group) == (0, 7)


def test_who_is_killed_between_the_two_steps_of_a_move_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_a_child(counting(tmp_path, "1", 3))
    monkeypatch.setattr(Workers, "delete", lambda self, name: None)
    assert summed(Workers(tmp_path, "cache", COLUMNS)) == (0, 3)
    assert summed(Workers(tmp_path, "cache", COLUMNS)) == (0, 3), (
        "it lies there still, and is in the past"
    )
    monkeypatch.undo()
    in_a_child(counting(tmp_path, "2", 4))
    assert summed(Workers(tmp_path, "cache", COLUMNS)) == (0, 7)
    assert not [*tmp_path.glob("*.counts")]


def test_who_stands_still_with_the_lock_keeps_nobody_from_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = Workers(tmp_path, "cache", COLUMNS)
    in_a_child(counting(tmp_path, "1", 3))
    assert summed(group) == (0, 3)
    in_a_child(counting(tmp_path, "2", 4))
    with (tmp_path / "cache.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        monkeypatch.setattr(workers, "PATIENCE", 0.01)
        assert summed(group) == (0, 7)
        assert (tmp_path / "cache.2.counts").exists(), "and moves nothing"
        move = Workers.version_of_past

        def moved_meanwhile(self: Workers) -> int:
            """Between the two looks, another one moves it."""
            monkeypatch.undo()
            found = move(self)
            self.others(None, alone=True)
            return found

        monkeypatch.setattr(Workers, "version_of_past", moved_meanwhile)
        assert summed(group) == (0, 7)


def test_other_caches_of_the_same_workers_are_not_theirs(tmp_path: Path) -> None:
    in_a_child(counting(tmp_path, "1", 3))
    assert summed(Workers(tmp_path, "other", COLUMNS)) == (0, 0)


def test_the_past_of_many_tenants_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "MAX_ROWS", 2)
    group = Workers(tmp_path, "cache", COLUMNS)
    for number in range(4):
        in_a_child(counting(tmp_path, str(number), 1, f"t{number}"))
    assert summed(group) == (0, 4)
    with group.locked():
        _, _, dead = group.others(None, alone=True)
    assert {key[1:] for key in dead} == {("t0", "x"), ("t1", "x"), ("other", "other")}


def test_rows_of_any_width_are_read_as_they_were_written(tmp_path: Path) -> None:
    written = Ledger(tmp_path, "cache.1", COLUMNS)
    several = 3 * CHUNK // (100 * NUMBER)
    for number in range(several):
        row = written.row("wide", str(number))
        row[0], row[99] = number, -number
        written.row("type", "acme", str(number))[1] = number
    found = read(tmp_path, "cache.1", COLUMNS)
    assert len(found) == 2 * several
    for number in range(several):
        assert found["wide", str(number)] == [number, *[0] * 98, -number]
        assert found["type", "acme", str(number)] == [0, number]


def test_what_was_half_written_is_no_row(tmp_path: Path) -> None:
    in_a_child(counting(tmp_path, "1", 3))
    with (tmp_path / "cache.1.rows").open("ab") as rows:
        rows.write(b'["type","half')
    assert read(tmp_path, "cache.1", COLUMNS) == {("type", "acme", "x"): [3, 0]}
    (tmp_path / "cache.1.rows").write_bytes(b"")
    assert read(tmp_path, "cache.1", COLUMNS) == {}


@pytest.mark.parametrize(
    "rows", [b"[]\n", b'{}\n["type"]\n', b'{"type":["hits"]}\nnone\n', b"\xff\n", b"{}\n[]\n"]
)
def test_what_somebody_else_wrote_is_refused(tmp_path: Path, rows: bytes) -> None:
    in_a_child(counting(tmp_path, "1", 3))
    (tmp_path / "cache.1.rows").write_bytes(rows)
    with pytest.raises(ValueError, match=r"."):
        read(tmp_path, "cache.1", COLUMNS)


def test_without_room_for_the_past_the_dead_stay_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = Workers(tmp_path, "cache", COLUMNS)
    in_a_child(counting(tmp_path, "1", 3))

    def no_room(path: Path, data: bytes) -> int:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_bytes", no_room)
    assert summed(group) == summed(group) == (0, 3)
    assert (tmp_path / "cache.1.counts").exists()


def test_workers_of_two_versions_are_added_by_what_they_count(tmp_path: Path) -> None:
    in_a_child(counting(tmp_path, "1", 3))
    newer = Workers(tmp_path, "cache", {"type": ("new", "misses", "hits")})
    for _ in range(2):
        with newer.locked():
            assert newer.others(None, alone=True)[2] == {("type", "acme", "x"): [0, 0, 3]}
    assert summed(Workers(tmp_path, "cache", COLUMNS)) == (0, 3), "and what one has moved"
    none = Workers(tmp_path, "cache", {"other": ("x",)})
    assert none.others(None, alone=False)[2] == {}


def test_names_hold_what_they_like(tmp_path: Path) -> None:
    odd = 'a\nb"\\ é \u2028 \x00'
    in_a_child(counting(tmp_path, "1", 3, odd))
    assert [*read(tmp_path, "cache.1", COLUMNS)] == [("type", odd, "x")]


def test_without_room_a_row_is_refused_and_nobody_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = Ledger(tmp_path, "cache.1", COLUMNS)
    monkeypatch.setattr(ledger.os, "pwrite", lambda *args: 1)
    with pytest.raises(OSError, match="no room"):
        written.row("type", "acme", "x")


def test_who_found_no_room_is_not_taken_for_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(what: object) -> bytes:
        raise OSError(errno.ENOSPC, "no room for its line, after there was some for its numbers")

    written = Ledger(tmp_path, "cache.1", COLUMNS)
    monkeypatch.setattr(ledger.msgspec.json, "encode", full)
    for _ in range(2):
        with pytest.raises(OSError, match="no room"):
            written.row("type", "acme", "x")
    monkeypatch.undo()
    child = os.fork()
    if child == 0:
        os._exit(summed(Workers(tmp_path, "cache", COLUMNS))[0])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1, "it lives, and holds its lock"
    assert written.row("type", "acme", "x").tolist() == [0, 0]


def test_a_process_that_a_shell_started_works_alone() -> None:
    # pytest's own parent is no pytest.
    assert workers.folder_of_group() is None


def test_workers_that_multiprocessing_has_started_belong_together(tmp_path: Path) -> None:
    """As uvicorn starts them: their command lines are not their maker's."""
    program = tmp_path / "program.py"
    program.write_text(
        "import multiprocessing, os\n"
        "from cascada.telemetry.makers import maker_of_this\n"
        "from cascada.telemetry.workers import folder_of_group\n"
        "def work(): print(maker_of_this(), folder_of_group() is not None, flush=True)\n"
        "if __name__ == '__main__':\n"
        "    print(os.getpid(), folder_of_group() is not None, flush=True)\n"
        "    process = multiprocessing.get_context('spawn').Process(target=work)\n"
        "    process.start(); process.join()\n",
        "utf-8",
    )
    done = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, check=True
    )
    maker, worker = done.stdout.splitlines()
    assert maker.split()[0] == worker.split()[0]
    assert (maker.split()[1], worker.split()[1]) == ("False", "True")


def test_rows_are_made_by_several_threads(tmp_path: Path) -> None:
    written = Ledger(tmp_path, "cache.1", COLUMNS)

    def make(thread: int) -> None:
        for number in range(300):
            written.row("type", str(thread), str(number))[0] = thread * 1000 + number

    threads = [threading.Thread(target=make, args=(each,)) for each in range(4)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    finally:
        sys.setswitchinterval(before)
    found = read(tmp_path, "cache.1", COLUMNS)
    assert len(found) == 1200
    assert all(row[0] == int(key[1]) * 1000 + int(key[2]) for key, row in found.items())


def test_folders_of_makers_that_are_gone_are_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "home_of_folders", lambda: tmp_path)
    space = workers.space()
    gone, elsewhere = tmp_path / f"{space}-1-999", tmp_path / "7-1-999"
    used = tmp_path / f"{space}-1-998"
    for folder in (gone, elsewhere, used):
        folder.mkdir()
    in_a_child(counting(gone, "1", 3))
    stopped = in_a_child(counting(used, "1", 3), killed=False)
    made: list[bool] = []
    try:
        monkeypatch.setattr(workers, "maker_of_this", os.getpid)
        mine = workers.folder_of_group()
        assert mine is not None
        assert mine.is_dir()
        assert not gone.exists()
        assert elsewhere.is_dir(), "another container's, of which nothing is known here"
        assert used.is_dir(), "its maker is gone, its worker is not"
        made.append(True)
    finally:
        os.kill(stopped, signal.SIGKILL)
        os.waitpid(stopped, 0)
    assert made


def test_a_folder_that_others_may_write_to_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        workers, "Path", lambda name: tmp_path if name == "/dev/shm" else Path(name)
    )
    home = workers.home_of_folders()
    assert home.parent == tmp_path
    assert home.stat().st_mode & 0o777 == 0o700
    home.chmod(0o777)
    with pytest.raises(PermissionError, match="alone"):
        workers.home_of_folders()


def test_the_past_is_read_by_others_who_write_it(tmp_path: Path) -> None:
    group = Workers(tmp_path, "cache", COLUMNS)
    assert group.past_of_dead() == Past()
    assert group.state() == {}
    with group.locked():
        group.keep({"scrape": b"state"})
    assert group.state() == {"scrape": b"state"}


def test_who_is_forked_during_a_scrape_keeps_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = Workers(tmp_path, "cache", COLUMNS)
    monkeypatch.setattr(workers, "PATIENCE", 0.01)
    with group.locked():
        child = os.fork()
        if child == 0:
            signal.pause()
    try:
        with group.locked() as alone:
            assert alone
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
