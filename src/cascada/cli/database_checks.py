"""What `cascada doctor` looks at of a cache database: a file of SQLite's, and where it lies.

A file that is there is opened, never made, and nothing is written into it; where there is none yet,
an empty one with the doctor's name is made beside its place and removed.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import quote

from cascada.api.urls import DATABASE, sqlite_path
from cascada.cli.findings import Finding
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
        found = _opened(path) if path.exists() else _to_be_made(path)
    except OSError as error:
        found = Finding(_CHECK, "fail", f"{path} cannot be reached: {error.strerror}", _UNWRITABLE)
    yield found
    if found.status == "fail":
        return
    yield _place(path)
    yield _room(path, limits)


def _to_be_made(path: Path) -> Finding:
    probe = path.with_name(f".{path.name}.doctor-{os.getpid()}")
    try:
        probe.touch(exist_ok=False)
    except OSError as error:
        return Finding(
            _CHECK, "fail", f"{path} is not there and cannot be made: {error.strerror}", _UNWRITABLE
        )
    probe.unlink()
    return Finding(_CHECK, "ok", f"{path} is not there yet, and can be made")


def _opened(path: Path) -> Finding:
    if not os.access(path.parent, os.W_OK | os.X_OK):
        return Finding(_CHECK, "fail", f"the folder of {path} is not writable", _UNWRITABLE)
    try:
        where = f"file:{quote(str(path.absolute()))}?mode=rw"
        with closing(
            sqlite3.connect(where, uri=True, timeout=PATIENCE, isolation_level=None)
        ) as connection:
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
