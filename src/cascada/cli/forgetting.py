"""`cascada forget`: whoever is named is forgotten, in the tiers that the environment describes."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Final

from cascada.api.cache import Cache
from cascada.api.settings import cache_arguments, variable
from cascada.engine.forgetting import OnProgress
from cascada.model.door.secret import Url, hidden
from cascada.model.door.shown import shown
from cascada.model.errors import MissingExtra, Misuse
from cascada.model.forgotten import ForgetProgress, ForgetReport, Removed
from cascada.service.sync.erasing import SYNCED, Rows

INCOMPLETE: Final = 1
"""The exit status where something is left."""

NOT_MEANT: Final = "nothing was forgotten: that is not %s"
NOBODY_ASKED: Final = (
    "nothing was forgotten: nobody is here to be asked; pass --yes to forget without a question"
)
NO_TIERS: Final = (
    "there is nothing to forget from: set REDIS_URL or CACHE_DATABASE_URL as the service has them"
)

_COUNTED: Final = ("entries", "lists", "counters", "changes", "others")


def forget(
    tenant: str, user: str | None, *, asked: bool, compact: bool, synced: Url | None
) -> tuple[str, int]:
    """What was removed, and the exit status. Misuse if it is not meant. `asked`: it is. `synced`:
    where services sync to; None: as the environment says."""
    said = cache_arguments()
    if said.get("redis") is None and said.get("database") is None:
        raise Misuse(NO_TIERS)
    cache = Cache.from_env()
    if not asked:
        _ask(tenant, user, cache.options.namespace)

    async def work() -> ForgetReport:
        tell, small = progress_on_terminal(), compact or None
        async with cache:
            rows = None if user is not None else await _rows(cache, tenant, synced, said, tell)
            if rows is None:
                return await cache.forget(tenant, user=user, compact=small, on_progress=tell)
            return rows.told(await cache._forget(tenant, None, small, tell, rows.erase))

    report = asyncio.run(work())
    return as_text(report), 0 if report.complete else INCOMPLETE


async def _rows(
    cache: Cache, tenant: str, synced: Url | None, said: dict[str, Any], tell: OnProgress
) -> Rows | None:
    """Of all services, where they sync to; None where nobody can have synced."""
    url = variable("CASCADA_SYNC_DATABASE") if synced is None else synced
    text = _file_of(said) if url is None else hidden(url).reveal()
    if text is None:
        return None
    rows = Rows(text, cache._engine, cache.tenant(tenant).tenant, None, tell)
    try:
        await rows.look()
    except MissingExtra:
        if synced is not None:
            raise
        return None
    return rows


def _file_of(said: dict[str, Any]) -> str | None:
    """The database of the cache, which services sync to if nobody says otherwise."""
    if said.get("database") is None:
        return None
    text: str = hidden(said["database"], Url).reveal()
    return text if "://" in text else f"sqlite:///{text}"


def _ask(tenant: str, user: str | None, namespace: str) -> None:
    wanted = tenant if user is None else user
    if not sys.stdin.isatty():
        raise Misuse(NOBODY_ASKED)
    what = "tenant" if user is None else f"user of tenant {shown(tenant)}"
    sys.stderr.write(
        f"All of this {what}, in namespace {shown(namespace)}, goes for good. Type {wanted} to go "
        "on: "
    )
    sys.stderr.flush()
    if sys.stdin.readline().strip() != wanted.strip():
        raise Misuse(NOT_MEANT % shown(wanted))


def progress_on_terminal() -> OnProgress:
    """Tells whoever watches; a file is told nothing."""

    def tell(progress: ForgetProgress) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{progress.tier}: {progress.removed} removed ")
            sys.stderr.flush()

    return tell


def as_text(report: ForgetReport) -> str:
    """For people: a line for each tier, and what to do below."""
    who = f"tenant {report.tenant}" + ("" if report.user is None else f", user {report.user}")
    lines = [f"{who}: {'all' if report.complete else 'NOT all'} of it is forgotten"]
    lines += [f"  {each.tier}: {_counts(each)}" for each in report.removed]
    if report.rows:
        lines.append(f"  {SYNCED}: {report.rows} rows that services have synced")
    if report.key_dropped:
        lines.append("  its data key: dropped; what backups hold sealed is read by nobody")
    todo = [each.incomplete for each in report.removed if each.incomplete] + [*report.remains]
    return "\n".join([*lines, *[f"  -> {each}" for each in todo]])


def _counts(removed: Removed) -> str:
    found = [(getattr(removed, name), name) for name in _COUNTED]
    said = ", ".join(f"{count} {name}" for count, name in found if count) or "nothing"
    return f"{said} ({removed.size_bytes} bytes)" if removed.size_bytes else said
