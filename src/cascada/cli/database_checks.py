"""What `cascada doctor` looks at of a cache database: a file of SQLite's, and where it lies.

A file that is there is opened, never made, and nothing is written into it; where there is none yet,
an empty one with the doctor's name is made beside its place and removed.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import quote

from cascada.api.urls import DATABASE, sqlite_path
from cascada.cli.findings import Finding
from cascada.cli.journal_checks import MOST_KEYS, Held, Waiting
from cascada.model.clock import SystemClock
from cascada.model.door.secret import Url
from cascada.model.limits import Limits
from cascada.tiers.sqlite.schema import APPLICATION_ID, LAYOUT

PATIENCE: Final = 1.0
"""Seconds that another process's transaction is waited for."""

_CHECK: Final = "database"
_NETWORK: Final = frozenset({
    "9p", "afs", "ceph", "cifs", "fuse.glusterfs", "fuse.sshfs", "gfs2", "glusterfs", "lustre",
    "ncpfs", "nfs", "nfs4", "smb3", "smbfs",
})  # fmt: skip
_JOURNALS: Final = """
SELECT j.name, (SELECT count(*) FROM changes c WHERE c.journal = j.id),
       (SELECT min(c.number) FROM changes c WHERE c.journal = j.id),
       (SELECT count(*) FROM aside a WHERE a.journal = j.id)
FROM journals j WHERE j.namespace = ? ORDER BY j.name
"""
_KEYS: Final = (
    "SELECT tenant, wrapped FROM wrapped_keys WHERE namespace = ? ORDER BY tenant LIMIT ?"
)
_UNWRITABLE: Final = "let the service's user write to the file and its folder, or name another one"


def database_findings(url: Url, limits: Limits) -> Iterator[Finding]:
    """All that is found about the database that a URL names."""
    name = sqlite_path(url)
    if name is None:
        yield Finding(
            _CHECK, "fail", f"{url!r} names no file of an SQLite database",
            f"set CACHE_DATABASE_URL to {DATABASE}",
        )  # fmt: skip
        return
    path = Path(name)
    try:
        found = _opened(path) if path.exists() else to_be_made(path)
    except OSError as error:
        found = Finding(_CHECK, "fail", f"{path} cannot be reached: {error.strerror}", _UNWRITABLE)
    yield found
    if found.status == "fail":
        return
    yield _permissions(path)
    yield _place(path)
    yield _room(path, limits)


def held_in(url: Url, namespace: str) -> Held | None:
    """The journals and tenants' keys of a namespace; None if nobody can tell."""
    path = Path(sqlite_path(url) or "")
    if not path.is_file():
        return Held()
    try:
        with closing(connected(path)) as connection:
            rows = connection.execute(_JOURNALS, (namespace,)).fetchall()
            keys = connection.execute(_KEYS, (namespace, MOST_KEYS + 1)).fetchall()
    except sqlite3.Error:
        return None
    now = SystemClock().time()
    journals = [
        Waiting(name, changes, max(0.0, now - (oldest or 0) / 1e6) if changes else 0.0, aside)
        for name, changes, oldest, aside in rows
    ]
    sound = {tenant: key for tenant, key in keys[:MOST_KEYS] if isinstance(key, bytes)}
    return Held(journals, sound, len(keys) <= MOST_KEYS)


def connected(path: Path) -> sqlite3.Connection:
    """To a file that is there; sqlite3.Error."""
    where = f"file:{quote(str(path.absolute()))}?mode=rw"
    return sqlite3.connect(where, uri=True, timeout=PATIENCE, isolation_level=None)


def to_be_made(path: Path, check: str = _CHECK) -> Finding:
    """Whether a file that is not there yet can be made."""
    probe = path.with_name(f".{path.name}.doctor-{os.getpid()}")
    try:
        probe.touch(exist_ok=False)
    except OSError as error:
        return Finding(
            check, "fail", f"{path} is not there and cannot be made: {error.strerror}", _UNWRITABLE
        )
    probe.unlink()
    return Finding(check, "ok", f"{path} is not there yet, and can be made")


