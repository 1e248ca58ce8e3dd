"""The headers in which a request says whom it comes from.

`with_context` and `cascada.integrations.fastapi` read them here, so that both say the same of a
wrong one. No tenant is ever guessed: a header that is missing, empty or there twice is the caller's
error.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from cascada.api.context import Context
from cascada.model.door import arguments
from cascada.model.errors import BadInput

HEADERS: Final = {
    "tenant": "X-Tenant-ID",
    "agent": "X-Agent-ID",
    "conversation": "X-Conversation-ID",
    "collection": "X-Collection-ID",
}


_identity = partial(arguments.identity, what="the id")


class Headers(Protocol):
    """Of a request, as Starlette has them."""

    def getlist(self, key: str, /) -> list[str]: ...


def tenant_in(headers: Headers) -> str:
    """The tenant that a request names; BadInput, with the header's name, if it names none."""
    return _checked(headers, "tenant", arguments.tenant)


def context_in(headers: Headers) -> Context:
    """What a request says of itself, a tenant or not; BadInput for what cannot be an id."""
    said: dict[str, str] = {}
    for part, header in HEADERS.items():
        if headers.getlist(header):
            check = arguments.tenant if part == "tenant" else _identity
            said[f"{part}_id"] = _checked(headers, part, check)
    return Context(**said)


def _checked(headers: Headers, part: str, check: Callable[[object], str]) -> str:
    header = HEADERS[part]
    said = headers.getlist(header)
    if len(said) > 1:
        # What stands in front may have checked one of two, and we would take the other.
        raise BadInput(f"{header}: the request has it more than once; send it once")
    try:
        return check(said[0] if said else None)
    except BadInput as error:
        raise BadInput(f"{header}: {error}") from error
