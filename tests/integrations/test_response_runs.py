"""`cached_response`: who runs the endpoint, and what is kept of that."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse

from cascada import Cache, Limits, Policy
from cascada.integrations.fastapi import cached_response, lifespan
from cascada.testing import ManualClock
from tests.integrations.browser import Browser
from tests.integrations.test_responses import Mine, Runs, app, cache, client, clock, http, runs

__all__ = ["app", "cache", "clock", "http", "runs"]

AT_ONCE = 8


async def all_of(http: httpx.AsyncClient, url: str, at_once: int = AT_ONCE) -> list[httpx.Response]:
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(http.get(url)) for _ in range(at_once)]
    return [each.result() for each in asked]


async def test_of_equal_requests_at_once_one_runs_the_endpoint(
    app: FastAPI, http: httpx.AsyncClient, runs: Runs
) -> None:
    @app.get("/page")
    @cached_response(ttl=60)
    async def page(mine: Mine) -> int:
        await asyncio.sleep(0.01)
        return runs("page")

    answers = await all_of(http, "/page", 100)
    assert {each.content for each in answers} == {b"1"}
    assert sum("collapsed" in each.headers["Cache-Status"] for each in answers) == 99


def raw(value: int, *field: bytes) -> JSONResponse:
    made = JSONResponse(value)
    made.raw_headers.append((field[0], field[1]))
    return made


NOT_KEPT: dict[str, Callable[[int], Any]] = {
    "cookie": lambda n: JSONResponse(n, headers={"Set-Cookie": f"session={n}"}),
    "no-store": lambda n: JSONResponse(n, headers={"Cache-Control": "max-age=5, No-Store"}),
    "private": lambda n: JSONResponse(n, headers={"Cache-Control": 'private="x-a"'}),
    "vary": lambda n: JSONResponse(n, headers={"Vary": "Accept-Language"}),
    "vary all": lambda n: JSONResponse(n, headers={"Vary": "*"}),
    "status": lambda n: JSONResponse(n, status_code=404),
    "stream": lambda n: StreamingResponse(iter([f"{n}"])),
    "file": lambda n: FileResponse(Path(__file__), headers={"X-Run": f"{n}"}),
    "cookie in capitals": lambda n: raw(n, b"Set-Cookie", b"session=%d" % n),
    "injected": lambda n: JSONResponse(n, headers={"X-Name": "a\r\nSet-Cookie: session=1"}),
}


@pytest.mark.parametrize("what", NOT_KEPT)
async def test_what_is_for_its_caller_alone_is_given_to_nobody_else(
    app: FastAPI, http: httpx.AsyncClient, runs: Runs, what: str
) -> None:
    @app.get("/page")
    @cached_response(ttl=60)
    async def page(mine: Mine) -> Response:
        await asyncio.sleep(0)
        made: Response = NOT_KEPT[what](runs("page"))
        return made

    answers = [*await all_of(http, "/page"), await http.get("/page")]
    assert runs["page"] == len(answers), "each has its own"
    assert len({each.content + str(each.headers).encode() for each in answers}) == len(answers)
    assert not any("Cache-Status" in each.headers for each in answers)


async def test_what_an_endpoint_raises_is_not_kept(
    app: FastAPI, http: httpx.AsyncClient, runs: Runs
) -> None:
    @app.get("/{kind}")
    @cached_response(ttl=60)
    async def page(kind: str, mine: Mine) -> int:
        await asyncio.sleep(0)
        if runs(kind) > AT_ONCE + 1:
            return 0
        raise HTTPException(404) if kind == "answer" else KeyError(kind)

    @app.exception_handler(KeyError)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse("failed", status_code=500)

    answers = [*await all_of(http, "/answer"), await http.get("/answer")]
    assert {each.status_code for each in answers} == {404}
    assert (await http.get("/answer")).json() == 0
    answers = await all_of(http, "/fault")
    assert {each.status_code for each in answers} == {500}
    assert runs["fault"] == 1, "who waits for a source that fails does not ask it again at once"
    assert (await http.get("/fault")).status_code == 500
    assert runs["fault"] == 2


async def reached(state: Callable[[], bool]) -> None:
    for _ in range(1000):
        if state():
            return
        await asyncio.sleep(0)
    raise AssertionError("it does not come to that")


async def test_others_get_their_answer_when_the_client_that_came_first_leaves(
    app: FastAPI, http: httpx.AsyncClient, runs: Runs
) -> None:
    open_sessions, ended, go = set[int](), list[str](), asyncio.Event()

    async def session() -> AsyncIterator[list[int]]:
        number = runs("session")
        open_sessions.add(number)
        try:
            yield [number]
        finally:
            open_sessions.remove(number)

    @app.get("/page")
    @cached_response(ttl=60, ignore=("mine_alone",))
    async def page(mine: Mine, mine_alone: Annotated[list[int], Depends(session)]) -> int:
        runs("page")
        try:
            await go.wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        assert mine_alone[0] in open_sessions, "it runs while what it works with is there"
        return mine_alone[0]

    first = asyncio.ensure_future(http.get("/page"))
    await reached(lambda: runs["page"] == 1)
    others = [asyncio.ensure_future(http.get("/page")) for _ in range(5)]
    await reached(lambda: runs["session"] == 6)
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    await reached(lambda: runs["page"] == 2)
    go.set()
    answers = await asyncio.gather(*others)
    assert {each.status_code for each in answers} == {200}
    assert len({each.content for each in answers}) == 1
    assert runs["page"] == 2
    assert ended == ["cancelled"]
    assert open_sessions == set()


async def test_no_endpoint_runs_in_the_background_when_its_request_is_over(
    app: FastAPI,
    http: httpx.AsyncClient,
    cache: Cache,
    clock: ManualClock,
    runs: Runs,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cache.set_policy("page", Policy(ttl=60, refresh_at=0.5, stale_for=600, stale_if_error=600))
    fails = False

    @app.get("/page")
    @cached_response(data_type="page")
    async def page(mine: Mine) -> int:
        if fails:
            raise KeyError("the source")
        return runs("page")

    async def read() -> int:
        answer = await http.get("/page")
        await asyncio.sleep(0.001)
        number: int = answer.json()
        return number

    assert await read() == 1
    clock.advance(50)
    assert [await read(), await read(), runs["page"]] == [1, 1, 1], "it is not refreshed ahead"
    clock.advance(20)
    assert [await read(), await read(), runs["page"]] == [2, 2, 2], "nor shown while it is"
    assert caplog.text == "", "nor tried"
    clock.advance(70)
    fails = True
    stale = await http.get("/page")
    assert (stale.json(), stale.headers["Cache-Control"]) == (2, "private, no-cache")
    assert stale.headers["Cache-Status"].startswith("cascada; fwd=stale")


async def test_more_at_once_than_may_load_are_told_to_come_again(runs: Runs) -> None:
    limits = Limits(max_loads_per_type=2, load_wait=0.05)
    cache, go = Cache(limits=limits), asyncio.Event()
    app = FastAPI(lifespan=lifespan(cache))

    @app.get("/page/{page_id}")
    @cached_response(ttl=60)
    async def page(page_id: int, mine: Mine) -> int:
        runs("page")
        await go.wait()
        return page_id

    async with app.router.lifespan_context(app), client(app) as http:
        asked = [asyncio.ensure_future(http.get(f"/page/{n}")) for n in range(3)]
        done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        (refused,) = [each.result() for each in done]
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        go.set()
        answers = [await each for each in asked if each not in done]
        assert {each.status_code for each in answers} == {200}
        assert runs["page"] == 2


async def test_head_has_the_fields_of_get(
    app: FastAPI, http: httpx.AsyncClient, runs: Runs
) -> None:
    @app.api_route("/page", methods=["GET", "HEAD", "POST"])
    @cached_response(ttl=60, ignore=("request",))
    async def page(mine: Mine, request: Request) -> str:
        runs(request.method)
        return f"{request.method} as text"

    heads = [await http.head("/page") for _ in range(2)]
    assert [each.content for each in heads] == [b"", b""]
    assert runs == {"HEAD": 1}
    got = await http.get("/page")
    assert got.json() == "GET as text", "what HEAD brought is no GET's"
    head = await http.head("/page", headers={"If-None-Match": '"other"'})
    made_anew = {"age", "cache-status"}
    for name in got.headers.keys() - made_anew:
        assert head.headers[name] == got.headers[name]
    assert runs == {"HEAD": 1, "GET": 1}
    assert (await http.head("/page", headers={"If-None-Match": "*"})).status_code == 304
    for _ in range(2):
        posted = await http.post("/page")
        assert "Cache-Status" not in posted.headers
    assert runs["POST"] == 2


async def test_a_client_may_forbid_to_keep_its_answer_and_not_have_the_endpoint_run(
    app: FastAPI, http: httpx.AsyncClient, runs: Runs
) -> None:
    @app.get("/page")
    @cached_response(ttl=60)
    async def page(mine: Mine) -> int:
        return runs("page")

    async def ask(said: str) -> int:
        answer = await http.get("/page", headers={"Cache-Control": said})
        number: int = answer.json()
        return number

    assert [await ask("no-store"), await ask("max-age=0, NO-STORE"), await ask("x=no-store")] == [
        1,
        2,
        3,
    ]
    assert [await ask("no-cache"), await ask("max-age=0"), await ask("no-store")] == [3, 3, 3]


async def test_a_client_asks_each_time_unless_it_may_show_it_for_a_while(
    app: FastAPI, http: httpx.AsyncClient, clock: ManualClock, runs: Runs
) -> None:
    browser = Browser(http)

    def later(seconds: float) -> None:
        clock.advance(seconds)
        browser.now += seconds

    @app.get("/asked")
    @cached_response(ttl=60, tags=("pages",))
    async def asked(mine: Mine) -> int:
        return runs("asked")

    @app.get("/shown")
    @cached_response(ttl=60, tags=("pages",), max_age=20, vary=("Accept-Language",))
    async def shown(mine: Mine) -> int:
        return runs("shown")

    @app.post("/change")
    async def change(mine: Mine) -> None:
        await mine.invalidate(tag="pages")

    assert (await browser.show("/asked")).asked == 200
    assert (await browser.show("/asked")).asked == 304
    await http.post("/change")
    changed = await browser.show("/asked")
    assert (changed.asked, changed.body) == (200, b"2")

    assert (await browser.show("/shown")).asked == 200
    later(19)
    assert (await browser.show("/shown")).asked is None
    assert (await browser.show("/shown", **{"Accept-Language": "de"})).asked == 200
    later(1)
    assert (await browser.show("/shown")).asked == 304
    later(19)
    assert (await browser.show("/shown")).asked is None
    later(15)  # 54 s old, so 6 s are left of what it promises
    assert (await browser.show("/shown")).asked == 304
    later(7)
    assert (await browser.show("/shown")).asked == 200, "no longer than it is fresh here"
