"""The transport for SDKs whose clients are of httpx2.

What it does is in `cascada/ai/asynchronous.py`; here are the classes that httpx2 wants it to be of.
"""

from __future__ import annotations

from typing import ClassVar

from cascada.ai.asynchronous import AsyncBody, Asynchronous
from cascada.ai.synchronous import Body, Synchronous
from cascada.model.errors import MissingExtra

try:
    import httpx2
except ImportError as error:
    raise MissingExtra(
        "cascada.ai.httpx2 needs httpx2; run `pip install cascada[httpx2]`"
    ) from error

__all__ = ["AsyncModelTransport", "ModelTransport"]


class _AsyncStream(AsyncBody, httpx2.AsyncByteStream):
    pass


class _Stream(Body, httpx2.SyncByteStream):
    pass


class AsyncModelTransport(Asynchronous, httpx2.AsyncBaseTransport):
    """`httpx2.AsyncClient(transport=AsyncModelTransport(cache))`: each call to a model once."""

    http: ClassVar = httpx2
    body: ClassVar = _AsyncStream


class ModelTransport(Synchronous, httpx2.BaseTransport):
    """`httpx2.Client(transport=ModelTransport(cache))`: the same for plain clients, in threads."""

    http: ClassVar = httpx2
    body: ClassVar = _Stream
