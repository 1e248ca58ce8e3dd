"""The operator's keys, by which tenants' keys are wrapped: "ID:KEY" and commas between them.

No sentence shows one, nor any other text that stands in its place.
"""

from __future__ import annotations

from base64 import b64decode, urlsafe_b64decode
from typing import Any, Final

from cascada.model.door import arguments
from cascada.model.door.secret import Secret
from cascada.model.errors import BadInput

KEY_SIZE: Final = 32
"""Bytes of a key."""

MOST_IN_ID: Final = 64
"""Characters of a key's id, which are ASCII."""

ACCEPTED: Final = (
    '"ID:KEY", several with commas between, of which the first one wraps; a KEY is 32 random bytes '
    "in base64, as `openssl rand -base64 32` makes them"
)


def wrapping_keys_given(given: Any, what: str) -> Secret:
    """What was given as keys, once it can be read; BadInput."""
    secret: Secret = arguments.secret(given, what, ACCEPTED)
    read_wrapping_keys(secret.reveal(), what)
    return secret


def read_wrapping_keys(given: str, what: str = "encryption_keys") -> dict[str, bytes]:
    """The keys by their ids, in order; BadInput says which of them is wrong."""
    keys: dict[str, bytes] = {}
    for number, each in enumerate(given.split(","), 1):
        name, _, text = each.strip().partition(":")
        key = _decoded(text.strip())
        fits = name.isascii() and name.isprintable() and 0 < len(name) <= MOST_IN_ID
        if not fits or key is None:
            raise BadInput(f"key {number} of {what} is not as it should be; pass {ACCEPTED}")
        if name in keys:
            raise BadInput(f"two keys of {what} have the id {name!r}; give each its own")
        keys[name] = key
    return keys


def _decoded(text: str) -> bytes | None:
    """32 bytes, in either alphabet of base64; None if it is not that."""
    padded = text + "=" * (-len(text) % 4)
    try:
        key = urlsafe_b64decode(padded) if {*"-_"} & {*text} else b64decode(padded, validate=True)
    except ValueError:
        return None
    return key if len(key) == KEY_SIZE else None
