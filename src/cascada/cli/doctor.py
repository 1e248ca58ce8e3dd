"""`cascada doctor`: looks at what a cache would be made with, says what is wrong and what to do.

It reads the environment as `Cache.from_env` does. It makes no cache, and changes no setting of a
server.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

from cascada.api.settings import cache_arguments, variable
from cascada.cli.database_checks import database_findings, held_in
from cascada.cli.findings import Finding
from cascada.cli.host_checks import memory_finding, tiers_finding
from cascada.cli.journal_checks import key_findings, waiting_findings
from cascada.model.door.secret import Url, hidden
from cascada.model.errors import InvalidSettings


def findings(
    redis: Url | None, database: Url | None, workers: int | None, synced: Url | None = None
) -> Iterator[Finding]:
    """What is found, a check after the other; what is given goes before the environment. `synced`:
    the database that services sync to."""
    try:
        said = cache_arguments()
    except InvalidSettings as error:
        yield Finding("settings", "fail", str(error), "correct that variable, or unset it")
        return
    yield Finding("settings", "ok", "all variables of the environment can be read")
    redis = said.get("redis") if redis is None else redis
    database = said.get("database") if database is None else database
    synced = variable("CASCADA_SYNC_DATABASE") if synced is None else synced
    if workers is None:
        workers = _workers()
    yield tiers_finding(redis is not None, database is not None, workers)
    yield memory_finding(said["limits"], workers)
    if redis is not None:
        yield from _of_redis(redis, said, workers, lowest=database is None)
    if database is not None:
        yield from _of_database(hidden(database), said)
    if synced is not None:
        from cascada.cli.sync_checks import sync_findings

        _say("asking the database that services sync to")
        yield from sync_findings(synced)


def _of_database(url: Url, said: dict[str, Any]) -> Iterator[Finding]:
    found = [*database_findings(url, said["limits"])]
    yield from found
    if found[0].status != "ok" or (held := held_in(url, said["namespace"])) is None:
        return
    yield from waiting_findings(held.journals, variable("REDIS_SYNC_INTERVAL"))
    yield from key_findings(said["encryption_keys"], said["encrypt"], said["namespace"], held)


def _of_redis(url: Url, said: dict[str, Any], workers: int, *, lowest: bool) -> list[Finding]:
    try:
        from cascada.cli.redis_checks import Use, redis_findings
    except ImportError as error:
        cure = "run `pip install 'cascada[redis]'`"
        return [Finding("redis client", "fail", f"{error.name} is not installed", cure)]
    password = said.get("redis_password")
    use = Use(
        workers,
        writes_behind=said["write_strategy"] == "WRITE_BEHIND",
        lowest=lowest,
        interval=variable("REDIS_SYNC_INTERVAL"),
        encryption_keys=said["encryption_keys"],
        encrypt=said["encrypt"],
    )
    return redis_findings(url, password, said["namespace"], said["limits"], _say, use)


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
