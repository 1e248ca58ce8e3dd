"""The environment's say: every documented variable, checked when the process starts.

A wrong value raises InvalidSettings with one sentence: the variable, what it holds, what it may
hold. What may carry a password is never shown: of a URL no more than its scheme. Variables of tiers
and strategies that this version does not have yet are checked too, so that an environment written
for them works unchanged; only what would silently be something else than it says is refused.

`VARIABLES` is the one list of them; `docs/settings.md` shows it, and a test compares the two. What
a number may be, and what it is if nobody says, is in `model/limits.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple, get_args

import msgspec

from cascada.api.urls import DATABASE, SYNCED, sqlite_path
from cascada.model.door import arguments
from cascada.model.door.secret import Secret, Url, hidden
from cascada.model.door.wrapping import ACCEPTED, wrapping_keys_given, wrong_wrapping_key
from cascada.model.errors import InvalidSettings
from cascada.model.limits import LARGEST_VALUE, Limits
from cascada.model.options import Encrypt, Mode, ReadStrategy, WriteStrategy
from cascada.tiers.redis_client.urls import EXPECTED, what_is_wrong

_MEGABYTE: Final = 2**20
_LONGEST: Final = 60


class Variable(NamedTuple):
    """One variable: how its text is read (ValueError: it is wrong) and what it may hold.

    argument: of `Cache`, or the field of `Limits`, that it becomes; None for what nothing acts on
    by way of `Cache`. default: as `read` would give it. times: units of the field in one of it.
    """

    holds: str
    read: Callable[[str], Any]
    argument: str | None = None
    default: Any = None
    times: int = 1


def _limit(holds: str, field: str, kind: type = float, times: int = 1) -> Variable:
    """A variable that is a field of `Limits`: checked there, with the default from there."""
    check, default = Limits.checks[field], getattr(Limits, field)

    def read(text: str) -> Any:
        value = msgspec.convert(text, kind, strict=False) if kind is not str else text
        check(value * times if times > 1 else value, field)
        return value

    return Variable(holds, read, field, default // times if times > 1 else default, times)


def _only(*known: str, holds: str) -> Variable:
    """The one way of several, all documented, that this version has; the default comes first."""
    return Variable(holds, lambda text: arguments.choice(text, "it", known), default=known[0])


def _one_of(known: tuple[str, ...], argument: str, holds: str) -> Variable:
    """One of several ways, as an argument of `Cache`; the default comes first."""
    read = partial(arguments.choice, what="it", known=known)
    return Variable(holds, read, argument, known[0])


def _url(text: str, is_one: Callable[[Url], bool]) -> Url:
    if not is_one(url := Url(text)):
        raise ValueError
    return url


def _ttl(text: str) -> float:
    length = arguments.number(msgspec.convert(text, float, strict=False), "it", 0)
    return arguments.duration(length, zero=True)


_COUNT: Final = "a whole number of at least 1"
_SECONDS: Final = "seconds, a number greater than 0"
_MEGABYTES: Final = "megabytes, a whole number of at least 1 (such as 50)"

VARIABLES: Final[dict[str, Variable]] = {
    "REDIS_URL": Variable(
        f"{EXPECTED}; in a password, % and two digits for each of /?#@",
        lambda text: _url(text, lambda url: what_is_wrong(url) is None),
        "redis",
    ),
    "REDIS_PASSWORD": Variable("a password", Secret, "redis_password"),
    "REDIS_MAX_CONNECTIONS": _limit(_COUNT, "redis_max_connections", int),
    "REDIS_CONNECTION_TIMEOUT": _limit(_SECONDS, "redis_connection_timeout"),
    "REDIS_SOCKET_TIMEOUT": _limit(_SECONDS, "redis_socket_timeout"),
    "REDIS_POOL_TIMEOUT": _limit(_SECONDS, "redis_pool_timeout"),
    "REDIS_CACHE_TTL": Variable(
        "seconds, a number of at least 0 (0 means never)",
        _ttl,
        "default_ttl",
        Limits.default_ttl,
    ),
    "REDIS_SYNC_INTERVAL": Variable(
        _SECONDS,
        lambda text: arguments.seconds(msgspec.convert(text, float, strict=False), "it"),
        default=300,
    ),
    "CASCADA_SYNC_DATABASE": Variable(
        "a URL such as postgresql://user@host/name or sqlite:///file.db",
        lambda text: _url(text, lambda url: url.scheme in SYNCED),
    ),
    "CACHE_DATABASE_URL": Variable(
        f"the file of an SQLite database, {DATABASE}, which is what this version takes",
        lambda text: _url(text, lambda url: sqlite_path(url) is not None),
        "database",
    ),
    "CACHE_ENCRYPTION_KEYS": Variable(
        ACCEPTED, lambda text: wrapping_keys_given(Secret(text), "it"), "encryption_keys"
    ),
    "CASCADA_ENCRYPT": _one_of(get_args(Encrypt), "encrypt", holds="sensitive or all"),
    "CACHE_READ_STRATEGY": _one_of(
        get_args(ReadStrategy),
        "read_strategy",
        holds="READ_THROUGH, READ_AROUND or REFRESH_AHEAD",
    ),
    "CACHE_WRITE_STRATEGY": _one_of(
        get_args(WriteStrategy),
        "write_strategy",
        holds="WRITE_THROUGH, WRITE_BEHIND or WRITE_AROUND",
    ),
    "CACHE_EVICTION_POLICY": Variable(
        "ADAPTIVE, LRU or LFU",
        lambda text: arguments.choice(text, "it", ("ADAPTIVE", "LRU", "LFU")).lower(),
        "eviction",
        Limits.eviction,
    ),
    "L1_CACHE_SIZE_MB": _limit(_MEGABYTES, "l1_bytes", int, _MEGABYTE),
    "L2_CACHE_SIZE_MB": _limit(_MEGABYTES, "l2_bytes", int, _MEGABYTE),
    "L3_CACHE_SIZE_MB": _limit(_MEGABYTES, "l3_bytes", int, _MEGABYTE),
    "CASCADA_TENANT": Variable("the id of a tenant, at most 1024 characters", arguments.tenant),
    "CASCADA_NAMESPACE": Variable(
        "a name such as shop-prod",
        lambda text: arguments.name(text, "it"),
        "namespace",
        "cascada",
    ),
    "CASCADA_MODE": Variable(
        "on, observe or off",
        lambda text: arguments.choice(text, "it", get_args(Mode)),
        "mode",
        "on",
    ),
    "CASCADA_OP_TIMEOUT": _limit(_SECONDS, "op_timeout"),
    "CASCADA_INVALIDATE_PATIENCE": _limit(
        "seconds, a number of at least 0 (0: no waiting)", "invalidate_patience"
    ),
    "CASCADA_ON_PENDING": _limit("raise or warn", "on_pending", str),
    "CASCADA_DEGRADED_L1_TTL": _limit(
        "seconds, a number of at least 0 (0: memory serves nothing meanwhile), or inf, "
        "for a single process",
        "degraded_l1_ttl",
    ),
    "CASCADA_SELF_CHECK": _limit("seconds, a number of at least 0 (0 means off)", "self_check"),
    "CASCADA_OPTIMIZE_EVERY": _limit(
        "seconds, a number of at least 0 (0 means off)", "optimize_every"
    ),
    "CASCADA_WARM_RESTART": _limit(
        "keys, a whole number from 0 (off) to 50000", "warm_restart", int
    ),
    "CASCADA_MAX_VALUE_BYTES": _limit(
        f"bytes, a whole number up to {LARGEST_VALUE}", "max_value_bytes", int
    ),
}
"""The documented variables, in the order in which they are checked; an empty one is not set."""


def read() -> dict[str, Any]:
    """What each variable says, or its default; InvalidSettings for the first that is wrong."""
    return {name: variable(name) for name in VARIABLES}


def variable(name: str) -> Any:
    """What one variable says, or its default; InvalidSettings if it is wrong."""
    return _said(name, hidden(os.environ.get(name), Secret))


def cache_arguments(**given: Any) -> dict[str, Any]:
    """The arguments of `Cache` that the environment comes to; those that are given go first, each
    of `limits` by itself."""
    said: dict[str, Any] = {}
    limits: dict[str, Any] = {}
    for name, value in read().items():
        _, _, argument, _, times = VARIABLES[name]
        if argument is None:
            continue
        if argument in Limits.checks:
            limits[argument] = value * times if times > 1 else value
        else:
            said[argument] = value
    own = arguments.instance(given.pop("limits", Limits()), "limits", Limits, "a Limits(...)")
    return {**said, **given, "limits": Limits(**{**limits, **own.said})}


def _said(name: str, text: Secret | None) -> Any:
    """`text` is hidden, as an error may be reported with the local variables of its frames."""
    known = VARIABLES[name]
    if not text:
        return known.default
    try:
        return known.read(text.reveal())
    except (ValueError, msgspec.ValidationError):
        pass
    # Outside of the except block: the error above holds the value, and would be its context.
    shown = _shown(name, text.reveal())
    if name == "CACHE_ENCRYPTION_KEYS":
        shown += f": {wrong_wrapping_key(text)}"
    raise InvalidSettings(f"{name} {shown}; it may hold {known.holds}")


def _shown(name: str, text: str) -> str:
    # A URL may have come to the wrong variable.
    if name not in _SECRET and "://" not in text and "@" not in text:
        return f"is {text!r}" if len(text) <= _LONGEST else f"is {text[:_LONGEST]!r}..."
    scheme = Url(text).scheme
    if not scheme:
        return "holds a value that is not shown here"
    return f"begins with {scheme}:// (the rest is not shown here)"


_SECRET: Final = frozenset(
    {
        "REDIS_URL", "REDIS_PASSWORD", "CACHE_DATABASE_URL", "CACHE_ENCRYPTION_KEYS",
        "CASCADA_SYNC_DATABASE",
    }
)  # fmt: skip
"""Whose values are never shown, right or wrong."""
