"""What waits in the journal, and a process that has another strategy."""

from __future__ import annotations

import pytest

from cascada.engine import left_behind
from cascada.testing.inside import inside
from cascada.tiers.sqlite.tier import SqliteTier
from tests.behind.conftest import Held, Make
from tests.behind.looking import behind, got, is_written, row
from tests.scenarios.row import until


async def test_who_writes_through_writes_what_is_left_and_says_so(
    make: Make, held: Held, database: SqliteTier, caplog: pytest.LogCaptureFixture
) -> None:
    here = make()
    for number in range(3):
        await here.tenant("acme").set("doc", str(number), number)
    await here.aclose()
    held.is_so = False
    there = make(write_strategy="WRITE_THROUGH")
    await got(there)
    await until(lambda: "3 changes that another process has written behind" in caplog.text)
    looks = make()
    await got(looks)
    await is_written(looks)
    assert [await row(database, n) is not None for n in range(3)] == [True] * 3


async def test_who_writes_through_reads_nothing_older_where_others_write_behind(
    make: Make, held: Held, database: SqliteTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(left_behind, "LOOK_EVERY", 0.01)
    monkeypatch.setattr(left_behind, "ASKED_FOR", 0.0)
    here, there = make(), make(write_strategy="WRITE_AROUND")
    tenant, base = here.tenant("acme"), inside(there).stack.lower[-1]
    held.is_so = False
    await tenant.set("doc", "1", "old")
    await is_written(here)
    await got(there)
    assert base.written_behind is None  # it costs a question
    held.is_so = True
    await tenant.set("doc", "1", "new", tags=["t"])
    await until(lambda: base.written_behind is not None)
    await tenant.invalidate(tag="t")
    assert await got(there) is None
    held.is_so = False
    await until(lambda: base.written_behind is None)
    assert await row(database) is None
    assert not (await behind(here).backlog()).changes
