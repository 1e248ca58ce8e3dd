"""`cached_response` in an application: FastAPI does all that it does without it."""

from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import httpx
import pytest
from fastapi import (
    APIRouter,
    BackgroundTasks,
    Depends,
    FastAPI,
    Header,
    Request,
    Response,
    WebSocket,
)
from fastapi.responses import HTMLResponse, PlainTextResponse
from fastapi.testclient import TestClient
from pydantic import BaseModel, Field

from cascada import Cache
from cascada.integrations.fastapi import cached_response, handle_from, lifespan
from cascada.model.errors import Misuse
from tests.integrations.test_responses import Mine, Runs, app, cache, client, clock, http, runs

__all__ = ["app", "cache", "clock", "http", "runs"]


class Person(BaseModel):
    full_name: str = Field(serialization_alias="fullName")
    secret: str = "hidden"
    nick: str | None = None


class Shown(BaseModel):
    full_name: str = Field(serialization_alias="fullName")


async def unlike(app: FastAPI) -> tuple[dict[str, Any], list[tuple[int, bytes, dict[str, str]]]]:
    """The document, and what each route answers the second time."""
    answers = []
    async with app.router.lifespan_context(app), client(app) as http:
        for path in [each for each in app.openapi()["paths"]]:
            await http.get(path)
            got = await http.get(path)
            added = {"etag", "vary", "age", "cache-control", "cache-status"}
            fields = {k: v for k, v in got.headers.items() if k not in added}
            answers.append((got.status_code, got.content, fields))
    return app.openapi(), answers


