"""Changes that are still to be written elsewhere, each journaled in the transaction of its row.

Of a key the latest alone waits. Its number is in microseconds of the clock, or one more than the
last: so they go on rising where the file was lost, since whoever they were written to still
compares with those of before. `journals` has the sums, so that a journal that is full is known
without counting. What was set aside counts as well: nothing is dropped.

A change has the names and the seq of its entry. So it can be told when the entry is gone whether
anything has ended that, or only its life or its place (`standing`). A sweep lifts them like rows
(`maintenance`).

The tier makes one for each name (`capabilities.Journal`). It must never change or drop a change for
what happens to its entry. (`docs/protocol.md` rules 53 to 57.)
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from cascada.codecs.envelope import unpack
from cascada.model.entry import Codec, Entry
from cascada.model.errors import CorruptEntry
from cascada.model.keys import Key
from cascada.tiers.capabilities import MOST_BYTES, Backlog, Change, Put, SetAside
from cascada.tiers.contract import Filled, Lease, Outcome
from cascada.tiers.deadline import AT_ONCE
from cascada.tiers.sqlite import writes as fills
from cascada.tiers.sqlite.chunks import CHUNK
from cascada.tiers.sqlite.schema import KILLER
from cascada.tiers.sqlite.transaction import Options, Transaction, as_json, home_in
from cascada.tiers.sqlite.worker import Inline, Worker, Writer
from cascada.tiers.sqlite.writes import ROW, Write

PAGE_BYTES: Final = 4 * 2**20
"""Of the records of one claim."""

_ID: Final = "(SELECT id FROM journals WHERE namespace = ? AND name = ?)"
_JOURNAL: Final = "SELECT id, number, changes, bytes FROM journals WHERE namespace = ? AND name = ?"
_BEGIN: Final = (
    "INSERT INTO journals (namespace, name, number, changes, bytes)"
    " SELECT ?1, ?2, coalesce(max(number), 0), 0, 0 FROM journals WHERE namespace = ?1"
)
"""Above the numbers of all others: it may be known of those up to which somebody is forgotten."""
_SAVE: Final = "UPDATE journals SET number = ?, changes = ?, bytes = ? WHERE id = ?"
_WAITING: Final = (
    "SELECT c.key, c.put, c.size FROM json_each(?) k"
    " CROSS JOIN changes c ON c.journal = ? AND c.key = k.value"
)
_ASIDE: Final = (
    "SELECT a.key, a.size FROM json_each(?) k"
    " CROSS JOIN aside a ON a.journal = ? AND a.key = k.value"
)
_PUT: Final = "INSERT OR REPLACE INTO changes VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?, ?)"
_RECORD: Final = "c.key, c.number, c.q, c.put, c.envelope"
_CLAIM: Final = (
    f"SELECT c.size, {_RECORD} FROM changes c WHERE c.journal = ? AND c.claimed <= ?"
    " ORDER BY c.number LIMIT ?"
)
_CLAIMED: Final = (
    "UPDATE changes SET claimed = ? WHERE journal = ? AND number BETWEEN ? AND ? AND claimed <= ?"
)
_RELEASED: Final = "UPDATE changes SET claimed = 0 WHERE journal = ? AND number = ?"
_OF: Final = (
    f"SELECT {_RECORD} FROM json_each(?) k CROSS JOIN changes c"
    f" ON c.journal = {_ID} AND c.key = k.value"
)
_STANDING: Final = (
    "SELECT e.key, e.number, e.q, e.put, e.envelope FROM json_each(?) k"
    f" CROSS JOIN changes e ON e.journal = {_ID} AND e.key = k.value"
    " CROSS JOIN tenants t ON t.id = e.tenant"
    f" WHERE e.put = {int(Put.CHANGE)} AND e.q >= t.floor AND {KILLER} IS NULL"
)
_THEM: Final = "json_each(?) k CROSS JOIN changes c ON c.journal = ? AND c.number = k.value"
"""Of a journal no two changes have one number."""

_ARE_THERE: Final = f"SELECT count(*), coalesce(sum(c.size), 0) FROM {_THEM}"
_DONE: Final = f"DELETE FROM changes WHERE rowid IN (SELECT c.rowid FROM {_THEM})"
_GO: Final = (
    "DELETE FROM changes WHERE journal = ? AND key = ? AND (number = ? OR ? = 0) RETURNING size"
)
_TO_ASIDE: Final = (
    "INSERT OR REPLACE INTO aside SELECT journal, number, key, tenant, q, put, size, names,"
    " envelope, ? FROM changes WHERE journal = ? AND key = ? AND (number = ? OR ? = 0)"
)
_SHOW: Final = (
    f"SELECT c.why, {_RECORD} FROM aside c WHERE c.journal = {_ID} ORDER BY c.number LIMIT ?"
)
_BACK: Final = (
    "INSERT OR IGNORE INTO changes SELECT journal, number, key, tenant, -1, put, 0, size, names,"
    " envelope FROM aside WHERE journal = ? AND key = ?"
)
_LESS: Final = (
    f"DELETE FROM changes WHERE journal = ? AND key = ? AND put = {int(Put.AFTER_MISS)}"
    " RETURNING size"
)
_BACKLOG: Final = (
    "SELECT count(a.number), coalesce(sum(a.size), 0) FROM aside a WHERE a.journal = ?"
)
_ENDS: Final = (
    "SELECT coalesce(min(number), 0), coalesce(max(number), 0) FROM changes WHERE journal = ?"
)

_NOTHING: Final = Entry(b"", Codec.NOTHING)


class SqliteJournal:
    """Of one name. `reader` and `writer` say who runs what now: after a fork, it is others."""

    def __init__(
        self,
        name: str,
        options: Options,
        reader: Callable[[], Worker | Inline],
        writer: Callable[[], Writer],
    ) -> None:
        self._options = options
        self._where = (options.namespace, name)
        self._reader = reader
        self._writer = writer

    async def refusal(self) -> str | None:
        return None

    async def put(
        self,
        leases: Sequence[Lease],
        entries: Sequence[Entry],
        fences: Sequence[int],
        most: int,
        *,
        puts: Sequence[Put] = (),
        most_bytes: int = MOST_BYTES,
    ) -> list[Filled]:
        """`fences` are not needed: the entries are here themselves."""
        works = []
        for start in range(0, len(leases), CHUNK):
            if start:
                await asyncio.sleep(0)
            part = slice(start, start + CHUNK)
            packed = [
                Write.of(self._options.namespace, lease, entry)
                for lease, entry in zip(leases[part], entries[part], strict=True)
            ]
            how = [*puts[part]] or [Put.FENCED] * len(packed)
            bound = (most, most_bytes)
            work = partial(_put, options=self._options, where=self._where)
            rows = sum(2 + 2 * len(write.envelope) // ROW for write in packed)
            works.append((partial(work, writes=packed, puts=how, bound=bound), rows))
        answers = await self._writer().run_together(works, durable=True)
        return [answer for part_of_all in answers for answer in part_of_all]

    async def waiting(self, keys: Sequence[Key]) -> frozenset[Key]:
        return frozenset([change.key for change in await self.of(keys)])

    async def claim(self, most: int, seconds: float) -> list[Change]:
        now = self._options.clock.time
        rows = await self._writer().run(
            # The time when it is done: it may have waited for others.
            lambda c: _claim(c, self._where, most, now(), seconds),
            rows=most,
        )
        return await self._changes(rows)

    async def of(self, keys: Sequence[Key]) -> list[Change]:
        return await self._asked(_OF, keys)

    async def standing(self, keys: Sequence[Key]) -> list[Change]:
        return await self._asked(_STANDING, keys)

    async def done(self, changes: Sequence[Change]) -> None:
        if changes:
            them = as_json(change.number for change in changes)
            await self._writer().run(lambda c: _done(c, self._where, them), rows=len(changes))

    async def release(self, changes: Sequence[Change]) -> None:
        if changes:
            numbers = [change.number for change in changes]
            await self._writer().run(lambda c: _release(c, self._where, numbers))

    async def set_aside(self, change: Change, why: str) -> None:
        place = (change.key.text, change.number, change.number)
        await self._writer().run(lambda c: _set_aside(c, self._where, place, why), durable=True)

    async def aside(self, most: int) -> list[SetAside]:
        rows = await self._reader().run(lambda c: c.execute(_SHOW, (*self._where, most)).fetchall())
        changes = await self._changes([row for _, *row in rows])
        return [SetAside(change, why) for change, (why, *_) in zip(changes, rows, strict=True)]

    async def retry(self, keys: Sequence[Key] | None = None) -> int:
        texts = None if keys is None else [key.text for key in keys]
        return await self._writer().run(lambda c: _retry(c, self._where, texts), durable=True)

    async def backlog(self) -> Backlog:
        now = self._options.clock.time
        return await self._reader().run(lambda c: _backlog(c, self._where, now()))

    async def _asked(self, statement: str, keys: Sequence[Key]) -> list[Change]:
        texts = as_json(key.text for key in keys)
        rows = await self._reader().run(
            lambda c: c.execute(statement, (texts, *self._where)).fetchall()
        )
        return await self._changes(rows)

    async def _changes(self, rows: Sequence[Sequence[Any]]) -> list[Change]:
        changes: list[Change] = []
        for start in range(0, len(rows), AT_ONCE):
            if start:
                await asyncio.sleep(0)
            changes += [self._change(*row) for row in rows[start : start + AT_ONCE]]
        return changes

    def _change(self, text: str, number: int, seq: int, put: int, envelope: bytes) -> Change:
        key, after_miss = Key.parse(text), put == Put.AFTER_MISS
        try:
            entry = unpack(envelope, home_in(self._options.namespace, text))
        except CorruptEntry as error:
            return Change(number, key, _NOTHING, seq, str(error), after_miss)
        return Change(number, key, entry, seq, after_miss=after_miss)


class _Book:
    """A journal as one transaction sees it; it is begun if need be."""

    def __init__(self, connection: sqlite3.Connection, where: tuple[str, str]) -> None:
        self.connection = connection
        found = connection.execute(_JOURNAL, where).fetchone()
        if found is None:
            connection.execute(_BEGIN, where)
            found = connection.execute(_JOURNAL, where).fetchone()
        self.id: int
        self.number: int
        self.changes: int
        self.bytes: int
        self.id, self.number, self.changes, self.bytes = found

    def next(self, now: float) -> int:
        self.number = max(self.number + 1, int(now * 1_000_000))
        return self.number

    def gone(self, sizes: Iterable[int]) -> None:
        for size in sizes:
            self.changes -= 1
            self.bytes -= size

    def save(self) -> None:
        self.connection.execute(_SAVE, (self.number, self.changes, self.bytes, self.id))


class _There(NamedTuple):
    """What waits of a key."""

    put: int
    size: int


def _put(
    connection: sqlite3.Connection,
    options: Options,
    where: tuple[str, str],
    writes: Sequence[Write],
    puts: Sequence[Put],
    bound: tuple[int, int],
) -> list[Filled]:
    transaction = Transaction(connection, options)
    book = _Book(connection, where)
    keys = (as_json(write.key for write in writes), book.id)
    there = {key: _There(*rest) for key, *rest in connection.execute(_WAITING, keys)}
    aside: dict[str, int] = dict(connection.execute(_ASIDE, keys).fetchall())
    answers = []
    for (state, write), put in zip(fills.learned(transaction, writes), puts, strict=True):
        key, waits = write.key, there.get(write.key)
        if put >= Put.AFTER_MISS and waits is not None and waits.put != Put.AFTER_MISS:
            answers.append(Filled(accepted=False, seq=state.seq, outcome=Outcome.OLDER))
            continue
        record = _record(write, put)
        more = record.size - (0 if waits is None else waits.size)
        full = (waits is None and book.changes >= bound[0]) or book.bytes + more > bound[1]
        if put is not Put.FETCHED and full:
            answers.append(Filled(accepted=False, seq=state.seq, outcome=Outcome.FULL))
            continue
        filled = fills.fill_one(state, write, in_any_case=put is Put.CHANGE)
        answers.append(filled)
        if put is Put.FETCHED or not filled.accepted:
            continue
        if put is not Put.FENCED or filled.outcome is not Outcome.EQUAL:
            number = book.next(transaction.now)
            connection.execute(_PUT, (book.id, number, key, state.id, filled.seq, *record))
            book.changes += waits is None
            book.bytes += more
            there[key] = _There(put, record.size)
        if put is Put.CHANGE and key in aside:
            # This one came later, and is what the key is to be.
            connection.execute("DELETE FROM aside WHERE journal = ? AND key = ?", (book.id, key))
            book.gone([aside.pop(key)])
    book.save()
    transaction.save()
    return answers


class _Record(NamedTuple):
    put: int
    size: int
    names: str
    envelope: bytes


def _record(write: Write, put: Put) -> _Record:
    names = as_json(write.names)
    size = len(write.envelope) + len(write.key) + len(names)
    return _Record(int(put), size, names, write.envelope)


def _claim(
    connection: sqlite3.Connection, where: tuple[str, str], most: int, now: float, seconds: float
) -> list[Sequence[Any]]:
    book, size = _Book(connection, where), 0
    claimed: list[Sequence[Any]] = []
    for more, *record in connection.execute(_CLAIM, (book.id, now, most)):
        if claimed and size + more > PAGE_BYTES:
            break
        size += more
        claimed.append(record)
    if claimed:
        (_, first, *_), (_, last, *_) = claimed[0], claimed[-1]
        # The very ones: nobody else writes within this transaction.
        connection.execute(_CLAIMED, (now + seconds, book.id, first, last, now))
    return claimed


def _done(connection: sqlite3.Connection, where: tuple[str, str], them: str) -> None:
    book = _Book(connection, where)
    # Not each row's size: for each row that SQLite answers, its thread waits for the interpreter.
    ((changes, size),) = connection.execute(_ARE_THERE, (them, book.id)).fetchall()
    connection.execute(_DONE, (them, book.id))
    book.changes, book.bytes = book.changes - changes, book.bytes - size
    book.save()


def _release(
    connection: sqlite3.Connection, where: tuple[str, str], numbers: Sequence[int]
) -> None:
    book = _Book(connection, where)
    connection.executemany(_RELEASED, [(book.id, number) for number in numbers])


def _set_aside(
    connection: sqlite3.Connection,
    where: tuple[str, str],
    place: tuple[str, int, int],
    why: str,
) -> None:
    book = _Book(connection, where)
    former = connection.execute(
        "SELECT size FROM aside WHERE journal = ? AND key = ?", (book.id, place[0])
    ).fetchall()
    if connection.execute(_TO_ASIDE, (why, book.id, *place)).rowcount:
        connection.execute(_GO, (book.id, *place)).fetchall()
        book.gone(size for (size,) in former)  # the one that it was set aside in the place of
        book.save()


def _retry(
    connection: sqlite3.Connection, where: tuple[str, str], texts: Sequence[str] | None
) -> int:
    book, back = _Book(connection, where), 0
    found: dict[str, int] = dict(
        connection.execute("SELECT key, size FROM aside WHERE journal = ?", (book.id,)).fetchall()
    )
    for key in found if texts is None else [text for text in texts if text in found]:
        # What was put after a miss is for where nothing is, which this one ends.
        gone = connection.execute(_LESS, (book.id, key)).fetchall()
        book.gone(size for (size,) in gone)
        waits = connection.execute(_BACK, (book.id, key)).rowcount
        connection.execute("DELETE FROM aside WHERE journal = ? AND key = ?", (book.id, key))
        back += waits
        if not waits:  # a later one does
            book.gone([found[key]])
    book.save()
    return back


def _backlog(connection: sqlite3.Connection, where: tuple[str, str], now: float) -> Backlog:
    found = connection.execute(_JOURNAL, where).fetchone()
    before = int(now * 1_000_000) - 1
    if found is None:
        return Backlog(0, 0, 0, 0, 0, before)
    journal, number, changes, size = found
    ((aside, aside_bytes),) = connection.execute(_BACKLOG, (journal,)).fetchall()
    ((oldest, newest),) = connection.execute(_ENDS, (journal,)).fetchall()
    last = max(number, before)
    return Backlog(changes - aside, size - aside_bytes, aside, oldest, newest, last)
