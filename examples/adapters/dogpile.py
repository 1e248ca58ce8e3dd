"""dogpile.cache on cascada: its regions, in memory and in what all processes share.

    dogpile.cache.register_backend("cascada", "examples.adapters.dogpile", "CascadaBackend")
    region = make_region().configure("cascada", arguments={"cache": cache, "tenant": "acme"})

A region's creators run once in all processes that share a tier: its mutex is a value that one alone
can add. It goes by itself after `lock_timeout` seconds, should its holder have been killed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from dogpile.cache.api import NO_VALUE, BytesBackend, CacheMutex

from cascada import SyncTenant


class CascadaBackend(BytesBackend):
    """`cache` and `tenant` as arguments; `data_type`, `ttl` and `lock_timeout` may be said."""

    serializer = staticmethod(lambda value: json.dumps(value).encode())
    deserializer = staticmethod(json.loads)

    def __init__(self, arguments: dict[str, Any]) -> None:
        self._tenant = arguments["cache"].sync.tenant(arguments["tenant"])
        self._type = arguments.get("data_type", "dogpile")
        self._ttl = arguments.get("ttl")
        self._lock_timeout = arguments.get("lock_timeout", 30)

    def get_serialized(self, key: str) -> Any:
        return self._tenant.get(self._type, key, type=bytes, default=NO_VALUE).value

    def get_serialized_multi(self, keys: Any) -> Sequence[Any]:
        found = self._tenant.get_many(self._type, list(keys), type=bytes, default=NO_VALUE)
        return [each.value for each in found]

    def set_serialized(self, key: str, value: bytes) -> None:
        self._tenant.set(self._type, key, value, ttl=self._ttl)

    def set_serialized_multi(self, mapping: Mapping[str, bytes]) -> None:
        self._tenant.set_many(self._type, mapping, ttl=self._ttl)

    def delete(self, key: str) -> None:
        self.delete_multi([key])

    def delete_multi(self, keys: Any) -> None:
        """A set is refused if its key was deleted since this thread has missed it. So it looks
        again: what it sets after its own delete is to stay."""
        self._tenant.delete_many(self._type, keys := list(keys))
        self._tenant.get_many(self._type, keys)

    def get_mutex(self, key: str) -> CacheMutex:
        return Mutex(self._tenant, f"{self._type}_lock", key, self._lock_timeout)


class Mutex(CacheMutex):
    """Held by whoever has added its value."""

    def __init__(self, tenant: SyncTenant, data_type: str, key: str, timeout: float) -> None:
        self._where = data_type, key
        self._tenant, self._timeout = tenant, timeout

    def acquire(self, wait: bool = True) -> bool:
        while not self._tenant.add(*self._where, True, ttl=self._timeout):
            if not wait:
                return False
            time.sleep(0.01)
        return True

    def release(self) -> None:
        self._tenant.delete(*self._where)

    def locked(self) -> bool:
        return bool(self._tenant.get(*self._where))
