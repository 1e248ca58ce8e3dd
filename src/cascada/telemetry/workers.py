"""The workers of one service on this host: where their counts lie, and their sum.

Each worker has a `Ledger` in the folder of its maker; who is scraped adds all of them up. What a
dead one has counted is moved to `<name>.past`, so that nothing is ever lost or counted twice,
whoever is killed on the way:

- `past` is replaced by a rename, and names the ledgers that it holds; only then do these go. Who
  finds one of them later deletes it and adds nothing.
- One process at a time does that, by a lock. Whoever does not get it in time (its holder may stand
  still) reads only, and once more if `past` was replaced meanwhile.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from cascada.telemetry.ledger import Columns, Numbers, add, in_order, read
from cascada.telemetry.makers import maker_of_this, space, started

PATIENCE: Final = 1.0
"""Seconds that a scrape waits for the lock of another."""

MAX_ROWS: Final = 20_000
"""Rows of dead workers that are kept apart. Each worker may have met other tenants: what comes
later is added up as `other`."""

OTHER: Final = "other"

_PAUSE: Final = 0.002


class Past(msgspec.Struct):
    """What dead workers have counted, and whose ledgers that was: they may still lie there."""

    columns: dict[str, list[str]] = {}
    rows: list[tuple[tuple[str, ...], list[float]]] = []
    holds: list[str] = []


class Workers:
    """The folder of one group of workers; `name` tells this cache from the others in it."""

    def __init__(self, folder: Path, name: str, columns: Columns) -> None:
        self.folder = folder
        self.name = name
        self.columns = columns
        self._past = folder / f"{name}.past"
        self._state = folder / f"{name}.state"

    @property
    def group(self) -> str:
        """What tells this group from all others."""
        return self.folder.name

    @contextmanager
    def locked(self, *, wait: bool = True) -> Iterator[bool]:
        """Be the only one who scrapes; False if that took too long. It blocks for so long."""
        with (self.folder / f"{self.name}.lock").open("ab") as lock:
            for _ in range(round(PATIENCE / _PAUSE) if wait else 1):
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    time.sleep(_PAUSE if wait else 0)
                else:
                    try:
                        yield True
                    finally:
                        # A process that was forked meanwhile has the file, too: to close it here
                        # would leave the lock to that one.
                        fcntl.flock(lock, fcntl.LOCK_UN)
                    return
            yield False

    def others(self, own: str | None, *, alone: bool) -> tuple[int, Numbers, Numbers]:
        """How many others live; what they have counted; what the dead have.

        own: this process's ledger, which is not read. alone: whether `locked` said so.
        """
        while True:
            before = self.version_of_past()
            past = self.past_of_dead()
            dead = in_order(dict(past.rows), past.columns, self.columns)
            live, gone, alive = Numbers(), [], 0
            for path in sorted(self.folder.glob(f"{self.name}.*.counts")):
                name = path.name.removesuffix(".counts")
                if name == own:
                    continue
                with suppress(FileNotFoundError):  # moved to `past` meanwhile
                    if name in past.holds:
                        if alone:
                            self.delete(name)
                    elif _is_dead(path):
                        _add_bounded(dead, read(self.folder, name, self.columns))
                        gone.append(name)
                    else:
                        add(live, read(self.folder, name, self.columns))
                        alive += 1
            if alone and gone:
                columns = {kind: [*names] for kind, names in self.columns.items()}
                with suppress(OSError):  # no room: they stay where they are
                    self._write(self._past, Past(columns, [*dead.items()], gone))
                    for name in gone:
                        self.delete(name)
            elif not alone and self.version_of_past() != before:
                continue
            return alive, live, dead

    def state(self) -> dict[str, bytes]:
        """What scrapes have left for the next one, by whomever."""
        with suppress(FileNotFoundError):
            return msgspec.msgpack.decode(self._state.read_bytes(), type=dict[str, bytes])
        return {}

    def keep(self, state: dict[str, bytes]) -> None:
        """Leave something for the next scrape; only while `locked`."""
        self._write(self._state, state)

    def past_of_dead(self) -> Past:
        try:
            return msgspec.msgpack.decode(self._past.read_bytes(), type=Past)
        except FileNotFoundError:
            return Past()

    def version_of_past(self) -> tuple[int, int]:
        """Another one for each `past`: disks use the numbers of files again."""
        try:
            found = self._past.stat()
        except FileNotFoundError:
            return 0, 0
        return found.st_ino, found.st_mtime_ns

    def _write(self, path: Path, what: object) -> None:
        fresh = path.with_name(f".{path.name}.new")
        fresh.write_bytes(msgspec.msgpack.encode(what))
        fresh.replace(path)

    def delete(self, name: str) -> None:
        for path in (self.folder / f"{name}.counts", self.folder / f"{name}.rows"):
            path.unlink(missing_ok=True)


def _add_bounded(dead: Numbers, more: Numbers) -> None:
    for key, row in more.items():
        if key not in dead and len(dead) >= MAX_ROWS:
            key = (key[0], *[OTHER] * (len(key) - 1))
        add(dead, {key: row})


def _is_dead(counts: Path) -> bool:
    """Whether nobody holds the lock of this ledger."""
    with counts.open("r+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return False
        return True


def folder_of_group() -> Path | None:
    """The folder of the workers that this process is one of; None if it works alone.

    OSError if it cannot be had.
    """
    if (maker := maker_of_this()) is None:
        return None
    home = home_of_folders()
    folder = home / f"{space()}-{maker}-{started(maker)}"
    if not folder.is_dir():
        _sweep(home)
        folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def home_of_folders() -> Path:
    """This user's folder of folders. In memory, if there is such a place: it is mapped, and a disk
    may make whoever writes to it wait."""
    memory = Path("/dev/shm")
    base = memory
    if not os.access(memory, os.W_OK | os.X_OK):
        import tempfile  # nor is this read by a process that works alone

        base = Path(tempfile.gettempdir())
    home = base / f"cascada-{os.getuid()}"
    with suppress(FileExistsError):
        home.mkdir(mode=0o700)
    found = home.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise PermissionError(f"{home} is not this user's alone")
    return home


def _sweep(home: Path) -> None:
    """Delete the folders of makers that are gone, if no worker of theirs is left."""
    import shutil  # with all kinds of archives, which nobody has here

    for folder in home.iterdir():
        namespace, _, rest = folder.name.partition("-")
        maker, _, began = rest.partition("-")
        if namespace != space() or not maker.isdigit():
            continue  # of a container that shares this place: nobody here knows
        with suppress(OSError):
            if started(int(maker)) == began:
                continue
        with suppress(OSError):
            if all(map(_is_dead, folder.glob("*.counts"))):
                shutil.rmtree(folder, ignore_errors=True)
