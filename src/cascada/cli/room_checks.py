"""Whether what a namespace may take in Redis fits into the server, and how much of it is taken."""

from __future__ import annotations

from typing import Final

from cascada.cli.findings import Finding
from cascada.tiers.redis.room import NEARLY, account_of

CHECK: Final = "redis budget"

BESIDE: Final = 1.1
"""Times as much as the entries take, at least, a server needs: for buffers, leases, the rings."""

_MB: Final = 2**20


def budget_finding(capacity: int, maxmemory: int, account: bytes | None) -> Finding:
    """`maxmemory` 0: the server has none. `account`: what it says of the entries."""
    used = account_of(account).used
    taken = f"entries of this namespace take {used / _MB:.0f} of {capacity / _MB:.0f} MiB"
    if maxmemory and capacity * BESIDE > maxmemory:
        return Finding(
            CHECK, "warn",
            f"{taken} (L2_CACHE_SIZE_MB), and maxmemory is {maxmemory / _MB:.0f} MiB, so that the "
            "server evicts before that bound is reached",
            f"set maxmemory to at least {capacity * BESIDE / _MB:.0f} MiB, or L2_CACHE_SIZE_MB to "
            f"at most {max(1, int(maxmemory / BESIDE / _MB))}",
        )  # fmt: skip
    if used > NEARLY * capacity:
        return Finding(
            CHECK, "warn", f"{taken}: new values find no room there, those of LOW priority first",
            "raise L2_CACHE_SIZE_MB, and maxmemory with it, or let values live less long",
        )  # fmt: skip
    return Finding(CHECK, "ok", taken)
