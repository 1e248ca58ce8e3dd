"""The cache database's layout, and how a connection to it is made.

Every process may open the file at any moment, so whatever is found missing is made inside one write
transaction that looks again first. A column `q` is a seq. Layout 1:

- `meta`, one row. `q` is the number of the latest invalidation of all; `born` is where this
  database's numbers begin, or where what it has forgotten ends; of those up to `lost` the feed can
  no longer tell the names.
- `tenants`: `q` is the number of that tenant's latest invalidation. Whatever is older than `floor`
  is void. `sweep` is the floor that a sweep under way works towards. `bytes` is the sum of its
  rows' sizes, by which it is told who makes room (`pruning`).
- `entries`: the envelope, the seq from before the source was read, and all names it bears.
- `tombstones`: the latest seq of each invalidated name. The greatest version that its key ever had
  is kept with it, for when the row itself is gone. `at` is when that was, unless by a `set`.
- `counts`: how many rows bear a name and are not older than its tombstone. For answers to the
  caller only, no rule of coherence leans on it.
- `outbox`: names that a tier above could not be told.
- `counters`, `lists`, `items`: data (`datastore`), which neither `renew` nor the upkeep touches.
  They came after the first files of layout 1, and older versions do not mind them.
- `spared`: the types of which nothing is kept, by namespace (`sparing`).
- `ends`: when those counters end that have a ttl. Upkeep removes what has ended. It came later
  still: to an older version they go on counting.
- `applied`: of a key that was written behind, the journal's number of its latest change, and the
  seq of the tombstone that this has left, and of the one that was there. It goes with them.
- `journals`: by name the last number, and how many changes wait or were set aside, and their bytes
  (`journal`). `changes`: what waits, the latest of each key; `q` is that of its entry, which has
  the same names. `aside`: what could not be written, and why.
- `wrapped_keys`: by which tenants' values are sealed (`tiers.sealing`); the upkeep leaves them.

Last came the sums of tenants (`_SHARES`); what an older version stores meanwhile is not in them.

Numbers are drawn from one counter for all tenants, and a database counts from a random place
(`beginning`). A lease or a feed position of a deleted, replaced or restored database is therefore
outside `born..q` of the one that is there now, and nothing else is needed to recognise it.
(`docs/protocol.md` rule 38.)
"""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cascada.model.clock import Clock
from cascada.model.errors import TierUnavailable

LAYOUT: Final = 1
APPLICATION_ID: Final = 0x63736364  # "cscd" in the file's header: whose file this is

_TABLES: Final = (
    "CREATE TABLE meta (born INTEGER, q INTEGER, lost INTEGER, inode TEXT,"
    " entries INTEGER, bytes INTEGER, evictions INTEGER)",
    "CREATE TABLE tenants (id INTEGER PRIMARY KEY, namespace TEXT NOT NULL, tenant TEXT NOT NULL,"
    " q INTEGER NOT NULL, floor INTEGER NOT NULL, tombstones INTEGER NOT NULL,"
    " sweep INTEGER NOT NULL, UNIQUE (namespace, tenant))",
    "CREATE INDEX tenants_by_q ON tenants (namespace, q)",
    "CREATE INDEX tenants_to_sweep ON tenants (sweep) WHERE sweep > 0",
    "CREATE TABLE entries (id INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, key TEXT NOT NULL,"
    " q INTEGER NOT NULL, expires REAL NOT NULL, used INTEGER NOT NULL, priority INTEGER NOT NULL,"
    " size INTEGER NOT NULL, version INTEGER, names TEXT NOT NULL, envelope BLOB NOT NULL,"
    " UNIQUE (tenant, key))",
    "CREATE INDEX entries_by_q ON entries (tenant, q)",
    "CREATE INDEX entries_by_expiry ON entries (expires) WHERE expires < 1e300",
    "CREATE TABLE tombstones (tenant INTEGER, name TEXT, q INTEGER NOT NULL, version INTEGER,"
    " at REAL, PRIMARY KEY (tenant, name)) WITHOUT ROWID",
    "CREATE INDEX tombstones_by_q ON tombstones (tenant, q)",
    "CREATE TABLE counts (tenant INTEGER, name TEXT, rows INTEGER NOT NULL,"
    " PRIMARY KEY (tenant, name)) WITHOUT ROWID",
    # Numbers are never used again: another process may still be about to delete what it has sent.
    "CREATE TABLE outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, namespace TEXT NOT NULL,"
    " names TEXT NOT NULL)",
)

