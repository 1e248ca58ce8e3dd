"""The headers in which a request says whom it comes from.

`with_context` and `cascada.integrations.fastapi` read them here, so that both say the same of a
wrong one. No tenant is ever guessed: a header that is missing, empty or there twice is the caller's
error.
"""

from __future__ import annotations

from typing import Final, Protocol

from cascada.api.context import Context
from cascada.model import arguments
from cascada.model.errors import BadInput

HEADERS: Final = {
    "tenant": "X-Tenant-ID",
    "agent": "X-Agent-ID",
    "conversation": "X-Conversation-ID",
    "collection": "X-Collection-ID",
}


class Headers(Protocol):
    """Of a request, as Starlette has them."""

    def getlist(self, key: str, /) -> list[str]: ...


def tenant_in(headers: Headers) -> str:
    """The tenant that a request names; BadInput, with the header's name, if it names none."""
    header = HEADERS["tenant"]
    said = _once(headers, header)
    try:
        return arguments.tenant(said)
    except BadInput as error:
        raise BadInput(f"{header}: {error}") from error


def context_in(headers: Headers) -> Context:
    """What a request says of itself, a tenant or not; BadInput for what cannot be an id."""
    named = _once(headers, HEADERS["tenant"]) is not None
    return Context(
        tenant_id=tenant_in(headers) if named else None,
        agent_id=_id_in(headers, HEADERS["agent"]),
        conversation_id=_id_in(headers, HEADERS["conversation"]),
        collection_id=_id_in(headers, HEADERS["collection"]),
    )


def _id_in(headers: Headers, header: str) -> str | None:
    said = _once(headers, header)
    try:
        return None if said is None else arguments.identity(said, "the id")
    except BadInput as error:
        raise BadInput(f"{header}: {error}") from error


def _once(headers: Headers, header: str) -> str | None:
    said = headers.getlist(header)
    if len(said) > 1:
        # What stands in front may have checked one of two, and we would take the other.
        raise BadInput(f"{header}: the request has it more than once; send it once")
    return said[0] if said else None
