"""What `cascada doctor` says of a Redis that keeps a journal: of WRITE_BEHIND, or of a service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cascada.cli.findings import Finding

_KEEPS: Final = {
    "always": "no acknowledged set is lost",
    "everysec": "what was acknowledged in the last second may be lost when its machine dies",
}


def journal_finding(info: Mapping[str, str], fsync: str | None, *, behind: bool) -> Finding:
    """Whether it may keep one, and what becomes of that when it dies, by what INFO tells. `fsync`:
    its appendfsync, if this user may know; `behind`: WRITE_BEHIND's."""
    check, policy = "redis journal", info.get("maxmemory_policy", "")
    if policy.startswith("allkeys-"):
        without = "it is written through" if behind else "a CacheService does not sync by it"
        return Finding(
            check, "fail", f"{policy} may evict what the database does not have yet, so {without}",
            f"set maxmemory-policy volatile{policy.removeprefix('allkeys')}, or noeviction",
        )  # fmt: skip
    if info.get("aof_enabled") != "1":
        return Finding(
            check, "warn", "appendonly is off: sets that the database does not have yet are lost "
            "when this Redis dies",
            "set appendonly yes; with appendfsync always no acknowledged set is lost",
        )  # fmt: skip
    if info.get("aof_last_write_status", "ok") != "ok":
        return Finding(
            check, "fail", "appendonly is on, and its last write to the disk has failed",
            "free the disk of this Redis, and look at its log",
        )  # fmt: skip
    if fsync is None:
        return Finding(
            check, "ok", "appendonly is on; no acknowledged set is lost if appendfsync is always"
        )
    if fsync not in _KEEPS:
        return Finding(
            check, "warn", f"appendonly is on, and appendfsync {fsync}: half a minute of sets is "
            "lost when its machine dies",
            "set appendfsync everysec, or always: then no acknowledged set is lost",
        )  # fmt: skip
    return Finding(check, "ok", f"appendonly is on, appendfsync {fsync}: {_KEEPS[fsync]}")
