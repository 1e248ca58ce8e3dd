"""Where and with what figures were taken: nothing that names a machine or a person."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import msgspec
from _servers import server_version
from _timing import machine

ROOT: Final = Path(__file__).parents[1]
PEERS: Final = (
    "redis", "hiredis", "valkey-glide", "cashews", "aiocache", "async-lru", "cachetools", "msgspec",
    "fastapi",
)  # fmt: skip


def taken(*, quick: bool) -> dict[str, Any]:
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    return {
        "quick": quick,
        "machine": machine(),
        "redis server": server_version(),
        "versions": {name: version(name) for name in PEERS},
        "commit": commit.stdout.strip() or "unknown",
    }


def sentence(where: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in where["versions"].items())
    said = f"{where['machine']}; {where['redis server']}; {versions}; commit {where['commit']}."
    if where["quick"]:
        said = f"**Provisional, from a quick run on a busy machine.** {said}"
    return said


def pretty(told: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(told), indent=1) + b"\n"
