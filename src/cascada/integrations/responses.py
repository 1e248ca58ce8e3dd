"""`@cached_response`: what a FastAPI endpoint answers is kept, and given again with its validators.

It stands around the endpoint function, next to it, so inside of all that FastAPI does first: the
request is validated and the route's dependencies have passed before a kept response is looked for.
A token that is not good any more gets its 401 whatever is kept.

Under one key are requests that nothing the endpoint is given can tell apart: the tenant, the URL,
the header fields that `vary` names, and all arguments of the endpoint by their contents, those that
dependencies return included. What has no contents to look at is refused until `ignore` names it: a
session, and the request itself, of which nobody can say what the endpoint reads. What it reads of
what it is not given, a global or a context variable, is not in the key.

A response of a request is a value of a `load`, with all that this brings: of equal requests at once
one runs the endpoint, what it reads through the cache is a source of the response, and an
invalidation of any of these, or of a tag, ends it. So clients are told to ask again each time
(`no-cache`), which costs a 304: no invalidation reaches what a browser keeps.

What is no plain 200 goes to its caller alone and is not kept (`conditional.why_not_kept`).
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Coroutine, Sequence
from hashlib import blake2b
from typing import Any, Final, ParamSpec

from fastapi import HTTPException, Request, Response
from fastapi.security import SecurityScopes
from starlette.background import BackgroundTasks
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection

from cascada.api.cache import Cache
from cascada.api.context import current_context, current_tenant
from cascada.api.tenant.handle import Tenant
from cascada.codecs.digest import generate_resource_id_hash
from cascada.engine.decide import NO_REFRESH
from cascada.engine.loading.loaders import SingleLoader
from cascada.integrations.conditional import field_names, why_not_kept
from cascada.integrations.endpoints import (
    is_a,
    is_async,
    is_generator,
    name_of,
    telling,
    tells,
    with_both,
)
from cascada.integrations.kept import Kept, Told, shown
from cascada.integrations.opened import cache_of
from cascada.integrations.routes import Rendering, rendering_of
from cascada.integrations.runs import Run
from cascada.model.door import arguments
from cascada.model.entry import Hit
from cascada.model.errors import BadInput, Misuse, SourceBusy
from cascada.model.keys import Id
from cascada.model.made_of import Declared, sources_of
from cascada.model.ttl import Duration

logger = logging.getLogger("cascada")

P = ParamSpec("P")

Named = Sequence[str] | Callable[..., Sequence[str]]
"""Names, or a function that tells them from the arguments of the endpoint that it names."""
Made = Sequence[Declared] | Callable[..., Sequence[Declared]]
Whose = Callable[..., "Tenant | Id"]

_NOT_LOOKED_AT: Final = (BackgroundTasks, SecurityScopes)
"""Arguments that say nothing of the answer."""

RETRY_AFTER: Final = "1"
"""Seconds after which who was refused may try again."""

MOST_REASONS: Final = 16
"""Reasons of one endpoint's that are told, once each."""


def cached_response(
    *,
    ttl: Duration | None = None,
    tags: Named = (),
    sources: Made = (),
    vary: Sequence[str] = (),
    max_age: Duration | None = None,
    ignore: Sequence[str] = (),
    data_type: str | None = None,
    tenant: Whose | None = None,
    cache: Cache | None = None,
) -> Callable[[Callable[P, Any]], Callable[P, Coroutine[Any, Any, Any]]]:
    """Keep what a GET endpoint answers: `@app.get("/page")`, below it `@cached_response(ttl=60)`.

    ttl: how long it is fresh (left out: as the policy of its type says). tags: names to invalidate
    it by, `await tenant.invalidate(tag="pages")`. sources: what it is made from beside what the
    endpoint reads through the cache. Either may be a function of arguments of the endpoint:
    `tags=lambda page_id: [f"page:{page_id}"]`. vary: header fields of the request that the answer
    depends on. max_age: seconds for which a client may show it without asking, invalidated or not;
    left out, it asks each time. ignore: arguments that do not change the answer. data_type: what
    its values are called (left out: the name of the endpoint).

    Whose it is: what `tenant`, a function like those, makes of the arguments, a `Tenant` or its id.
    Left out: that of a `Tenant` among the arguments, else the current context's, else
    CASCADA_TENANT. cache: the one to use where no `Tenant` says it (left out: what `lifespan` has
    opened, else the default).

    So many endpoints of one type run at once as loads do (`Limits.max_loads_per_type`, 16); more
    wait for `load_wait`, then are answered 503. A refresh in the background would outlive its
    request, so there is none: `stale_for` and `refresh_at` of a policy do nothing here.

    An endpoint that answers HEAD as well answers it from what GET has kept. A request's `no-store`
    is obeyed; its `no-cache` and `max-age` are not, or any client could have the endpoint run.
    """
    how: dict[str, Any] = {
        "ttl": arguments.ttl(ttl),
        "tags": tags if tells(tags) else arguments.names(tags, "tags", "tags"),
        "sources": sources if tells(sources) else sources_of(sources),
        "vary": field_names(vary, "vary"),
        "max_age": None if max_age is None else arguments.duration(max_age, "max_age", zero=True),
        "ignore": frozenset(arguments.names(ignore, "ignore")),
        "data_type": None if data_type is None else arguments.data_type(data_type),
        "tenant": tenant
        if tenant is None
        else arguments.plain_function(tenant, "tenant", "a function of arguments"),
        "cache": cache if cache is None else arguments.instance(cache, "cache", Cache, "a Cache"),
    }

    def decorate(endpoint: Callable[P, Any]) -> Callable[P, Coroutine[Any, Any, Any]]:
        return CachedEndpoint(endpoint, **how).wrapper()

    return decorate


