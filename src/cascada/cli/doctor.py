"""`cascada doctor`: looks at what a cache would be made with, says what is wrong and what to do.

It reads the environment as `Cache.from_env` does. It makes no cache, and changes no setting of a
server.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

from cascada.api.settings import cache_arguments
from cascada.cli.database_checks import database_findings
from cascada.cli.findings import Finding
from cascada.cli.host_checks import memory_finding, tiers_finding
from cascada.model.door.secret import Url, hidden
from cascada.model.errors import InvalidSettings


def findings(redis: Url | None, database: Url | None, workers: int | None) -> Iterator[Finding]:
    """What is found, a check after the other; what is given goes before the environment."""
    try:
        said = cache_arguments()
    except InvalidSettings as error:
        yield Finding("settings", "fail", str(error), "correct that variable, or unset it")
        return
    yield Finding("settings", "ok", "all variables of the environment can be read")
    redis = said.get("redis") if redis is None else redis
    database = said.get("database") if database is None else database
    if workers is None:
        workers = _workers()
    yield tiers_finding(redis is not None, database is not None, workers)
    yield memory_finding(said["limits"], workers)
    if redis is not None:
        yield from _of_redis(redis, said)
    if database is not None:
        yield from database_findings(hidden(database), said["limits"])


def _of_redis(url: Url, said: dict[str, Any]) -> list[Finding]:
    try:
        from cascada.cli.redis_checks import redis_findings
    except ImportError as error:
        cure = "run `pip install 'cascada[redis]'`"
        return [Finding("redis client", "fail", f"{error.name} is not installed", cure)]
    password = said.get("redis_password")
    behind = said.get("write_strategy") == "WRITE_BEHIND"
    return redis_findings(
        url, password, said["namespace"], said["limits"], _say, writes_behind=behind
    )


def _workers() -> int:
    """As gunicorn and uvicorn read it; else one for each processor."""
    told = os.environ.get("WEB_CONCURRENCY", "")
    if told.isascii() and told.isdigit() and int(told):
        return int(told)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _say(what: str) -> None:
    """Tell whoever watches what takes long."""
    if sys.stderr.isatty():
        sys.stderr.write(f"doctor: {what}\n")
        sys.stderr.flush()