_ADDED: Final = (
    "CREATE TABLE IF NOT EXISTS counters (namespace TEXT, name TEXT, value INTEGER NOT NULL,"
    " PRIMARY KEY (namespace, name)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS lists (id INTEGER PRIMARY KEY, namespace TEXT NOT NULL,"
    " name TEXT NOT NULL, head INTEGER NOT NULL, tail INTEGER NOT NULL, UNIQUE (namespace, name))",
    "CREATE TABLE IF NOT EXISTS items (list INTEGER NOT NULL, position INTEGER NOT NULL,"
    " item BLOB NOT NULL, UNIQUE (list, position))",
    "CREATE TABLE IF NOT EXISTS ends (namespace TEXT, name TEXT, at REAL NOT NULL,"
    " PRIMARY KEY (namespace, name)) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS ends_by_time ON ends (at)",
    "CREATE TABLE IF NOT EXISTS spared (namespace TEXT, data_type TEXT,"
    " PRIMARY KEY (namespace, data_type)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS applied (tenant INTEGER, key TEXT, number INTEGER NOT NULL,"
    " q INTEGER NOT NULL, ended INTEGER NOT NULL, PRIMARY KEY (tenant, key)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS journals (id INTEGER PRIMARY KEY, namespace TEXT NOT NULL,"
    " name TEXT NOT NULL, number INTEGER NOT NULL, changes INTEGER NOT NULL,"
    " bytes INTEGER NOT NULL, UNIQUE (namespace, name))",
    "CREATE TABLE IF NOT EXISTS changes (journal INTEGER NOT NULL, number INTEGER NOT NULL,"
    " key TEXT NOT NULL, tenant INTEGER NOT NULL, q INTEGER NOT NULL, put INTEGER NOT NULL,"
    " claimed REAL NOT NULL, size INTEGER NOT NULL, names TEXT NOT NULL, envelope BLOB NOT NULL,"
    " UNIQUE (journal, number), UNIQUE (journal, key))",
    "CREATE INDEX IF NOT EXISTS changes_by_tenant ON changes (tenant, q)",
    "CREATE TABLE IF NOT EXISTS aside (journal INTEGER NOT NULL, number INTEGER NOT NULL,"
    " key TEXT NOT NULL, tenant INTEGER NOT NULL, q INTEGER NOT NULL, put INTEGER NOT NULL,"
    " size INTEGER NOT NULL, names TEXT NOT NULL, envelope BLOB NOT NULL, why TEXT NOT NULL,"
    " UNIQUE (journal, key))",
    "CREATE TABLE IF NOT EXISTS wrapped_keys (namespace TEXT, tenant TEXT, wrapped BLOB NOT NULL,"
    " PRIMARY KEY (namespace, tenant)) WITHOUT ROWID",
)

SIZES: Final = (
    "UPDATE tenants SET bytes ="
    " coalesce((SELECT sum(e.size) FROM entries e WHERE e.tenant = tenants.id), 0)"
)
"""The sums of tenants, from their rows."""

_SHARES: Final = (
    "ALTER TABLE tenants ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0",
    SIZES,
    "CREATE INDEX tenants_by_bytes ON tenants (bytes)",
    "DROP INDEX IF EXISTS entries_by_use",
    "CREATE INDEX entries_by_share ON entries (tenant, priority > 0, used)",
)
"""For files that were made before; of a new one they are its last statements."""

_HAS_SHARES: Final = "SELECT 1 FROM sqlite_schema WHERE name = 'entries_by_share'"
_LATER: Final = (
    "SELECT count(*) FROM sqlite_schema WHERE name IN"
    " ('lists', 'items', 'counters', 'ends', 'applied', 'spared', 'entries_by_share', 'aside',"
    " 'wrapped_keys')"
)

KILLER: Final = (
    "CASE WHEN e.q >= t.q THEN NULL WHEN NOT json_valid(e.names) THEN ''"
    " ELSE (SELECT d.name FROM json_each(e.names) n CROSS JOIN tombstones d"
    " ON d.tenant = e.tenant AND d.name = n.value WHERE d.q > e.q LIMIT 1) END"
)
"""SQL: the name whose tombstone voids entry `e` of tenant `t`, NULL for none, '' for damage.

A row that has seen the tenant's latest invalidation needs no look at its names. CROSS JOIN is an
order to the planner, which would else read all of the tenant's tombstones.
"""


