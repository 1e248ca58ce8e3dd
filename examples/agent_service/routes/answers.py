"""What the service answers beside a value, as its OpenAPI document declares it: how it refuses (a
status and a sentence), and the header that says where a value came from."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel

Responses = dict[int | str, dict[str, Any]]


class Problem(BaseModel):
    """What is wrong, in a sentence."""

    detail: str


class WrongValue(BaseModel):
    """One value of the request that may not be what it is."""

    loc: list[str | int]
    msg: str
    type: str


class WrongValues(BaseModel):
    """What of the request is wrong, value by value."""

    detail: list[WrongValue]


def _sentence(description: str, example: str) -> dict[str, Any]:
    content = {"application/json": {"example": {"detail": example}}}
    return {"model": Problem, "description": description, "content": content}


OF_A_TENANT: Final[Responses] = {
    400: _sentence(
        "The request names no tenant, or cannot be read.",
        "X-Tenant-ID: tenant is None; pass the id of the tenant whose data this is",
    ),
    422: {"model": WrongValues, "description": "A value of the request may not be what it is."},
    503: _sentence(
        "Try again: too much is going on, or what is asked for could not be reached.",
        "16 loads of 'agent_response' are running",
    ),
}
"""What every route of a tenant may answer."""

UNAUTHORIZED: Final[Responses] = {
    401: _sentence(
        "The token is missing, forged or expired.", "the token is not valid: Signature has expired"
    ),
}
CACHED: Final[Responses] = {
    200: {
        "headers": {
            "Cache-Status": {
                "description": "Where the value came from (RFC 9211).",
                "required": True,
                "schema": {"type": "string", "examples": ["cascada; hit; ttl=120; detail=l1"]},
            }
        }
    },
}
"""What a read may answer."""
UNCHANGED: Final[Responses] = {
    304: {"description": "It is what the client has: `If-None-Match` names its entity tag."},
}
"""What a read whose response is kept whole may answer as well."""
NOT_THERE: Final[Responses] = {
    404: _sentence("This tenant has no such thing.", "agent 'librarian' does not exist"),
}
TAKEN: Final[Responses] = {
    409: _sentence("The id is taken.", "agent 'librarian' exists already"),
}
NO_EMBEDDING: Final[Responses] = {
    502: _sentence("The embeddings endpoint does not answer.", "the endpoint answered 500"),
}
NO_LIBRARY: Final[Responses] = {
    501: _sentence("A library is missing.", "run `pip install cascada[prometheus]`"),
}
