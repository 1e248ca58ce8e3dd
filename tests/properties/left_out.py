"""Public callables that the walk of `doors` meets and leaves alone, each with the reason."""

from __future__ import annotations

from typing import Final

from cascada import SyncCache, SyncList, SyncTenant

WAITING: Final = {("PlainCached", "invalidate"), ("PlainCached", "refresh")}

_ENGINE = "it takes the engine's own objects, for the faces; no document names it"
_RESULT = "what calls return, made by cascada: it holds what it is given and does nothing"
LEFT_OUT: Final[dict[str, str]] = {
    **dict.fromkeys(("Tenant", "TenantList"), "made by a call that checks what it was given"),
    **dict.fromkeys(
        ("Bill.of", "CacheCollector.page", "Context.must_be_of", "Policy.is_bulky",
         "Policy.lifetimes", "Scope.only"),
        _ENGINE,
    ),
    "CacheCollector.page": "called by `exposition`, with what other workers have written",
    **dict.fromkeys(
        ("Bill", "Cascade", "Event", "Hit", "Invalidated", "Miss", "Key", "Scope", "CachePriority"),
        _RESULT + "; where it is passed back it is checked",
    ),
    **dict.fromkeys(("SyncCache", "SyncTenant", "SyncList"), "made by a call that checks"),
    **{f"{kind.__name__}.{name}": "it waits for the async call of that name, which is covered"
       for kind in (SyncCache, SyncTenant, SyncList) for name in dir(kind)
       if name[0] != "_" and callable(getattr(kind, name))},
    "CacheManager": "it takes no arguments",
    **{f"{kind}.{name}": "it waits in its thread for the async form, which is covered"
       for kind, name in WAITING},
    "CacheMetrics": _RESULT,
    **{f"CacheService.{name}": "it takes no arguments"
       for name in ("check_alerts", "start_sync", "stop_alerts", "stop_sync", "sync_now")},
    **dict.fromkeys(("Alert", "SyncReport", "SyncProgress", "WarmReport", "WarmProgress"), _RESULT),
    **dict.fromkeys(("ForgetReport", "ForgetProgress"), _RESULT),
    "Cache.aclose": "it ends the cache and takes no arguments",
    "CacheService.forget": "it passes what it is given on to Cache.forget",
    "Cache.forget": "it waits for all processes: tests/forgetting tries its arguments",
    "Cache.rotate_keys": "it takes keys: tests/cli/test_forget.py tries its argument",
    "Cache.reset": "it ends the cache and takes no arguments",
    "reset": "it ends the cache and takes no arguments",
    "Cache.from_env": "its arguments are those of Cache, and it reads the environment of the tests",
    "FlakyTier": "a test's own double of a tier: its author passes what he likes",
    "Nodes": "its options are those of Cache; a test's author passes the rest",
    **dict.fromkeys(("RedisServer", "CountedLoader", "counted"), "a test's own: see FlakyTier"),
    "context_of": "FastAPI calls it with what it has read from a request",
    "tenant_of": "FastAPI calls it with what it has read from a request",
    "tenant_handle": "FastAPI calls it with what it has read from a request",
    "tenant_in": "a dependency gives it the request that FastAPI has read",
    "Resolver": "a type, to be written in annotations",
    "pending_handler": "FastAPI calls it with what a route has raised",
}  # fmt: skip
# The methods of a transport are called by its library.
WHOLE_CLASSES_LEFT_OUT: Final = (
    "AsyncModelTransport", "ModelTransport", "CountedLoader", "FlakyTier", "Nodes", "RedisServer",
)  # fmt: skip
