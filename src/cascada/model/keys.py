"""Keys: which value is meant, as a plain tuple, and the text that people and tiers see.

A key is a tuple of strings, because a tuple is the cheapest thing in Python to build and to hash
(a frozen dataclass costs twenty times as much). Its text form is unambiguous: whatever an id
holds, it can imitate no other key, because the characters that have a meaning in the text are
percent-encoded, and the number of segments says which parts are there.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

from cascada.model.door import arguments
from cascada.model.errors import InvalidKey

Id = str | int | UUID
"""What callers may pass as an id; `str()` of it is the canonical form, so 7 and "7" are one id."""

_SPECIAL = re.compile(r"[%:*{}\x00-\x1f\x7f-\x9f\u2028\u2029]")
LABELS = {"agent": "agent", "conversation": "conv", "collection": "coll"}
"""What each part of a context is called in key text, in the order of the parts."""


class Scope(NamedTuple):
    """The context that a value belongs to, next to its tenant; absent parts are None."""

    agent: str | None = None
    conversation: str | None = None
    collection: str | None = None

    @property
    def parts(self) -> tuple[tuple[str, str], ...]:
        """The parts that are there, as (label, id), in the order of the key text."""
        return tuple(
            (label, part)
            for label, part in zip(LABELS.values(), self, strict=True)
            if part is not None
        )

    def only(self, names: tuple[str, ...]) -> Scope:
        """This scope less the parts that are not in `names`."""
        return Scope(
            self.agent if "agent" in names else None,
            self.conversation if "conversation" in names else None,
            self.collection if "collection" in names else None,
        )


NO_SCOPE = Scope()


Prefix = tuple[str, str, str | None, str | None, str | None]
"""A key without its id: the tenant, the data type and the context."""


class Key(NamedTuple):
    """One cached value. A plain tuple with the same items is equal to it and hashes alike."""

    tenant: str
    data_type: str
    agent: str | None
    conversation: str | None
    collection: str | None
    resource_id: str

    @property
    def scope(self) -> Scope:
        return Scope(self.agent, self.conversation, self.collection)

    @property
    def text(self) -> str:
        """`tenant:type:[agent:A]:[conv:C]:[coll:L]:id`, absent parts left out."""
        return text_before(*self[:5]) + quote(self.resource_id)

    def __str__(self) -> str:
        return self.text

    @classmethod
    def parse(cls, text: str) -> Key:
        """The key whose `text` this is."""
        try:
            before, _, last = text.rpartition(":") if type(text) is str else ("", "", "")
            # Past the constructor, which is a Python function.
            return tuple.__new__(cls, (*_prefix_of(before), _unquoted(last)))
        except ValueError as error:
            raise arguments.refused("text", text, "the text of a key", InvalidKey) from error


@lru_cache(maxsize=4096)
def _prefix_of(text: str) -> Prefix:
    """What the key text of many keys begins with, up to the colon before the id."""
    tenant, data_type, *middle = map(_unquoted, text.split(":"))
    parts = dict(zip(middle[::2], middle[1::2], strict=True))
    agent, conversation, collection = (parts.get(label) for label in LABELS.values())
    return tenant, data_type, agent, conversation, collection


def _unquoted(segment: str) -> str:
    if "%" not in segment:
        return segment
    if segment.count("%") == segment.count("%3A"):  # mostly it is that: many times as fast
        return segment.replace("%3A", ":")
    from urllib.parse import unquote  # which a start that parses no key does without

    return unquote(segment)


@lru_cache(maxsize=4096)
def text_before(
    tenant: str, data_type: str, agent: str | None, conversation: str | None, collection: str | None
) -> str:
    """The key text of all keys of one tenant, type and context, up to the id."""
    segments = [tenant, data_type]
    for label, part in Scope(agent, conversation, collection).parts:
        segments += (label, part)
    return "".join(f"{quote(segment)}:" for segment in segments)


def quote(segment: str) -> str:
    """`segment` with every character that has a meaning in key text percent-encoded."""
    if segment.isalnum() or _SPECIAL.search(segment) is None:
        return segment
    if _SPECIAL.search(segment.replace(":", "")) is None:  # mostly it is that
        return segment.replace(":", "%3A")
    return _SPECIAL.sub(
        lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), segment
    )


def counter_text(tenant: str, counter_type: object, resource_id: object) -> str:
    """`tenant:type:id`, the name of a counter among counters."""
    parts = (
        tenant,
        arguments.data_type(counter_type, "counter_type"),
        arguments.identity(resource_id),
    )
    return ":".join(map(quote, parts))


def list_text(tenant: str, list_name: object) -> str:
    """`tenant:name`, the name of a list among lists."""
    return f"{quote(tenant)}:{quote(arguments.identity(list_name, 'list_name'))}"


def scope_of(
    agent: Id | None = None,
    conversation: Id | None = None,
    collection: Id | None = None,
) -> Scope:
    """A scope of canonical ids; None is an absent part."""
    return Scope(
        None if agent is None else arguments.identity(agent, "agent"),
        None if conversation is None else arguments.identity(conversation, "conversation"),
        None if collection is None else arguments.identity(collection, "collection"),
    )
