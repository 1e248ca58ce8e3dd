"""One request's run of its endpoint, which others that ask the same may wait for.

An endpoint works with what its own request's dependencies have opened (a session, a transaction),
and these end with the request. So a run ends with its request, too: if a timeout ends that, one of
those who wait for the run begins his own. What would call it in the background, when the request is
over (a comparison with the source), is told that there is none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from fastapi import Request, Response
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException

from cascada.engine.tasks.callers import CallerLeft
from cascada.integrations.conditional import directives, values_of, why_not_kept
from cascada.integrations.kept import Kept
from cascada.integrations.routes import Rendering
from cascada.model.loaded import Loaded

ALONE: Final = "alone"
"""Instead of a response, for those who wait: what came is for its own caller."""


class RequestOver(CallerLeft):
    """The request that a run was for has ended, and with it what its endpoint works with."""


class Run:
    """What one request calls its endpoint by, and what came of it.

    begun, made: the endpoint runs, and has run, for this request. background: what is to run after
    the response, where the endpoint's own Response says it. why: for what reason it is not kept.
    """

    def __init__(
        self,
        call: Callable[[], Awaitable[Any]],
        route: Rendering,
        request: Request,
        response: Response,
    ) -> None:
        self._call = call
        self._route = route
        self._request = request
        self._response = response
        self._given = list(response.headers.raw)
        self._until: asyncio.Timeout | None = None
        self._over = False
        self._returned: Any = None
        self._refused: HTTPException | None = None
        self.begun = self.made = False
        self.background: BackgroundTask | None = None
        self.why: str | None = None

    @property
    def store(self) -> bool:
        """Whether the client lets its answer be kept (RFC 9111, 5.2.1.5)."""
        said = values_of(self._request.headers.raw, b"cache-control")
        return not said or b"no-store" not in directives(said)

    async def load(self) -> object:
        """The loader: the response as it is kept, or ALONE."""
        if self._over:
            raise RequestOver("its request is over: an endpoint runs for none but its own")
        self._until = until = asyncio.timeout(None)
        try:
            async with until:
                return await self._load()
        except TimeoutError as error:
            if not until.expired():
                raise  # the endpoint's own
            raise RequestOver("its request ended while its endpoint ran") from error
        finally:
            self._until = None

    async def _load(self) -> object:
        response, self.begun = self._response, True
        response.headers.raw[:] = self._given  # it may have run before, in mode observe
        response.status_code = None  # type: ignore[assignment]  # so FastAPI hands it over
        try:
            self._returned = await self._call()
        except HTTPException as error:
            # An answer, and no failure of the source.
            self.made, self._refused = True, error
            return Loaded(ALONE, store=False)
        returned = self._returned
        fields = [each for each in response.headers.raw if each not in self._given]
        own = isinstance(returned, Response)
        if own:
            made = returned
        else:
            made = await self._route.render(self._request, returned, response.status_code, fields)
        self.made = True
        if type(made).__call__ is not Response.__call__ or not hasattr(made, "body"):
            self.why = "it is no plain response: a stream, a file"
        else:
            # An endpoint may have written them as it liked: a cookie is one in any letters.
            made.raw_headers = [(name.lower(), value) for name, value in made.raw_headers]
            self.why = why_not_kept(made.status_code, made.raw_headers, self._route.keyed)
        if self.why is not None:
            return Loaded(ALONE, store=False)
        self.background = made.background if own else None
        return Loaded(tuple(Kept.made_of(made, merged=not own)), store=self.store)

    def own(self) -> Any:
        """What the endpoint returned to its own request, which goes on as without a cache."""
        if self._refused is not None:
            raise self._refused
        return self._returned

    def end(self) -> None:
        """The request is over, or has its answer."""
        self._over = True
        if self._until is not None:
            self._until.reschedule(asyncio.get_running_loop().time())
