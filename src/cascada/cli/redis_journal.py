"""What `cascada doctor` says of a Redis that keeps the journal of WRITE_BEHIND."""

from __future__ import annotations

from collections.abc import Mapping

from cascada.cli.findings import Finding


def journal_finding(info: Mapping[str, str]) -> Finding:
    """Whether it may keep one, and what becomes of that when it dies, by what INFO tells."""
    check, policy = "redis journal", info.get("maxmemory_policy", "")
    if policy.startswith("allkeys-"):
        return Finding(
            check, "fail", f"{policy} may evict what is written behind, so it is written through",
            f"set maxmemory-policy volatile{policy.removeprefix('allkeys')}, or noeviction",
        )  # fmt: skip
    if info.get("aof_enabled") != "1":
        return Finding(
            check, "warn", "appendonly is off: sets that the database does not have yet are lost "
            "when this Redis dies",
            "set appendonly yes; with appendfsync always no acknowledged set is lost",
        )  # fmt: skip
    return Finding(
        check, "ok", "appendonly is on; no acknowledged set is lost if appendfsync is always"
    )