def connect(path: Path, timeout: float) -> sqlite3.Connection:
    """A connection in autocommit mode, to be used by one thread at a time."""
    connection = sqlite3.connect(
        path, timeout=timeout, isolation_level=None, check_same_thread=False
    )
    try:
        _use_wal(connection, path)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA journal_size_limit = 67108864")
        # What is deleted is overwritten: by `erasing`, and whoever does the rest of it.
        connection.execute("PRAGMA secure_delete = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def prepare(connection: sqlite3.Connection, path: Path, inode: str, clock: Clock) -> None:
    """See that the file is ours, of a layout we know, and still where its numbers were drawn."""
    if _is_current(connection, path, inode):
        return
    with writing(connection):
        # Looked at again under the write lock: another process may have been faster.
        if _is_current(connection, path, inode):
            return
        for statement in _ADDED:
            connection.execute(statement)
        if layout_of(connection) == 0:
            for statement in _TABLES:
                connection.execute(statement)
            first = beginning(clock, 0)
            connection.execute(
                "INSERT INTO meta VALUES (?, ?, ?, ?, 0, 0, 0)", (first, first, first, inode)
            )
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {LAYOUT}")
        elif connection.execute("SELECT inode FROM meta").fetchone() != (inode,):
            renew(connection, clock)
            connection.execute("UPDATE meta SET inode = ?", (inode,))
        if connection.execute(_HAS_SHARES).fetchone() is None:
            for statement in _SHARES:
                connection.execute(statement)


def renew(connection: sqlite3.Connection, clock: Clock) -> None:
    """Void all rows and leases of a database that came back from the past.

    A copy or a restored snapshot does not know what was invalidated since it was made. Raising the
    floors voids everything at once; the sweep then removes the rows little by little.
    """
    last = connection.execute("SELECT q FROM meta").fetchone()[0]
    first = beginning(clock, last)
    connection.execute("UPDATE meta SET born = ?, q = ?, lost = ?", (first, first, first))
    connection.execute("UPDATE tenants SET q = ?, floor = ?, sweep = ?", (first, first, first))
    connection.execute("DELETE FROM counts")


def beginning(clock: Clock, last: int) -> int:
    """Where a database that has counted up to `last` begins to count anew.

    Later ones begin higher as a rule, because of the time; those of one moment differ by chance.
    A step of 2**30 leaves room for what a lost future may have counted after `last`.
    """
    return max(int(clock.time()) << 30, last + (1 << 30)) + random.getrandbits(30)


def layout_of(connection: sqlite3.Connection) -> int:
    layout: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return layout


def inode_of(path: Path) -> str | None:
    """Which file the path leads to now, or None for no file."""
    try:
        return str(os.stat(path).st_ino)
    except FileNotFoundError:
        return None


_GLANCE: Final = 8  # milliseconds, of which SQLite makes three looks


@contextmanager
def writing(connection: sqlite3.Connection) -> Iterator[None]:
    """A write transaction; it is rolled back when its block raises, or the commit itself."""
    ((patience,),) = connection.execute("PRAGMA busy_timeout").fetchall()
    # SQLite soon looks at a lock only every 100 ms, and whoever has just let go of it is back
    # before: under load some would wait for seconds. Begun anew, it looks after 1 and 3 ms.
    connection.execute(f"PRAGMA busy_timeout = {_GLANCE}")
    try:
        for left in range(patience // _GLANCE, -1, -1):
            try:
                connection.execute("BEGIN IMMEDIATE")
                break
            except sqlite3.OperationalError as error:
                if not left or error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
    finally:
        connection.execute(f"PRAGMA busy_timeout = {patience}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()  # nothing, where the error (a full disk) has ended it by itself
        raise


def _is_current(connection: sqlite3.Connection, path: Path, inode: str) -> bool:
    layout = layout_of(connection)
    ours = connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    if layout == 0 or not ours:
        if layout or connection.execute("SELECT 1 FROM sqlite_schema").fetchone() is not None:
            raise TierUnavailable(
                f"{path} is a database of another program; give the cache a file of its own"
            )
        return False
    check_layout(connection, path)
    later = connection.execute(_LATER).fetchone()
    where = connection.execute("SELECT inode FROM meta").fetchone()
    return bool(where == (inode,) and later == (9,))


def check_layout(connection: sqlite3.Connection, path: Path) -> None:
    """See that no newer version has taken the file over."""
    layout = layout_of(connection)
    if layout > LAYOUT:
        raise TierUnavailable(
            f"{path} has layout {layout} and this cascada knows layouts up to {LAYOUT}: a newer "
            "version uses the file; upgrade this process too, or give it a file of its own"
        )


def _use_wal(connection: sqlite3.Connection, path: Path) -> None:
    # SQLite does not wait for the lock that this switch needs, so several processes that open a
    # new file at once have to try again.
    for patience in (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, None):
        try:
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        except sqlite3.OperationalError as error:
            if patience is None or error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            time.sleep(patience)
        else:
            if mode != "wal":
                raise TierUnavailable(
                    f"{path} cannot be shared between processes (journal mode {mode} instead of "
                    "wal); put it on a local disk"
                )
            return
