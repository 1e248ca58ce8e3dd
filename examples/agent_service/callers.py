"""Who is calling: the tenant of a request, from a signed token or, for trying out, from a header.

With AGENT_SERVICE_JWT_SECRET the claim `tenant` of a bearer token says it (HS256, not expired), and
nothing else does. Without it the header X-Tenant-ID is believed. Routes get at the data of that
tenant and of no other (routes/request.py).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import jwt
from fastapi import HTTPException, Request

from cascada import BadInput, Context
from cascada.integrations.fastapi import tenant_in
from examples.agent_service.settings import Settings

CLAIM: Final = "tenant"
_SCHEME: Final = "bearer"
_BY_HEADER: Final = {"type": "apiKey", "in": "header", "name": "X-Tenant-ID"}
_BY_TOKEN: Final = {
    "type": "http",
    "scheme": _SCHEME,
    "bearerFormat": "JWT",
    "description": f"HS256, with an expiry (`exp`) and the claim `{CLAIM}`.",
}


def tenant_of_request(settings: Settings) -> Callable[[Request], str]:
    """What tells the tenant of a request, or refuses it."""
    if settings.jwt_secret is None:
        return tenant_in
    return tenant_of_token(settings.jwt_secret)


def declared(settings: Settings) -> dict[str, Any]:
    """How a caller says who it is, as OpenAPI has it."""
    return _BY_HEADER if settings.jwt_secret is None else _BY_TOKEN


def tenant_of_token(secret: str) -> Callable[[Request], str]:
    """A resolver that believes tokens which `secret` has signed, and 401s all others."""

    def tenant(request: Request) -> str:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != _SCHEME or not token:
            raise _refused("send a bearer token in the header Authorization", "")
        try:
            claims = jwt.decode(
                token.strip(),
                secret,
                # One algorithm, whatever the token says of itself: "none" is one as well.
                algorithms=["HS256"],
                options={"require": ["exp", CLAIM]},
            )
        except jwt.InvalidTokenError as error:
            raise _refused(f"the token is not valid: {error}", ' error="invalid_token"') from error
        named = claims[CLAIM]
        if not isinstance(named, str):
            raise _refused(f"the claim {CLAIM!r} is no text", ' error="invalid_token"')
        try:
            return Context(tenant_id=named).get_tenant_id()
        except BadInput as error:
            sentence = f"the claim {CLAIM!r}: {error}"
            raise _refused(sentence, ' error="invalid_token"') from error

    return tenant


def caller_header(settings: Settings, tenant: str) -> str:
    """The header with which a caller says that it is this tenant: for trying out, good for 1 h."""
    if settings.jwt_secret is None:
        return f"X-Tenant-ID: {tenant}"
    claims = {CLAIM: tenant, "exp": datetime.now(UTC) + timedelta(hours=1)}
    return f"Authorization: Bearer {jwt.encode(claims, settings.jwt_secret, 'HS256')}"


def _refused(sentence: str, why: str) -> HTTPException:
    return HTTPException(401, sentence, {"WWW-Authenticate": f"Bearer{why}"})
