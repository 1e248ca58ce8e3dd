"""Changes that come from a journal, as one write transaction sees them (`capabilities.Change`).

A change comes late, perhaps twice, and perhaps after a later one of its key. So it is stored only
if its number is above that of the key's latest change, and if nothing has named its entry since its
fence, which is as old as its set. Its own key's tombstone is left by every change that is stored:
one that an earlier change has left says nothing against a later one, whose set may have begun
before that was written. (`docs/protocol.md` rules 45 and 46.)
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final, NamedTuple

from cascada.model.keys import quote
from cascada.tiers.capabilities import Change, Fate
from cascada.tiers.contract import Lease
from cascada.tiers.sqlite.transaction import Options, TenantState, Transaction, as_json
from cascada.tiers.sqlite.writes import Write

_APPLIED: Final = (
    "SELECT a.key, a.number, a.q, a.ended"
    " FROM json_each(?) k CROSS JOIN applied a ON a.tenant = ? AND a.key = k.value"
)
_NOTE: Final = (
    "INSERT INTO applied VALUES (?, ?, ?, ?, ?) ON CONFLICT (tenant, key) DO UPDATE SET"
    " number = excluded.number, q = excluded.q, ended = excluded.ended"
)


class Applied(NamedTuple):
    """The latest change of a key: its number, the seq of the tombstone that it left, and of the
    latest that was there which no change has left."""

    number: int
    seq: int
    ended: int


class Changed(NamedTuple):
    """One change, worked out before the transaction begins so that it is short."""

    number: int
    write: Write

    @classmethod
    def of(cls, namespace: str, change: Change) -> Changed:
        lease = Lease(change.key, change.fence, forced=True)
        return cls(change.number, Write.of(namespace, lease, change.entry))


def apply(
    connection: sqlite3.Connection, options: Options, changes: Sequence[Changed]
) -> list[Fate]:
    """Store each change that is the latest of its key, and not void."""
    transaction = Transaction(connection, options)
    by_tenant: dict[str, list[Write]] = {}
    for _, write in changes:
        by_tenant.setdefault(quote(write.lease.key.tenant), []).append(write)
    applied: dict[tuple[int, str], Applied] = {}
    for tenant, writes in by_tenant.items():
        state, keys = transaction.state(tenant), [write.key for write in writes]
        state.learn(keys, [name for write in writes for name in write.names])
        # Others wait behind these, with fences that are hardly older.
        state.keep_from = min(write.lease.seq for write in writes)
        for key, *columns in connection.execute(_APPLIED, (as_json(keys), state.id)):
            applied[state.id, key] = Applied(*columns)
    fates = []
    for number, write in changes:
        state = transaction.state(quote(write.lease.key.tenant))
        latest = applied.get((state.id, write.key))
        if latest is not None and is_known(number, latest):
            fates.append(Fate.KNOWN)
            continue
        seq, fate = apply_one(state, write, latest)
        if seq is not None:
            note = Applied(number, *seq)
            applied[state.id, write.key] = note
            connection.execute(_NOTE, (state.id, write.key, *note))
        fates.append(fate)
    transaction.save()
    return fates


def is_known(number: int, latest: Applied) -> bool:
    """Whether this change, or a later one of its key, was stored already."""
    return number <= latest.number


def apply_one(
    state: TenantState, write: Write, latest: Applied | None
) -> tuple[tuple[int, int] | None, Fate]:
    """What became of it, and what `Applied` is to say of the tombstones (None: as before)."""
    own, *others = write.names
    fence, tombstone = write.lease.seq, state.tombstones.get(own)
    # When was the key itself named last, by other than a change that came before this one?
    left = tombstone is not None and latest is not None and tombstone.seq == latest.seq
    ended = 0 if tombstone is None else tombstone.seq
    if left and latest is not None:
        ended = latest.ended
    version = state.newest_version(write.key)
    if ended <= fence and state.stands(fence, others):
        seq = state.next()
        state.store(write.key, seq, write.names, write.entry, write.envelope)
        state.bump(own, seq, version)
        return (seq, ended), Fate.STORED
    if ended > fence and not left and tombstone is not None and tombstone.at is None:
        return None, Fate.VOID  # by a set: what is here is that one's, or newer
    # A row from before the set may bear other names than those that have ended this, and so may
    # what was made of it. One from after an invalidation may have been loaded before the set, which
    # Redis has taken though the database knew of that invalidation.
    seq, row = state.next(), state.rows.get(write.key)
    if row is not None:
        state.remove(row)
    state.bump(own, seq, version)
    return (seq, ended), Fate.VOID
