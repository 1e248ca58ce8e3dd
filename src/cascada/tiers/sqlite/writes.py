"""Filling and invalidating, as one write transaction sees it.

There is one question: was one of these names invalidated after that number? A fill asks it with
the seq of its lease, which is from before the source was read; a read will ask it with the seq that
the row has kept of that. (`docs/protocol.md` rules 35 and 36.)
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

from cascada.codecs.envelope import pack
from cascada.model.entry import Entry
from cascada.model.keys import Key, quote
from cascada.model.names import FORGETS, OF_ONE_KEY, entry_name, static_names
from cascada.tiers.contract import (
    EntryCount,
    Filled,
    Invalidation,
    Lease,
    Outcome,
    Renewed,
    Touched,
)
from cascada.tiers.fill_rules import decided
from cascada.tiers.sqlite.inspect import count_entries
from cascada.tiers.sqlite.transaction import Options, TenantState, Transaction, home_in

ROW: Final = 2**15
"""Bytes of an envelope that count as one more row: a commit of several large ones would have no
end."""


class Write(NamedTuple):
    """One fill, worked out before the transaction begins so that it is short."""

    lease: Lease
    entry: Entry
    key: str
    names: tuple[str, ...]  # the key's own first
    touched: str  # no row bears it
    envelope: bytes

    @classmethod
    def of(cls, namespace: str, lease: Lease, entry: Entry) -> Write:
        names = static_names(lease.key)
        own = names[0]
        # No name twice, or it would be counted twice.
        bears = tuple(dict.fromkeys((*names, *entry.names)))
        key = own[2:]
        envelope = pack(entry, home_in(namespace, key))
        return cls(lease, entry, key, bears, entry_name(lease.key), envelope)


def fill(connection: sqlite3.Connection, options: Options, writes: Sequence[Write]) -> list[Filled]:
    """Store each entry whose lease still stands."""
    transaction = Transaction(connection, options)
    answers = [fill_one(state, write) for state, write in learned(transaction, writes)]
    transaction.save()
    return answers


def learned(transaction: Transaction, writes: Sequence[Write]) -> list[tuple[TenantState, Write]]:
    """The writes, each with its tenant's state, which knows all that it asks."""
    by_tenant: dict[str, list[Write]] = {}
    for write in writes:
        by_tenant.setdefault(quote(write.lease.key.tenant), []).append(write)
    for tenant, group in by_tenant.items():
        transaction.state(tenant).learn(
            [write.key for write in group],
            [name for write in group for name in (*write.names, write.touched)],
        )
    return [(transaction.state(quote(write.lease.key.tenant)), write) for write in writes]


def fill_one(state: TenantState, write: Write, *, in_any_case: bool = False) -> Filled:
    """Store it if its lease still stands; `in_any_case`: whatever was named since."""
    lease, key = write.lease, write.key
    newest = state.newest_version(key)
    if write.entry.version is not None and newest is not None and write.entry.version < newest:
        # Whoever brings an old version has learned nothing new: what is here, stays.
        return Filled(accepted=False, seq=state.seq, outcome=Outcome.OLDER)
    # A load or a fill may bring what was read before another life was given to it. A set does not.
    names = write.names if lease.forced else (*write.names, write.touched)
    stands = in_any_case or state.stands(lease.seq, names)
    old = state.rows.get(key)
    live = old if old is not None and state.is_live(old) else None
    if not lease.forced and not lease.once and live is not None and live.seq > lease.seq:
        # Somebody whose load began later was faster. Both values stand, but callers may have seen
        # the later one already: refused, so that whoever joined this load looks again and finds it.
        return Filled(accepted=False, seq=state.seq)
    looked_at = live is not None and (lease.once or (lease.forced and not stands))
    there = state.entry_of(key) if looked_at else None
    now = state.transaction.now
    stored, outcome = decided(lease, write.entry, there, stands=stands, now=now)
    # What was added is told of like a set: others may remember that there is nothing.
    told = lease.forced or (bool(lease.adds) and stored is not None)
    seq = state.next() if told else lease.seq
    if stored is not None and stored.is_nothing:
        if old is not None:
            state.remove(old)
    elif stored is not None:
        same = stored is write.entry
        envelope = (
            write.envelope if same else pack(stored, home_in(state.transaction.namespace, key))
        )
        state.store(key, seq, write.names, stored, envelope)
    if told:
        if stored is None and old is not None:
            state.remove(old)
        # The tombstone voids all other leases of the key, those that are granted already and
        # those whose entry will come when this row is long gone: without it a load that began
        # before this set would put the old value back as soon as the row is pruned.
        # Its version counts though it is refused: an older one that was overtaken must not pass.
        version = newest if write.entry.version is None else write.entry.version
        state.bump(f"k:{key}", seq, version)
    return Filled(stored is not None, seq if told else state.seq, outcome)


