"""The operator's keys, by which tenants' keys are wrapped: "ID:KEY" and commas between them.

No sentence shows one, nor any other text that stands in its place.
"""

from __future__ import annotations

from base64 import b64decode
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
    _, wrong = _read(secret)
    # Here, where no frame holds a key: a report of an error may show what is in them.
    if wrong is not None:
        which, why = wrong
        raise BadInput(f"{which} of {what} {why}; pass {ACCEPTED}")
    return secret


def wrong_wrapping_key(given: Secret) -> str | None:
    """Which of the keys is not as it should be, and why, in words that show none."""
    _, wrong = _read(given)
    return None if wrong is None else " ".join(wrong)


def read_wrapping_keys(given: Secret) -> dict[str, bytes]:
    """The keys by their ids, in order, of what was found to be good."""
    keys, _ = _read(given)
    return keys


def _read(given: Secret) -> tuple[dict[str, bytes], tuple[str, str] | None]:
    """The keys, or which of them is wrong, and why."""
    keys: dict[str, bytes] = {}
    for number, each in enumerate(given.reveal().split(","), 1):
        name, _, text = each.partition(":")
        name, key = name.strip(), _decoded(text.strip())
        # An id is shown, and stored beside what its key wraps: a key in its place is refused.
        fits = name.isascii() and name.isprintable() and 0 < len(name) <= MOST_IN_ID
        if not fits or key is None or _decoded(name) is not None:
            return {}, (f"key {number}", "is not as it should be")
        if name in keys:
            first = [*keys].index(name) + 1
            return {}, (f"keys {first} and {number}", "have the same id")
        keys[name] = key
    return keys, None


def _decoded(text: str) -> bytes | None:
    """32 bytes, in either alphabet of base64; None if it is not that."""
    plain = text.replace("-", "+").replace("_", "/")
    try:
        key = b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except ValueError:
        return None
    return key if len(key) == KEY_SIZE else None
