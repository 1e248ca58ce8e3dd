"""Fixtures of the tier tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.tiers.sqlite_world import World


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A database file, with tiers on it that play processes."""
    made = World(tmp_path / "cache.db")
    yield made
    await made.close()
