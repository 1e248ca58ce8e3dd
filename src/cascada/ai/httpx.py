"""The transport for SDKs whose clients are of httpx.

What it does is in `cascada/ai/asynchronous.py`; here are the classes that httpx wants it to be of.
"""

from __future__ import annotations

from typing import ClassVar

from cascada.ai.asynchronous import AsyncBody, Asynchronous
from cascada.ai.synchronous import Body, Synchronous
from cascada.model.errors import MissingExtra

try:
    import httpx
except ImportError as error:
    raise MissingExtra("cascada.ai.httpx needs httpx; run `pip install cascada[httpx]`") from error

__all__ = ["AsyncModelTransport", "ModelTransport"]


class _AsyncStream(AsyncBody, httpx.AsyncByteStream):
    pass


class _Stream(Body, httpx.SyncByteStream):
    pass


class AsyncModelTransport(Asynchronous, httpx.AsyncBaseTransport):
    """`httpx.AsyncClient(transport=AsyncModelTransport(cache))`: each call to a model once."""

    http: ClassVar = httpx
    body: ClassVar = _AsyncStream


class ModelTransport(Synchronous, httpx.BaseTransport):
    """`httpx.Client(transport=ModelTransport(cache))`: the same for plain clients, in threads."""

    http: ClassVar = httpx
    body: ClassVar = _Stream
