"""The short form of `python -m tests.documented.optimized`."""

from pathlib import Path

import pytest

from tests.documented.optimized import World, run


async def test_a_plan_gains_what_it_announces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CASCADA_TENANT", "acme")
    world = World(low=30, normal=300, lost=6, memory=160 * 1024)
    outcome = await run(tmp_path, 700, 1, world)
    assert outcome.wrong == []
    assert outcome.moves["l2"] == 6
    assert outcome.gained > 2000
