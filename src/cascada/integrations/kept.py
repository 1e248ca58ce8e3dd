"""A kept response, and how it is shown to who asks: whole, or 304 to who has it already."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Self

from fastapi import Request, Response
from starlette.background import BackgroundTask

from cascada.api.cache_status import cache_status
from cascada.integrations.conditional import (
    NOT_KEPT,
    Field,
    not_modified,
    validator,
    values_of,
)
from cascada.model.entry import Hit


class Kept(NamedTuple):
    """A response as it is stored, a plain tuple of it.

    merged: whether the fields that dependencies have set go with it (FastAPI leaves them out where
    an endpoint returns a Response of its own).
    """

    tag: bytes
    merged: bool
    fields: tuple[Field, ...]
    body: bytes

    @classmethod
    def made_of(cls, response: Response, *, merged: bool) -> Self:
        body = bytes(response.body)
        fields = response.raw_headers
        kept = tuple((name, value) for name, value in fields if name not in NOT_KEPT)
        return cls(validator(body, fields), merged, kept, body)

    @classmethod
    def of(cls, value: Any) -> Self | None:
        """What was stored; None of anything else, as somebody else may have put there."""
        if type(value) is not tuple or len(value) != len(cls._fields):
            return None
        kept = cls._make(value)
        pairs = type(kept.fields) is tuple and all(
            type(each) is tuple and [*map(type, each)] == [bytes, bytes] for each in kept.fields
        )
        if not pairs or type(kept.tag) is not bytes or type(kept.body) is not bytes:
            return None
        return kept


class Told(NamedTuple):
    """What the headers of an answer are made from, beside what is kept."""

    vary: bytes
    max_age: float | None
    stored: bool
    bypassed: bool


class _Shown(Response):
    """A response of these fields as they are."""

    def __init__(
        self, status: int, fields: list[Field], body: bytes, background: BackgroundTask | None
    ) -> None:
        self.status_code = status
        self.raw_headers = fields
        self.body = body
        self.background = background


def shown(
    request: Request,
    hit: Hit[Any],
    kept: Kept,
    given: list[Field],
    told: Told,
    background: BackgroundTask | None = None,
) -> Response:
    """The answer to this request. `given`: the fields that its dependencies have set."""
    fields = list(kept.fields)
    if given and kept.merged:
        own = {name for name, _ in fields} | NOT_KEPT
        fields += [each for each in given if each[0] not in own]
    asked = request.headers.raw
    status, body = 200, kept.body
    if not_modified(values_of(asked, b"if-none-match"), kept.tag):
        # A client goes on with the fields that it has of the contents (RFC 9110, 15.4.5).
        status, body = 304, b""
        fields = [
            each for each in fields
            if not each[0].startswith(b"content-") or each[0] == b"content-location"
        ]  # fmt: skip
    else:
        fields.append((b"content-length", b"%d" % len(body)))
    if not any(name == b"cache-control" for name, _ in fields):
        fields.append((b"cache-control", _lifetime(hit, told.max_age)))
    fields.append((b"etag", kept.tag))
    fields.append((b"vary", told.vary))
    if hit.tier != "source":
        fields.append((b"age", b"%d" % max(0, int(hit.age))))
    status_of = cache_status(hit, stored=told.stored, bypassed=told.bypassed)
    fields.append((b"cache-status", status_of.encode()))
    if request.method == "HEAD":
        body = b""
    return _Shown(status, fields, body, background)


def _lifetime(hit: Hit[Any], max_age: float | None) -> bytes:
    """How long a client may show it without asking: no longer than it goes on being fresh here.

    A client counts the Age that it is told, so what has passed is added.
    """
    if not max_age or hit.stale or hit.origin is None:
        return b"private, no-cache"
    left = min(max_age, float(hit.origin.lifetime) - hit.age)
    if left < 1:
        return b"private, no-cache"
    passed = 0 if hit.tier == "source" else int(hit.age)
    return b"private, max-age=%d" % (passed + math.floor(min(left, 10**9)))
