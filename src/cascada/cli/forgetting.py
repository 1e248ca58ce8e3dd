"""`cascada forget`: whoever is named is forgotten, in the tiers that the environment describes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Final

from cascada.api.cache import Cache
from cascada.api.settings import cache_arguments
from cascada.model.door.shown import shown
from cascada.model.errors import Misuse
from cascada.model.forgotten import ForgetProgress, ForgetReport, Removed

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


def forget(tenant: str, user: str | None, *, asked: bool, compact: bool) -> tuple[str, int]:
    """What was removed, and the exit status. Misuse if it is not meant. `asked`: it is."""
    said = cache_arguments()
    if said.get("redis") is None and said.get("database") is None:
        raise Misuse(NO_TIERS)
    cache = Cache.from_env()
    if not asked:
        _ask(tenant, user, cache.options.namespace)

    async def work() -> ForgetReport:
        async with cache:
            return await cache.forget(
                tenant, user=user, compact=compact or None, on_progress=progress_on_terminal()
            )

    report = asyncio.run(work())
    return as_text(report), 0 if report.complete else INCOMPLETE


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


def progress_on_terminal() -> Callable[[ForgetProgress], None]:
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
    if report.key_dropped:
        lines.append("  its data key: dropped; what backups hold sealed is read by nobody")
    todo = [each.incomplete for each in report.removed if each.incomplete] + [*report.remains]
    return "\n".join([*lines, *[f"  -> {each}" for each in todo]])


def _counts(removed: Removed) -> str:
    found = [(getattr(removed, name), name) for name in _COUNTED]
    said = ", ".join(f"{count} {name}" for count, name in found if count) or "nothing"
    return f"{said} ({removed.size_bytes} bytes)" if removed.size_bytes else said
