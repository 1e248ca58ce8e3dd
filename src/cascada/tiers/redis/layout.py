"""What is stored where in Redis: keys, the epoch's value, a lease's value, and how long all lasts.

Every key and the channel begin with `<namespace>.<db>:{b0}:`. The database number is in it because
channels ignore databases; the braces keep one tenant's keys in one slot.

    e         epoch and sequence in one value: nonce (8), the server's run_id (40), layout (4
              digits) and seq, the number of the latest invalidation, in decimal. They live and
              die together.
    r, s      the latest invalidated names, and keys: sorted sets by seq; the member "" is the
              low-water mark, below which they have forgotten
    t         when the latest invalidations were, by seq: "seconds.microseconds q"
    g:<name>  a nonce (8), then how many entries bear it, "own:made" in decimal (`EntryCount`)
    v:<key>   the envelope, whose stamps are: the epoch's nonce, then its names' nonces
    l:<key>   a lease: token (16; the last byte is 0 in that of a load), then the stamps it was
              granted with
    b:<key>:<digest>   the payload of that envelope, if it is large (`large_payloads`)
    n:<key>   the greatest version that was ever written (`ordered`)
    w:<key>   somebody waits for this lease
    m         how much room all that takes (`redis_scripts/room`); mr, a count of it under way
    k:<tenant>  its wrapped data key (`wrapped_keys`), without a life
    c:<name>  a counter, in decimal; d:<name> a list of envelopes. They are data: without a life,
              an epoch or a layout, so no change of the layout may ever touch them
    a:<seq>     how many processes have applied a strict invalidation (its epoch's, too), for 2 s

A stamp is equal or it is not: whatever is missing (evicted, expired, flushed, restarted) reads as a
miss.
"""

from __future__ import annotations

import math
import re
from typing import Final

import msgspec

from cascada.codecs.envelope import home_of
from cascada.model.entry import Entry
from cascada.model.keys import NO_SCOPE, Key
from cascada.model.names import static_names

NONCE: Final = 8
RUN_ID: Final = 40
TOKEN: Final = 16
OF_A_LOAD: Final = b"\0"
OF_A_SET: Final = b"\1"
"""How the tokens of leases end."""

LAYOUT: Final = 1

LEASE_MS: Final = 5_000
PERMANENT_MS: Final = 30 * 86_400_000
"""The physical life of what never expires, so that nothing is orphaned for ever (`renewal`
gives it another one)."""

LONGEST_MS: Final = 100 * 365 * 86_400_000
"""No physical life is longer: Redis adds it to the time, and Lua writes it as a float."""

GENERATION_MS: Final = 3_600_000
"""A generation lives at least this long, and twice as long as any entry that bears it."""

NEWER: Final = (
    "a newer version of cascada has changed the layout in Redis; this process goes on without "
    "reading it. If no newer one is left, delete the key %s"
)


MAX_BORNE: Final = 1024
"""Tenants and types whose generations' keys are kept at hand."""

Borne = tuple[tuple[str, ...], tuple[bytes, ...]]


class Epoch(msgspec.Struct, frozen=True):
    """The value of `e`."""

    nonce: bytes
    run_id: bytes
    layout: int
    seq: int

    @classmethod
    def parse(cls, value: bytes | None) -> Epoch | None:
        """None for what is missing or cannot be one: both read as a miss."""
        if value is None or len(value) <= NONCE + RUN_ID + 4:
            return None
        end = NONCE + RUN_ID
        try:
            return cls(
                value[:NONCE], value[NONCE:end], int(value[end : end + 4]), int(value[end + 4 :])
            )
        except ValueError:
            return None


def literal(text: bytes) -> bytes:
    """As a pattern of SCAN that means these bytes and nothing else."""
    return re.sub(rb"([\\*?\[\]^])", rb"\\\1", text)


class Layout:
    """The keys of one namespace in one database, and the number of what is written there.

    The number counts how keys, names, entries and `e` are made. A process that meets a higher one
    reads nothing; one that brings a higher one begins a new epoch, so that all older entries are
    dead. What is published, and INV, never change: they reach processes of every layout.
    """

    def __init__(self, namespace: str, database: int, number: int = LAYOUT) -> None:
        self.number = number
        self.prefix = f"{namespace}.{database}:{{b0}}:".encode()
        self.epoch = self.prefix + b"e"
        self.names_ring = self.prefix + b"r"
        self.keys_ring = self.prefix + b"s"
        self.times = self.prefix + b"t"
        self.account = self.prefix + b"m"
        self.channel = self.prefix + b"i"
        self.common = (self.epoch, self.names_ring, self.keys_ring)
        self.generations = self.prefix + b"g:"
        self._entries = self.prefix + b"v:"
        self._borne: dict[tuple[str | None, ...], Borne] = {}

    def entry(self, key: Key) -> bytes:
        return self._entries + key.text.encode()

    def lease(self, key: Key) -> bytes:
        return self.prefix + b"l:" + key.text.encode()

    def fill_keys(self, text: bytes) -> tuple[bytes, bytes, bytes, bytes, bytes]:
        """v, l and w of the key with this text, the generation of what was made of it, and n."""
        prefix = self.prefix
        return (
            prefix + b"v:" + text,
            prefix + b"l:" + text,
            prefix + b"w:" + text,
            prefix + b"g:k:" + text,
            prefix + b"n:" + text,
        )

    def aside(self, key: Key, digest: bytes) -> bytes:
        """Where a large payload of this key lies."""
        return self.prefix + b"b:" + key.text.encode() + b":" + digest

    def applied(self, nonce: bytes, seq: int) -> bytes:
        return self.prefix + b"a:%s:%d" % (nonce.hex().encode(), seq)

    def generation(self, name: str) -> bytes:
        return self.generations + name.encode()

    def counter(self, name: str) -> bytes:
        return self.prefix + b"c:" + name.encode()

    def home(self, text: bytes) -> int:
        """What binds an entry to the key with this text, here."""
        return home_of(self._entries + text)

    def items(self, name: str) -> bytes:
        return self.prefix + b"d:" + name.encode()

    def borne(self, key: Key) -> Borne:
        """The names that an entry of this key bears anyway, and their generations."""
        borne = self._borne.get(key[:5])
        if borne is None:
            names = tuple(generations_of(key))
            borne = names, tuple(map(self.generation, names))
            if key.scope == NO_SCOPE:  # else there are names of the id among them
                if len(self._borne) >= MAX_BORNE:
                    self._borne.clear()
                self._borne[key[:5]] = borne
        return borne


def generations_of(key: Key) -> list[str]:
    """The names of a key that have a generation: all but its own, which is voided by UNLINK."""
    return static_names(key)[1:]


def life_ms(entry: Entry, now: float) -> int:
    """Milliseconds that an entry which is stored now lives in Redis."""
    seconds = min(entry.expires - now, entry.expires - entry.created)
    if math.isinf(seconds):
        return PERMANENT_MS
    return max(1, math.ceil(min(seconds * 1000, LONGEST_MS)))


def ordered(version: int) -> bytes:
    """A version of 64 bits as text that scripts can compare: their numbers have but 53 bits."""
    return b"%020d" % (version + 2**63)