def _opened(path: Path) -> Finding:
    if not os.access(path.parent, os.W_OK | os.X_OK):
        return Finding(_CHECK, "fail", f"the folder of {path} is not writable", _UNWRITABLE)
    try:
        with closing(connected(path)) as connection:
            ((ours,),) = connection.execute("PRAGMA application_id").fetchall()
            ((layout,),) = connection.execute("PRAGMA user_version").fetchall()
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        return _refused(path, error)
    if ours != APPLICATION_ID and path.stat().st_size > 0:
        return Finding(
            _CHECK, "fail", f"{path} is a database of another program",
            "set CACHE_DATABASE_URL to a file of cascada's own",
        )  # fmt: skip
    if layout not in (0, LAYOUT):
        return Finding(
            _CHECK, "fail", f"{path} has layout {layout}, and this version has {LAYOUT}",
            "use one version of cascada, or a file for each",
        )  # fmt: skip
    return Finding(_CHECK, "ok", f"{path} can be read and written")


def _refused(path: Path, error: sqlite3.Error) -> Finding:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_BUSY:
        return Finding(
            _CHECK, "warn", f"{path} was locked for {PATIENCE:.0f} s by another process",
            "find who holds a transaction on it for so long",
        )  # fmt: skip
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return Finding(
            _CHECK, "fail", f"{path} is no sound database: {error}",
            "delete it (it is a cache), or name another file",
        )  # fmt: skip
    return Finding(_CHECK, "fail", f"{path} cannot be written: {error}", _UNWRITABLE)


def _permissions(path: Path) -> Finding:
    """Whether users of this machine that are not the service's get at what it holds."""
    check = "database permissions"
    files = [each for end in ("", "-wal", "-shm") if (each := Path(f"{path}{end}")).exists()]
    folders = (path.absolute().parent, *path.absolute().parent.parents)
    reached = all(each.stat().st_mode & stat.S_IXOTH for each in folders)
    modes = [each.stat().st_mode for each in files] if reached else []
    found = f"any user of this machine may {{}} what {path} holds"
    cure = f"chmod o= {path}*, and let the service begin with umask 0077"
    if any(mode & stat.S_IWOTH for mode in modes):
        return Finding(check, "fail", found.format("change"), cure)
    if any(mode & stat.S_IROTH for mode in modes):
        return Finding(check, "warn", found.format("read"), cure)
    return Finding(check, "ok", "no other user of this machine gets at it")


def _place(path: Path) -> Finding:
    check = "database place"
    kind = _kind_of_disk(path)
    if kind in _NETWORK:
        return Finding(
            check, "fail", f"{path} lies on a network drive ({kind}), where its locks do not hold",
            "put it on a disk of this machine; Redis joins the machines",
        )  # fmt: skip
    if kind in ("tmpfs", "ramfs"):
        return Finding(
            check, "warn", f"{path} lies in memory ({kind}), and is gone after a restart",
            "put it on a disk, since it keeps what Redis could not be told",
        )  # fmt: skip
    return Finding(check, "ok", f"it lies on a disk of this machine ({kind})")


def _kind_of_disk(path: Path) -> str:
    """The file system that a path is on; "unknown" where nobody tells."""
    best, kind = "", "unknown"
    try:
        lines = Path("/proc/self/mountinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return kind
    target = str(path.absolute().parent.resolve())
    for line in lines:
        before, _, after = line.partition(" - ")
        mount = before.split()[4].replace("\\040", " ")
        inside = mount == "/" or target == mount or target.startswith(f"{mount}/")
        if inside and len(mount) >= len(best):
            best, kind = mount, after.split()[0]
    return kind


def _room(path: Path, limits: Limits) -> Finding:
    check, most = "database room", limits.l3_bytes
    size = path.stat().st_size if path.exists() else 0
    free = shutil.disk_usage(path.absolute().parent).free
    found = (
        f"it may grow to {most / 2**20:.0f} MiB and has {size / 2**20:.0f}; "
        f"{free / 2**20:.0f} MiB of its disk are free"
    )
    if free < most - size:
        return Finding(
            check, "warn", found, "let it hold less (L3_CACHE_SIZE_MB), or give it a larger disk"
        )
    return Finding(check, "ok", found)
