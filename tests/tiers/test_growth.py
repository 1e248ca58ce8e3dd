"""Memory's bound in bytes is one on what the process takes, whatever it holds."""

import pytest

from tests.tiers import growth


@pytest.mark.parametrize(
    "shape",
    [
        "nested empty lists, shared",
        "nested empty tuples",
        "texts beyond",
        "arrays in tuples",
        "models",
    ],
)
async def test_a_full_memory_takes_no_more_than_twice_its_bound(
    shape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growth, "CAPACITY", 2**20)
    monkeypatch.setattr(growth, "SECONDS", 3.0)
    allocated, _, kept = await growth.growth(shape)
    assert kept > 0
    assert allocated < 2


async def test_a_compressed_value_weighs_what_it_becomes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "CAPACITY", 2**20)
    monkeypatch.setattr(growth, "SECONDS", 1.0)
    allocated, _, kept = await growth.growth("compressed tuples")  # of 4 MB each
    assert allocated < 2
    assert kept == 0
