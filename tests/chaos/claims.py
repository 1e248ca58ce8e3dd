"""Claims: keys that nobody writes but by `add`, so that of all processes one alone gets True.

A claim has a number, and a line of the truth behind those of the rows. Its version says how often
it was won: who wins it at version v writes v + 1 there. Each version has a key of its own, so that
nothing is ever given back. If somebody else has written v + 1 already, two have won. And once the
winner was told so, nobody may read that there is nothing.
"""

from __future__ import annotations

import random
from typing import Any, Final

from cascada import Hit, TierUnavailable
from cascada.testing.inside import inside
from tests.chaos.actions import EVERYBODY
from tests.chaos.handles import Handles
from tests.chaos.keyspace import NOWHERE, Keyspace
from tests.chaos.truth import FIRST, Truth
from tests.chaos.witness import Witness

TENANT: Final = "tenant0"


class Claims:
    """See the module's text."""

    def __init__(
        self,
        handles: Handles,
        keyspace: Keyspace,
        truth: Truth,
        witness: Witness,
        rng: random.Random,
    ) -> None:
        self._handles = handles
        self._handle = handles.of(TENANT, NOWHERE)
        self._keyspace = keyspace
        self._truth = truth
        self._witness = witness
        self._rng = rng

    async def claim(self) -> None:
        """Win it, or not. Where no tier says so, nobody has."""
        number = self._rng.choice(self._keyspace.claims)
        version = self._truth.version(number)
        try:
            won = await self._handle.add("claim", _id(number, version), self._value(number))
        except TierUnavailable:
            return
        if not won:
            return
        written = self._truth.bump(number)
        self._witness.note(number, f"claim v{version} was won: v{written}")
        if written != version + 1:
            self._witness.won_twice(number, version)
        if any(tier.deferred for tier in inside(self._handles.cache).lower):
            # A tier above the one that has decided may go on with "nothing" until it is told.
            self._witness.pending([(number, written)], "add", EVERYBODY)
        else:
            self._witness.returned([(number, written)], "add")

    async def look(self) -> None:
        """At one that is free, mostly: that there is nothing is remembered, until it is won."""
        number = self._rng.choice(self._keyspace.claims)
        version = max(FIRST, self._truth.version(number) - (self._rng.random() < 0.3))
        reading = self._witness.begin("look at a claim")
        key = "claim", _id(number, version)
        if self._rng.random() < 0.5:
            found = await self._handle.load(*key, lambda: self._of_the_truth(number, version))
        else:
            found = await self._handle.get(*key)
        if isinstance(found, Hit) and found.absent:
            self._witness.version(number, version, found.tier, reading)

    def _of_the_truth(self, number: int, version: int) -> Any:
        return self._value(number) if self._truth.version(number) > version else None

    def _value(self, number: int) -> dict[str, int]:
        return {"claim": number}


def _id(number: int, version: int) -> str:
    return f"c{number}-{version}"
