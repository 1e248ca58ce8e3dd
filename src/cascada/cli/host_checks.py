"""What `cascada doctor` looks at of the machine, and of what is beside what."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from cascada.cli.findings import Finding
from cascada.model.limits import Limits

CGROUPS: Final = Path("/sys/fs/cgroup")


def memory_finding(limits: Limits, workers: int) -> Finding:
    """Whether what all workers keep in memory has room."""
    check = "memory of workers"
    limit, whose = memory_limit()
    needed = limits.l1_bytes * workers
    found = (
        f"{workers} workers x {limits.l1_bytes / 2**20:.0f} MiB are {needed / 2**20:.0f} of "
        f"{limit / 2**20:.0f} MiB of {whose}"
    )
    cure = "let each hold less (L1_CACHE_SIZE_MB), start fewer workers, or allow more memory"
    if needed >= limit:
        return Finding(check, "fail", f"{found}, so the system will kill them", cure)
    if needed >= limit / 2:
        return Finding(check, "warn", f"{found}, and the application needs some, too", cure)
    return Finding(check, "ok", found)


def tiers_finding(redis: bool, database: bool, workers: int) -> Finding:
    """Whether what there is goes together."""
    check = "tiers"
    if redis and not database:
        return Finding(
            check, "warn",
            "Redis stands alone: while it is away only each process remembers what it invalidated, "
            "and writers get InvalidationPending",
            "set CACHE_DATABASE_URL=sqlite:///cache.db, a file on each machine",
        )  # fmt: skip
    if not redis and not database and workers > 1:
        return Finding(
            check, "fail",
            f"{workers} workers have memory alone, so none hears of another's invalidations",
            "set REDIS_URL, or CACHE_DATABASE_URL for workers on one machine",
        )  # fmt: skip
    names = [name for name, there in (("Redis", redis), ("a database", database)) if there]
    return Finding(check, "ok", " and ".join(["memory", *names]))


def memory_limit() -> tuple[int, str]:
    """Bytes that this process and its like may take together, and who says so."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [limit for file in _files_of_cgroup() if (limit := _number(file)) is not None]
    least = min(limits, default=machine)
    return (least, "its control group") if least < machine else (machine, "this machine")


def _files_of_cgroup() -> list[Path]:
    """Where limits of this process may be told, of both versions, up to the root."""
    files = [CGROUPS / "memory.max", CGROUPS / "memory" / "memory.limit_in_bytes"]
    try:
        lines = Path("/proc/self/cgroup").read_text("utf-8").splitlines()
    except OSError:
        return files
    for line in lines:
        _, which, where = line.split(":", 2)
        if which not in ("", "memory"):
            continue
        place = Path(where.lstrip("/"))
        name = "memory.limit_in_bytes" if which else "memory.max"
        files += [CGROUPS / which / each / name for each in (place, *place.parents)]
    return files


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text("ascii"))
    except (OSError, ValueError):  # "max", or there is none
        return None