def touch(
    connection: sqlite3.Connection, options: Options, key: Key, renewed: Renewed, *, below: bool
) -> Touched:
    """Give the row of a key another life, if it is live, and void the leases of its loads."""
    transaction = Transaction(connection, options)
    state = transaction.state(quote(key.tenant))
    name = entry_name(key)
    text = name[2:]
    state.learn([text], [name])
    row, was, entry = state.rows.get(text), None, None
    if row is not None and row.names is not None and state.is_live(row):
        was = state.entry_of(text)
        entry = None if was is None else renewed(was, len(was.data))
    if row is not None and row.names is not None and entry is not None:
        # With the number that it had: what it was made of is as old as before.
        envelope = pack(entry, home_in(options.namespace, text))
        state.store(text, row.seq, row.names, entry, envelope)
    elif below:
        was = None
    else:
        return Touched(state.seq)
    seq = state.next()
    state.bump(name, seq, state.newest_version(text))
    transaction.save()
    return Touched(seq, was, entry)


def invalidate(
    connection: sqlite3.Connection, options: Options, tenant: str, names: Sequence[str]
) -> Invalidation:
    """Void all that bears one of the names."""
    transaction = Transaction(connection, options)
    state = transaction.state(tenant)
    distinct = list(dict.fromkeys(names))
    of_keys = {name: name[2:] for name in distinct if name.startswith(OF_ONE_KEY)}
    keys = list(of_keys.values())
    state.learn(keys, distinct)
    # Before anything goes: a row may bear several of the names.
    reached = count_entries(connection, options.namespace, tenant, distinct)
    gone: Counter[str] = Counter()
    versions: dict[str, int | None] = {}
    for name, key in of_keys.items():
        versions[name] = state.newest_version(key)
        row = state.rows.get(key)
        if row is not None:
            gone[name] += state.is_live(row)
            state.remove(row)
    # After the keys' own rows, which are then not counted for their groups again. What was made
    # of a key bears that key's name, and is counted here.
    seq = state.next()
    rows = sum(each.own + each.made for each in reached)
    rows += sum(state.bump(name, seq, versions.get(name), at=transaction.now) for name in distinct)
    transaction.save()
    journaled = 0
    if any(name.startswith(FORGETS) for name in distinct):
        journaled = _noted(connection, options)
    exact = len(keys) == len(distinct) and not rows
    by_name = {
        name: EntryCount(each.own + gone[name], each.made)
        for name, each in zip(distinct, reached, strict=True)
    }
    told = tuple(by_name[name] for name in names)
    return Invalidation(gone.total() + rows, exact, seq, counts=told, journaled=journaled)


def _noted(connection: sqlite3.Connection, options: Options) -> int:
    """The greatest number in all journals, which what is journaled from now on exceeds: whether a
    change is older than this transaction, its number alone says (`docs/protocol.md` rule 61)."""
    where = (options.namespace,)
    ((last,),) = connection.execute(
        "SELECT coalesce(max(number), 0) FROM journals WHERE namespace = ?", where
    ).fetchall()
    number = max(int(last), int(options.clock.time() * 1_000_000))
    connection.execute("UPDATE journals SET number = ? WHERE namespace = ?", (number, *where))
    return number
