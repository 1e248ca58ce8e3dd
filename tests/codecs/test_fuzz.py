"""The short form of `python -m tests.codecs.fuzz`."""

import random

from tests.codecs import fuzz


def test_damaged_entries_decode_or_are_corrupt_and_take_no_time() -> None:
    became, slowest = fuzz.run(20_000, random.randrange(2**32))
    assert became["corrupt"] > 1000
    assert became["decoded"] > 100
    assert slowest < 1.0