def decorated(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """As many decorators do it: a plain function, which returns what is to be awaited."""

    @wraps(endpoint)
    def plain(**values: Any) -> Any:
        return endpoint(**values)

    return plain


def furnished(keep: Callable[[Any], Any]) -> FastAPI:
    """Routes of many kinds, whose endpoints `keep` decorates."""
    app, router, html = FastAPI(), APIRouter(prefix="/r"), APIRouter(prefix="/html")

    async def dated(response: Response) -> None:
        response.headers["X-Of-Request"] = "yes"

    ann = {"full_name": "Ann", "nick": None}

    @router.get("/model", response_model_exclude_none=True, dependencies=[Depends(dated)])
    @keep
    async def model() -> Person:
        """What it says."""
        return Person(**ann)

    @router.get("/filtered", response_model=Shown)
    @keep
    def filtered(response: Response) -> Any:
        response.headers["X-Of-Endpoint"] = "yes"
        return Person(**ann)

    @router.get("/named", response_model=Person, response_model_by_alias=False)
    @keep
    def named() -> Any:
        return ann

    @router.get("/class", response_class=PlainTextResponse)
    @keep
    async def of_a_class() -> str:
        return "plain"

    @router.get("/own", dependencies=[Depends(dated)])
    @keep
    async def own() -> Response:
        return HTMLResponse("<p>", headers={"X-Own": "yes"})

    @html.get("/default")
    @keep
    async def default() -> str:
        return "<p>"

    @router.get("/decorated")
    @keep
    @decorated
    async def under_another(agent_id: int = 7) -> int:
        return agent_id

    @router.get("/none")
    @keep
    async def none() -> None:
        return None

    app.include_router(router)
    app.include_router(router, prefix="/again")
    app.include_router(html, default_response_class=HTMLResponse)
    return app


async def test_fastapi_makes_the_same_of_an_endpoint_with_it_and_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CASCADA_TENANT", "acme")
    async with Cache() as cache:
        kept = await unlike(furnished(cached_response(ttl=60, cache=cache)))
        plain = await unlike(furnished(lambda endpoint: endpoint))
        assert kept == plain
        assert (await cache.stats()).total.hits == len(plain[1])


class Headers(BaseModel):
    x_style: str = "plain"
    language: str = Field("en", validation_alias="Accept-Language")


class AnyHeaders(BaseModel, extra="allow"):
    pass


async def test_vary_names_what_a_model_of_headers_reads(
    app: FastAPI, http: httpx.AsyncClient
) -> None:
    async def read(them: Annotated[Headers | None, Header()] = None) -> str:
        return "" if them is None else them.x_style

    @app.get("/here")
    @cached_response(ttl=60, max_age=60)
    async def here(mine: Mine, them: Annotated[Headers, Header()]) -> str:
        return them.language

    @app.get("/below")
    @cached_response(ttl=60, max_age=60)
    async def below(mine: Mine, style: Annotated[str, Depends(read)]) -> str:
        return style

    @app.get("/any")
    @cached_response(ttl=60, max_age=60)
    async def any_of_them(mine: Mine, them: Annotated[AnyHeaders, Header()]) -> int:
        return len(them.model_dump())

    for path, reads in (
        ("/here", {"x-style", "accept-language"}),
        ("/below", {"x-style", "accept-language"}),
        ("/any", {"*"}),
    ):
        vary = (await http.get(path)).headers["Vary"].lower().split(", ")
        assert reads <= set(vary), path
        assert "them" not in vary


async def test_what_dependencies_set_is_each_requests_own(
    app: FastAPI, http: httpx.AsyncClient, runs: Runs
) -> None:
    async def session(response: Response) -> None:
        number = runs("session")
        response.set_cookie("session", f"{number}")
        response.headers["X-Session"] = f"{number}"
        response.headers["X-Both"] = "of the dependency"

    @app.get("/page", dependencies=[Depends(session)])
    @cached_response(ttl=60)
    async def page(mine: Mine, response: Response) -> int:
        response.headers["X-Both"] = "of the endpoint"
        return runs("page")

    for number in (1, 2, 3):
        answer = await http.get("/page")
        assert answer.json() == 1
        assert answer.headers["Set-Cookie"].startswith(f"session={number};")
        assert answer.headers.get_list("X-Session") == [f"{number}"]
        assert answer.headers.get_list("X-Both") == ["of the endpoint"]


@pytest.mark.parametrize(
    "said",
    [{"Cache-Control": "no-store"}, {"Vary": "X-Tenant-ID, Accept"}, {"X-Name": "a\r\nb"}, {}],
)
async def test_dependencies_may_say_that_it_is_not_to_be_kept(
    app: FastAPI, http: httpx.AsyncClient, runs: Runs, said: dict[str, str]
) -> None:
    async def careful(response: Response) -> None:
        response.headers.update(said)
        if not said:
            response.status_code = 203

    @app.get("/page", dependencies=[Depends(careful)])
    @cached_response(ttl=60)
    async def page(mine: Mine) -> int:
        return runs("page")

    assert [(await http.get("/page")).json() for _ in range(2)] == [1, 2]


@pytest.mark.parametrize("makes", [Request, Response])
async def test_a_request_or_a_response_that_a_dependency_returns_is_refused_too(
    app: FastAPI, http: httpx.AsyncClient, makes: type
) -> None:
    async def given(request: Request) -> Any:
        return request if makes is Request else Response(request.headers["Authorization"])

    @app.get("/page")
    @cached_response(ttl=60)
    async def page(mine: Mine, it: Annotated[Any, Depends(given)]) -> int:
        return 1

    with pytest.raises(Misuse, match=r"takes it: .*ignore=\('it',\)"):
        await http.get("/page", headers={"Authorization": "ann"})


async def test_what_dependencies_say_goes_before_what_we_would(
    app: FastAPI, http: httpx.AsyncClient
) -> None:
    async def says(response: Response) -> None:
        response.headers["Cache-Control"] = "max-age=5"
        response.headers["Vary"] = "X-Tenant-ID"
        response.headers["ETag"] = '"none of this"'

    @app.get("/page", dependencies=[Depends(says)])
    @cached_response(ttl=60)
    async def page(mine: Mine) -> int:
        return 1

    for _ in range(2):
        answer = await http.get("/page")
        assert answer.headers.get_list("Cache-Control") == ["max-age=5"]
        assert len(answer.headers.get_list("ETag")) == 1
        assert answer.headers["ETag"].startswith("W/")


async def test_background_tasks_run_with_the_endpoint_or_with_each_request(
    app: FastAPI, http: httpx.AsyncClient, runs: Runs
) -> None:
    async def counted(tasks: BackgroundTasks) -> None:
        tasks.add_task(runs, "each")

    @app.get("/page", dependencies=[Depends(counted)])
    @cached_response(ttl=60)
    async def page(mine: Mine, tasks: BackgroundTasks) -> int:
        tasks.add_task(runs, "once")
        return 1

    for _ in range(3):
        await http.get("/page")
    assert runs == {"each": 3, "once": 1}


async def test_a_mounted_application_has_the_cache_of_the_one_it_is_in(
    app: FastAPI, http: httpx.AsyncClient, cache: Cache, runs: Runs
) -> None:
    below = FastAPI()

    @below.get("/page")
    @cached_response(ttl=60, data_type="page")
    async def page(mine: Mine) -> int:
        return runs("page")

    app.mount("/one", below)
    app.mount("/two", below)
    said = [(await http.get(f"/{at}/page")).json() for at in ("one", "one", "two", "two")]
    assert said == [1, 1, 2, 2]
    assert (await cache.tenant("acme").invalidate("page", "*")).keys == 2


async def test_a_handle_may_come_from_what_the_service_says(cache: Cache, runs: Runs) -> None:
    app = FastAPI()

    def claim(request: Request) -> str | None:
        return request.headers.get("Session")

    mine = handle_from(claim, cache)

    @app.get("/page", dependencies=[])
    @cached_response(ttl=60)
    async def page(whose: Annotated[Any, Depends(mine)]) -> str:
        return f"{whose.tenant} {runs('page')}"

    async with cache, client(app, "mallory") as http:
        assert (await http.get("/page")).status_code == 401
        for _ in range(2):
            assert (await http.get("/page", headers={"Session": "acme"})).json() == "acme 1"
        assert (await http.get("/page", headers={"Session": "other"})).json() == "other 2"


async def test_called_by_hand_an_endpoint_is_what_it_was(runs: Runs) -> None:
    @cached_response(ttl=60)
    async def page(page_id: int) -> int:
        return runs("page") + page_id

    @cached_response(ttl=60)
    def plain(page_id: int) -> int:
        return page_id

    assert [await page(10), await page(page_id=10)] == [11, 12]
    assert await plain(7) == 7


def test_a_websocket_is_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASCADA_TENANT", "acme")
    app = furnished(cached_response(ttl=60, cache=Cache()))

    @app.websocket("/ws")
    async def ws(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("hello")
        await websocket.close()

    with pytest.raises(Misuse, match="WebSocket"):
        cached_response()(ws)
    with TestClient(app).websocket_connect("/ws") as socket:
        assert socket.receive_text() == "hello"


async def test_of_several_open_caches_an_application_says_which_one_it_means() -> None:
    ours, theirs = Cache(), Cache()
    apps = [FastAPI(lifespan=lifespan(each)) for each in (ours, theirs)]
    apps.append(FastAPI())
    for each in apps:

        @each.get("/mine")
        async def mine(mine: Mine) -> bool:
            return mine.tenant == "acme"

        @each.get("/page")
        @cached_response(ttl=60, data_type="page")
        async def page(mine: Mine) -> int:
            return 1

    async with apps[0].router.lifespan_context(apps[0]):
        for each in (apps[0], apps[2]):  # the only one that is open
            async with client(each) as http:
                assert (await http.get("/page")).json() == 1
        assert (await ours.stats()).total.hits == 1
        async with apps[1].router.lifespan_context(apps[1]):
            async with client(apps[1]) as http:
                assert (await http.get("/page")).json() == 1
            assert (await theirs.stats()).total.hits == 0
            async with client(apps[2]) as http:
                with pytest.raises(Misuse, match=r"2 caches are open, .*cache="):
                    await http.get("/mine")