class CachedEndpoint:
    """One endpoint, under which keys its responses are kept, and how it is run."""

    def __init__(
        self,
        endpoint: Callable[..., Any],
        *,
        ttl: Duration | None,
        tags: Named,
        sources: Made,
        vary: tuple[str, ...],
        max_age: float | None,
        ignore: frozenset[str],
        data_type: str | None,
        tenant: Whose | None,
        cache: Cache | None,
    ) -> None:
        arguments.function(endpoint, "cached_response", "the endpoint, a function")
        if is_generator(endpoint):
            raise Misuse(f"{name_of(endpoint)} is a generator: what it streams is not kept")
        self._endpoint, self._is_async = endpoint, is_async(endpoint)
        self._identity = f"{getattr(endpoint, '__module__', '')}.{name_of(endpoint)}"
        self.data_type = arguments.data_type(data_type or self._identity)
        self.vary, self.max_age = vary, max_age
        self._ttl, self._ignore, self._cache = ttl, ignore, cache
        self._signature, self._request, self._response = with_both(endpoint)
        self._added = self._signature.parameters.keys() - inspect.signature(endpoint).parameters
        known = self._signature.parameters.keys() - self._added
        if unknown := ignore - known:
            raise Misuse(f"ignore names {min(unknown)!r}, which {name_of(endpoint)} does not take")
        for each in self._signature.parameters.values():
            if each.name in known - ignore and is_a(each.annotation, HTTPConnection):
                raise Misuse(
                    f"{name_of(endpoint)} takes {each.name}, and nobody sees what it reads of it; "
                    f"name the header fields in vary=, and ignore=({each.name!r},)"
                )
        self._warned: set[str] = set()
        self._tenant = None if tenant is None else telling(tenant, "tenant", known)
        self._tags = telling(tags, "tags", known)
        self._sources = telling(sources, "sources", known)

    def wrapper(self) -> Callable[..., Coroutine[Any, Any, Any]]:
        """What FastAPI calls, with all that the endpoint takes, the request and a response."""

        @functools.wraps(self._endpoint)
        async def answer(*args: Any, **values: Any) -> Any:
            request, response = values.get(self._request), values.get(self._response)
            for name in self._added:
                values.pop(name, None)
            if args or not isinstance(request, Request) or not isinstance(response, Response):
                # Called by hand, as in a test of the function.
                return await self.run(values, *args)
            if request.method not in ("GET", "HEAD") or response.status_code is not None:
                return await self.run(values)
            return await self._respond(request, response, values)

        answer.__signature__ = self._signature  # type: ignore[attr-defined]  # as FastAPI reads it
        return answer

    async def run(self, values: dict[str, Any], *args: Any) -> Any:
        """What the endpoint returns: a plain one in a thread, as without a cache."""
        if self._is_async:
            return await self._endpoint(*args, **values)
        return await run_in_threadpool(self._endpoint, *args, **values)

    async def _respond(self, request: Request, response: Response, values: dict[str, Any]) -> Any:
        handle = self._handle(request, values)
        route = rendering_of(request, self.vary, self._ignore)
        # What dependencies have said is this request's own; it is no part of what is kept.
        given = list(response.headers.raw)
        if given:
            said = [each for each in given if each[0] != b"set-cookie"]
            if (why := why_not_kept(200, said, route.keyed)) is not None:
                self._warn(why)
                return await self.run(values)
        common = self._common(request, response, handle, values, route.in_url)
        resource_id = _id(b"GET", common)
        if request.method == "HEAD":
            found = await handle.get(self.data_type, resource_id)
            if isinstance(found, Hit) and (kept := Kept.of(found.value)) is not None:
                return shown(request, found, kept, given, self._told(route, handle))
            # Its answer is not kept for GET: an endpoint may give it another one.
            resource_id = _id(b"HEAD", common)
        engine = handle._engine
        hit = None if engine.check.armed else handle.peek(self.data_type, resource_id)
        if hit is not None and (kept := Kept.of(hit.value)) is not None:
            return shown(request, hit, kept, given, self._told(route, handle))
        # As `load`, but for what is stale: its refresh would outlive the request.
        wanted = handle._request(self.data_type, resource_id)
        wanted.stale_for = NO_REFRESH
        terms = handle._terms(self._ttl, self._tags(values), self._sources(values))
        run = Run(lambda: self.run(values), route, request, response)
        try:
            loader = SingleLoader(run.load, clock=engine.clock, stored=terms)
            answer = await engine.load(wanted, loader)
        except SourceBusy as error:
            if run.begun:
                raise  # of what the endpoint itself loads
            raise HTTPException(503, str(error), {"Retry-After": RETRY_AFTER}) from error
        finally:
            run.end()
        if isinstance(answer, Hit) and (kept := Kept.of(answer.value)) is not None:
            told = self._told(route, handle, stored=not run.made or run.store)
            return shown(request, answer, kept, given, told, run.background)
        if run.made:
            self._warn(run.why)
            return run.own()
        # Somebody else's run, whose response is for him alone, or nothing that is a response.
        return await self.run(values)

    def _told(self, route: Rendering, handle: Tenant, *, stored: bool = True) -> Told:
        return Told(route.vary, self.max_age, stored, handle._engine.passing_by)

    def _warn(self, why: str | None) -> None:
        """Say once why its responses are not kept, if it is not in their nature."""
        if why is None or why.startswith("its status") or len(self._warned) == MOST_REASONS:
            return
        if why not in self._warned:
            self._warned.add(why)
            logger.warning("responses of %s are not kept: %s", self._identity, why)

    # --- whose it is, and under which key ---------------------------------------------------------

    def _handle(self, request: Request, values: dict[str, Any]) -> Tenant:
        said: Any = None
        if self._tenant is not None:
            said = self._tenant(values)
        else:
            said = next((each for each in values.values() if isinstance(each, Tenant)), None)
        if isinstance(said, Tenant):
            return said
        cache = self._cache or cache_of(request.app)
        if self._tenant is not None:
            return cache.tenant(said)
        context = current_context()
        if context is None:
            return cache.tenant(current_tenant())
        return cache.tenant(
            current_tenant(),
            agent=context.agent_id,
            conversation=context.conversation_id,
            collection=context.collection_id,
        )

    def _common(
        self,
        request: Request,
        response: Response,
        handle: Tenant,
        values: dict[str, Any],
        in_url: frozenset[str],
    ) -> list[bytes]:
        """The parts of the key that GET and HEAD share, beside the tenant."""
        scope, headers = request.scope, request.headers
        parts = [
            self._identity.encode(),
            scope["scheme"].encode(),
            headers.get("host", "").encode("latin-1"),
            scope["path"].encode("utf-8", "surrogatepass"),
            scope["query_string"],
        ]
        for name in self.vary:
            said = [value.encode("latin-1") for value in headers.getlist(name)]
            parts.append(_joined(said))
        # Only what is known to be in the key, or to be FastAPI's own, is left out: a dependency may
        # return another tenant's handle, a response that it has made, or the request.
        rest = {
            name: _told_apart(value)
            for name, value in values.items()
            if name not in in_url
            and name not in self._ignore
            and value is not handle
            and value is not response
            and not isinstance(value, _NOT_LOOKED_AT)
        }
        if any(handle.scope):  # the policy of a type may leave some of them out of its keys
            rest[""] = tuple(handle.scope)
        if rest:
            parts.append(self._digest(rest).encode())
        return parts

    def _digest(self, rest: dict[str, Any]) -> str:
        try:
            return generate_resource_id_hash(**rest)
        except BadInput:
            for name, value in rest.items():
                try:
                    generate_resource_id_hash(value)
                except BadInput as error:
                    raise Misuse(
                        f"{name_of(self._endpoint)} takes {name}: {error}; if it never changes the "
                        f"answer, leave it out with ignore=({name!r},)"
                    ) from error
            raise


def _told_apart(value: Any) -> Any:
    """What one argument is in the key: of a handle, whose it is."""
    return (value.tenant, *value.scope) if isinstance(value, Tenant) else value


def _id(method: bytes, common: list[bytes]) -> str:
    return blake2b(_joined([method, *common]), digest_size=16).hexdigest()


def _joined(parts: Sequence[bytes]) -> bytes:
    """One text, which no other list of parts has."""
    return b"".join([b"%d:%s" % (len(part), part) for part in parts])
