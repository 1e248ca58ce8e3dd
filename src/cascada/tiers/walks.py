"""Going through the keys of one data type of a tenant, for who has no name that they all bear."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Final, Protocol, runtime_checkable

from cascada.model.errors import InvalidKey
from cascada.model.keys import Key

STEP: Final = 500
"""Keys that one step looks at."""

BEGINNING: Final = ""


@runtime_checkable
class Walks(Protocol):
    """A tier that tells its keys, step by step.

    What is stored all the time until the last step is told at least once; what comes or goes
    meanwhile may be. Keys may be of what has ended.
    """

    async def keys_of(self, tenant: str, data_type: str, place: str) -> tuple[list[Key], str]:
        """The keys without context from a place on, and the place of the next ones: BEGINNING,
        after the last."""
        ...


def keys_in(texts: Iterable[str], tenant: str, data_type: str) -> list[Key]:
    """Those of the type, without context, that these texts are; what another hand has written may
    be no key's text at all."""
    prefix = (tenant, data_type, None, None, None)
    keys = []
    for text in texts:
        with suppress(InvalidKey):
            keys.append(Key.parse(text))
    return [each for each in keys if each[:5] == prefix]
