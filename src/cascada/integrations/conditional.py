"""What HTTP asks of who answers again with what it has kept: validators (RFC 9110, 8.8 and 13.1.2),
and which responses may be kept at all (RFC 9111, 3).

Functions of header fields as ASGI has them, pairs of bytes with names in small letters.
`responses.py` calls them. They know no framework, and no cache.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from hashlib import blake2b
from typing import Final

from cascada.model.door import arguments

Field = tuple[bytes, bytes]

_FIELD_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+")
_ENTITY_TAG: Final = re.compile(rb'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_DIRECTIVE: Final = re.compile(rb'([A-Za-z0-9!#$%&\'*+\-.^_`|~]+)(?:\s*=\s*(?:"[^"]*"|[^",]*))?')
_CONTROLS: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

NOT_KEPT: Final = frozenset({
    b"age", b"cache-status", b"connection", b"content-length", b"date", b"etag", b"keep-alive",
    b"proxy-authenticate", b"proxy-connection", b"te", b"trailer", b"transfer-encoding",
    b"upgrade", b"vary",
})  # fmt: skip
"""Fields that are of one message, or that are made anew for each."""

_PRIVATE: Final = frozenset({b"no-store", b"no-cache", b"private"})


def field_names(given: object, what: str) -> tuple[str, ...]:
    """Names of header fields, checked; Vary would be torn by anything else."""
    names = arguments.names(given, what)
    for name in names:
        if not _FIELD_NAME.fullmatch(name) or name == "*":
            accepted = 'names of header fields, such as ("Accept-Language",)'
            raise arguments.refused(what, name, accepted)
    return names


def values_of(fields: Iterable[Field], name: bytes) -> list[bytes]:
    """All values of a field, in their order."""
    return [value for each, value in fields if each == name]


def directives(values: Iterable[bytes]) -> set[bytes]:
    """The names of what a Cache-Control says."""
    return {name.lower() for value in values for name in _DIRECTIVE.findall(value)}


def validator(body: bytes, fields: Sequence[Field]) -> bytes:
    """The entity tag of a response: its own, if it has one, else one of its contents.

    A weak one: what compresses a response on its way changes its bytes and not its tag.
    """
    own = values_of(fields, b"etag")
    if len(own) == 1 and _ENTITY_TAG.fullmatch(own[0]):
        return own[0]
    of = blake2b(body, digest_size=16)
    for name in (b"content-type", b"content-language", b"content-encoding"):
        for value in values_of(fields, name):
            of.update(b"\0%d %s%s" % (len(value), name, value))
    return b'W/"%s"' % of.hexdigest().encode()


def not_modified(if_none_match: Iterable[bytes], tag: bytes) -> bool:
    """Whether a client that says If-None-Match has what bears this tag (the weak comparison)."""
    opaque = tag[2:] if tag.startswith(b"W/") else tag
    for value in if_none_match:
        if value.strip() == b"*" or opaque in _ENTITY_TAG.findall(value):
            return True
    return False


def why_not_kept(status: int, fields: Sequence[Field], keyed: Collection[bytes]) -> str | None:
    """Why a response is for its caller alone; None: it may be given to others who ask the same.

    keyed: names of the request's fields that tell apart who asks the same.
    """
    if status != 200:
        return f"its status is {status}"
    for name, value in fields:
        if name == b"set-cookie":
            return "it sets a cookie"
        if name == b"cache-control" and (said := directives([value]) & _PRIVATE):
            return f"it says Cache-Control: {min(said).decode()}"
        if name == b"vary":
            for each in value.lower().split(b","):
                if each.strip() and each.strip() not in keyed:
                    said_name = each.strip().decode("latin-1")
                    return f"it varies by {said_name!r}, which `vary` does not name"
        if _CONTROLS.search(name) or _CONTROLS.search(value):
            return "one of its header fields holds a control character"
    return None
