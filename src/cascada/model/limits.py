"""The numbers of one cache: how large, how many, how long. Each is written down here, once.

`Cache(limits=Limits(...))` takes them, the engine and the tiers are built with them, and the
environment's variables (`api/settings.py`) are read as them. What belongs to one data type is in
its `Policy`.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final, Literal, get_args

from cascada.model.door import arguments
from cascada.model.door.checked import Checked, field, or_none
from cascada.model.door.plain import number_of
from cascada.model.ttl import Duration

OnPending = Literal["raise", "warn"]
"""What becomes of an invalidation that only this process remembers so far."""

Eviction = Literal["adaptive", "lru", "lfu"]
"""What goes when memory is full."""

MAX_VALUE_BYTES: Final = 16 * 2**20
"""What one value may take, encoded. A larger one would keep its neighbours waiting."""

LARGEST_VALUE: Final = 256 * 2**20
"""Beyond it no server takes a value in one piece, and no event loop should."""

COUNTED: Final = 255
"""Hits of one value are counted up to here, unless their number decides (LFU). CPython has these
numbers at hand; a greater one would be made anew for each hit."""

_bytes = partial(arguments.integer, least=1, of="a whole number of bytes")
_count = partial(arguments.integer, least=1)
_seconds = arguments.seconds


def _share(given: Any, what: str) -> float:
    plain = number_of(given)
    if plain is None or not 0 < plain < 1:
        raise arguments.refused(what, given, "a share between 0 and 1, such as 0.02")
    return plain


class Limits(Checked):
    """The numbers of a cache, all with defaults. Times are seconds, sizes are bytes.

    l1_bytes, l2_bytes, l3_bytes: how much memory, this namespace's entries in Redis, and the
        database may hold. Of the tenants who share memory, or the database, who holds the most
        gives.
    eviction: what goes when memory is full: "lru" (what was not used for longest), "lfu" (what was
        used least often), or "adaptive" (what is worth least by its use, its size, what its load
        took and its priority).
    max_value_bytes: what one value may take, encoded; a larger one is not stored.
    compress_over: the size from which a value is compressed, where that makes it smaller.
    default_ttl: how long a value is fresh whose policy does not say.
    op_timeout: what a tier may take inside a request.
    degraded_l1_ttl: how long memory goes on answering, marked stale, while the tier that it hears
        news from is away (0: not at all; inf: for ever, for a single process).
    invalidate_patience: how long `invalidate` waits for a tier that has fallen silent, from that
        moment on.
    on_pending: what becomes of an invalidation that no durable tier has after that, only this
        process: "raise" InvalidationPending, or "warn" and answer with `pending=True`.
    load_timeout: what a loader may take (None: as long as it needs).
    max_loads, max_loads_per_type: how many loaders run at once.
    load_wait: how long more of them wait for their turn.
    prefetch_budget: what `Policy(prefetch=True)` may cost: so many fetches in vain for each miss,
        and that share of memory for what nobody has asked for yet.
    self_check: how far apart two hits are that are compared with their source (None or 0: none is).
    optimize_every: how far apart moves of entries between tiers are that are made by themselves
        (None or 0: none is; `advanced_cache_manager` makes one when it is asked).
    warm_restart: of how many values that memory answers with the keys are noted below, once a
        minute and at close, and read into memory again when the next process starts, in the
        background and without a loader (None or 0: none; at most 50,000).
    redis_connection_timeout: what a connection may take, in the background.
    redis_socket_timeout: how long a connection may be silent before it is given up.
    redis_max_connections: how many lists and counters use at once, beside the one that all else
        shares.
    redis_pool_timeout: how long more callers wait for one of these (or for op_timeout, at least
        2 s, if that is less).
    """

    l1_bytes: int = field(50 * 2**20, _bytes)
    eviction: Eviction = field("adaptive", partial(arguments.choice, known=get_args(Eviction)))
    l2_bytes: int = field(500 * 2**20, _bytes)
    l3_bytes: int = field(2000 * 2**20, _bytes)
    max_value_bytes: int = field(MAX_VALUE_BYTES, partial(_bytes, most=LARGEST_VALUE))
    compress_over: int = field(4096, partial(_bytes, least=0))
    default_ttl: Duration = field(3600, arguments.duration)
    op_timeout: float = field(0.25, _seconds)
    degraded_l1_ttl: float = field(30.0, partial(_seconds, zero=True, endless=True))
    invalidate_patience: float = field(5.0, partial(_seconds, zero=True))
    on_pending: OnPending = field("raise", partial(arguments.choice, known=get_args(OnPending)))
    load_timeout: float | None = field(None, or_none(_seconds))
    max_loads: int = field(64, _count)
    max_loads_per_type: int = field(16, _count)
    load_wait: float = field(5.0, _seconds)
    prefetch_budget: float = field(0.02, _share)
    self_check: float | None = field(None, or_none(partial(_seconds, zero=True)))
    optimize_every: float | None = field(None, or_none(partial(_seconds, zero=True)))
    warm_restart: int | None = field(
        None, or_none(partial(arguments.integer, least=0, most=50_000))
    )
    redis_connection_timeout: float = field(20.0, _seconds)
    redis_socket_timeout: float = field(5.0, _seconds)
    redis_max_connections: int = field(50, _count)
    redis_pool_timeout: float = field(30.0, _seconds)
