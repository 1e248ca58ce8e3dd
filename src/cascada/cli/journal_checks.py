"""What `cascada doctor` says of changes that wait to be written elsewhere, and of tenants' keys.

Both lie in the lowest tier, whichever that is: who looks into Redis or into the database brings
them here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from cascada.cli.findings import Finding
from cascada.codecs.sealing import KeyRing, require, wrapping_key
from cascada.model.door.secret import Secret
from cascada.model.door.wrapping import read_wrapping_keys
from cascada.model.errors import CorruptEntry, MissingExtra
from cascada.tiers.sealing import owner_of

ROUNDS: Final = 3
"""Rounds of a sync that a change may wait."""

LEAST_LAG: Final = 60.0
"""Seconds that any change may wait."""

MOST_KEYS: Final = 1000
"""Tenants' keys that are tried."""


class Waiting(NamedTuple):
    """One journal. name: the service's ("" is what is written behind). changes: that wait, the
    oldest for `lag` seconds. aside: what could never be written."""

    name: str
    changes: int
    lag: float
    aside: int


class Held(NamedTuple):
    """What a lowest tier holds beside entries. whole: whether all of it was seen."""

    journals: Sequence[Waiting] = ()
    keys: Mapping[str, bytes] = {}
    whole: bool = True


def waiting_findings(journals: Sequence[Waiting], interval: float) -> Iterator[Finding]:
    """Whether changes get where they are to go. `interval`: seconds between a sync's rounds."""
    check, most = "sync lag", max(LEAST_LAG, ROUNDS * interval)
    for each in journals:
        who = each.name or "WRITE_BEHIND"
        if not each.changes:
            found = f"{who}: nothing waits"
        else:
            found = f"{who}: {each.changes} changes wait, the oldest for {each.lag:.0f} s"
        if each.changes and each.lag > most:
            yield Finding(
                check, "warn", f"{found}; a round is due every {interval:.0f} s",
                "see that start_sync runs in some process, and what its log says of the database",
            )  # fmt: skip
        else:
            yield Finding(check, "ok", found)
        if each.aside:
            yield Finding(
                "set aside", "warn", f"{who}: {each.aside} changes could not be written, and wait "
                "for somebody",
                "look at their causes (await service.sync_set_aside()), mend rows or table, then "
                "await service.sync_retry()",
            )  # fmt: skip


def key_findings(
    given: Secret | None, encrypt: str, namespace: str, held: Held
) -> Iterator[Finding]:
    """Whether what is sealed opens, and which of the operator's keys still do something."""
    check = "encryption keys"
    by_id = Counter(map(wrapping_key, held.keys.values()))
    if given is None:
        if by_id:
            yield Finding(
                check, "fail", f"values of {len(held.keys)} tenants are sealed by "
                f"{_listed(by_id)}, and CACHE_ENCRYPTION_KEYS holds none: each is a miss",
                "set CACHE_ENCRYPTION_KEYS as the other processes have it",
            )  # fmt: skip
        elif encrypt == "all":
            yield Finding(
                check, "fail", "CASCADA_ENCRYPT is all, and CACHE_ENCRYPTION_KEYS holds no key",
                'set CACHE_ENCRYPTION_KEYS="ID:$(openssl rand -base64 32)"',
            )  # fmt: skip
        else:
            yield Finding(check, "ok", "there are none: types that are sensitive are refused")
        return
    try:
        require()
    except MissingExtra as error:
        yield Finding(check, "fail", f"{error}", "run `pip install 'cascada[encryption]'`")
        return
    keys = read_wrapping_keys(given)
    yield from _of_ring(KeyRing(keys), [*keys], by_id, namespace, held)


def _of_ring(
    ring: KeyRing, ids: Sequence[str], by_id: Counter[str], namespace: str, held: Held
) -> Iterator[Finding]:
    check = "encryption keys"
    unknown = [name for name in by_id if name not in ids]
    closed = 0
    for tenant, wrapped in held.keys.items():
        if wrapping_key(wrapped) in ids:
            try:
                ring.unwrap(wrapped, owner_of(namespace.encode(), tenant))
            except CorruptEntry:
                closed += 1
    if unknown:
        yield Finding(
            check, "fail", f"{sum(by_id[name] for name in unknown)} tenants' keys are wrapped by "
            f"{_listed(unknown)}, which CACHE_ENCRYPTION_KEYS does not hold: all that they have "
            "sealed is a miss",
            "put that key back behind the others, then run `cascada keys rotate`",
        )  # fmt: skip
    if closed:
        yield Finding(
            check, "fail", f"{closed} tenants' keys do not open: an id has another key than it had "
            "when they were wrapped",
            "give each key an id of its own, and put back the one that was there",
        )  # fmt: skip
    older = [name for name in by_id if name in ids and name != ring.current]
    if older:
        yield Finding(
            check, "warn", f"{sum(by_id[name] for name in older)} tenants' keys are still wrapped "
            f"by {_listed(older)}, and not by {ring.current!r}",
            "run `cascada keys rotate`",
        )  # fmt: skip
    if unknown or closed or older:
        return
    idle = [name for name in ids if name not in by_id and name != ring.current]
    may_go = f"; {_listed(idle)} wraps nothing any more and may go" if idle and held.whole else ""
    yield Finding(
        check, "ok", f"{len(ids)} can be read; {ring.current!r} wraps the keys of "
        f"{len(held.keys)} tenants{may_go}"
    )  # fmt: skip


def _listed(names: Sequence[str] | Counter[str]) -> str:
    return ", ".join(map(repr, sorted(names)))
