"""`cached_response`: what is given again, to whom, and what is not."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Cookie, Depends, FastAPI, Header, HTTPException, Query, Request, Response

from cascada import Cache, Tenant
from cascada.integrations.fastapi import cached_response, lifespan, tenant_handle, tenant_of
from cascada.model.errors import BadInput, Misuse
from cascada.testing import ManualClock

Mine = Annotated[Tenant, Depends(tenant_handle)]
Whose = Annotated[str, Depends(tenant_of)]


class Runs(Counter[str]):
    """How often each endpoint has run."""

    def __call__(self, name: str) -> int:
        self[name] += 1
        return self[name]


@pytest.fixture
def runs() -> Runs:
    return Runs()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def cache(clock: ManualClock) -> Cache:
    return Cache(clock=clock)


@pytest.fixture
def app(cache: Cache) -> FastAPI:
    return FastAPI(lifespan=lifespan(cache))


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with app.router.lifespan_context(app), client(app) as made:
        yield made


def client(app: FastAPI, tenant: str = "acme") -> httpx.AsyncClient:
    headers = {"X-Tenant-ID": tenant}
    transport = httpx.ASGITransport(app, raise_app_exceptions=True)
    return httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers)


async def test_the_endpoint_runs_once_and_its_response_is_given_with_its_age(
    app: FastAPI, http: httpx.AsyncClient, runs: Runs, clock: ManualClock
) -> None:
    @app.get("/page/{page_id}")
    @cached_response(ttl=60)
    async def page(page_id: int, mine: Mine) -> dict[str, int]:
        return {"page": page_id, "run": runs("page")}

    first = await http.get("/page/1")
    clock.advance(10)
    again = await http.get("/page/1")
    assert again.content == first.content == b'{"page":1,"run":1}'
    assert first.headers["Cache-Status"] == "cascada; fwd=miss; stored"
    assert again.headers["Cache-Status"] == "cascada; hit; ttl=50; detail=l1"
    assert (first.headers.get("Age"), again.headers["Age"]) == (None, "10")
    for answer in (first, again):
        assert answer.headers["Cache-Control"] == "private, no-cache"
        assert answer.headers["Vary"] == "X-Tenant-ID, Authorization, Cookie"
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["ETag"] == first.headers["ETag"]
        assert len(answer.headers.get_list("Content-Length")) == 1
    assert (await http.get("/page/x")).status_code == 422, "validation comes first"
    assert (await http.get("/page/2")).json() == {"page": 2, "run": 2}
    clock.advance(60)
    assert (await http.get("/page/1")).json() == {"page": 1, "run": 3}


async def test_who_has_it_already_gets_304(
    app: FastAPI, http: httpx.AsyncClient, runs: Runs
) -> None:
    @app.get("/page")
    @cached_response(ttl=60)
    async def page(mine: Mine, response: Response) -> str:
        response.headers["Content-Language"] = "en"
        response.headers["X-Own"] = "kept"
        runs("page")
        return "text"

    first = await http.get("/page")
    tag = first.headers["ETag"]
    assert tag.startswith('W/"')
    opaque = tag[2:]
    for said in (tag, opaque, "*", f'"a,b", W/"", {tag}', f"  {opaque}"):
        same = await http.get("/page", headers={"If-None-Match": said})
        assert (same.status_code, same.content) == (304, b""), said
        assert same.headers["ETag"] == tag
        assert same.headers["X-Own"] == "kept"
        for name in ("Cache-Control", "Vary", "Cache-Status", "Age"):
            assert name in same.headers
        for name in ("Content-Type", "Content-Language", "Content-Length"):
            assert name not in same.headers
    twice = [("If-None-Match", '"other"'), ("If-None-Match", tag)]
    assert (await http.get("/page", headers=twice)).status_code == 304
    for said in ('"other"', "", opaque.strip('"'), "W/*", f"x{tag[:-1]}", '"' * 5000):
        assert (await http.get("/page", headers={"If-None-Match": said})).status_code == 200, said
    assert runs["page"] == 1


async def test_a_route_ends_it_by_tag_and_whatever_it_was_made_of(
    app: FastAPI, http: httpx.AsyncClient, runs: Runs
) -> None:
    texts = {"1": "one", "2": "two"}

    @app.get("/document/{document_id}")
    @cached_response(ttl=60, tags=lambda document_id: ["pages", f"page:{document_id}"])
    async def show(document_id: str, mine: Mine) -> str:
        runs("show")

        async def text() -> str:
            return texts[document_id]

        return (await mine.load("document", document_id, text)).value

    @app.put("/document/{document_id}")
    async def write(document_id: str, by: str, mine: Mine) -> None:
        texts[document_id] = texts[document_id].upper()
        if by == "source":
            await mine.invalidate("document", document_id)
        else:
            await mine.invalidate("document", document_id)
            await mine.invalidate(tag=by)

    async def read() -> list[str]:
        return [(await http.get(f"/document/{n}")).json() for n in (1, 2)]

    assert await read() == await read() == ["one", "two"]
    assert runs["show"] == 2
    await http.put("/document/1?by=source")
    assert await read() == await read() == ["ONE", "two"]
    assert runs["show"] == 3, "the source of one response alone"
    await http.put("/document/2?by=page:2")
    assert await read() == ["ONE", "TWO"]
    assert runs["show"] == 4
    await http.put("/document/2?by=pages")
    await read()
    assert runs["show"] == 6, "a tag of both"


async def test_what_was_read_before_a_change_is_not_kept_after_it(
    app: FastAPI, http: httpx.AsyncClient, runs: Runs
) -> None:
    text, read, go = ["old"], asyncio.Event(), asyncio.Event()

    @app.get("/by/{name}")
    @cached_response(ttl=60, tags=("pages",))
    async def page(name: str, mine: Mine) -> str:
        async def row() -> str:
            return text[0]

        said: str = (await mine.load("document", "1", row)).value if name == "source" else text[0]
        runs(name)
        read.set()
        await go.wait()
        return said

    @app.put("/by/{name}")
    async def write(name: str, mine: Mine) -> None:
        if name == "source":
            await mine.invalidate("document", "1")
        else:
            await mine.invalidate(tag="pages")

    for name in ("source", "tag"):
        text[0] = "old"
        first = asyncio.ensure_future(http.get(f"/by/{name}"))
        await read.wait()
        text[0] = "new"
        assert (await http.put(f"/by/{name}")).status_code == 200
        later = asyncio.ensure_future(http.get(f"/by/{name}"))
        await asyncio.sleep(0)
        go.set()
        assert (await first).json() == "old", "it had asked before"
        assert (await later).json() == (await http.get(f"/by/{name}")).json() == "new"
        assert runs[name] == 2
        read.clear()
        go.clear()


async def test_nobody_gets_it_before_the_dependencies_have_passed(
    app: FastAPI, http: httpx.AsyncClient, runs: Runs
) -> None:
    good = {"let me in"}

    async def caller(authorization: Annotated[str, Header()]) -> None:
        if authorization not in good:
            raise HTTPException(401, "not you")

    @app.get("/page", dependencies=[Depends(caller)])
    @cached_response(ttl=60)
    async def page(mine: Mine) -> int:
        return runs("page")

    known = {"Authorization": "let me in"}
    tag = (await http.get("/page", headers=known)).headers["ETag"]
    assert (await http.get("/page", headers=known)).headers["Age"] == "0"
    good.clear()
    for more in ({}, {"If-None-Match": tag}):
        refused = await http.get("/page", headers={**known, **more})
        assert (refused.status_code, refused.json()) == (401, {"detail": "not you"})
    assert runs["page"] == 1


async def test_each_tenant_has_its_own(app: FastAPI, cache: Cache, runs: Runs) -> None:
    @app.get("/by-handle")
    @cached_response(data_type="by-handle", ttl=60)
    async def by_handle(mine: Mine) -> str:
        return f"{mine.tenant} {runs('by-handle')}"

    @app.get("/by-context")
    @cached_response(data_type="by-context", ttl=60)
    async def by_context(whose: Whose) -> str:
        return f"{whose} {runs('by-context')}"

    @app.get("/by-request")
    @cached_response(
        data_type="by-request",
        ttl=60,
        tenant=lambda request: request.headers["X-Tenant-ID"],
        ignore=("request",),
    )
    async def by_request(request: Request) -> str:
        return f"{request.headers['X-Tenant-ID']} {runs('by-request')}"

    async with app.router.lifespan_context(app):
        for path in ("by-handle", "by-context", "by-request"):
            for number, tenant in enumerate(("acme", "other"), 1):
                async with client(app, tenant) as http:
                    first, again = [(await http.get(path)).json() for _ in range(2)]
                    assert first == again == f"{tenant} {number}"
            await cache.tenant("acme").invalidate(path, "*")
            async with client(app, "other") as http:
                assert (await http.get(path)).json() == "other 2"
            async with client(app, "acme") as http:
                assert (await http.get(path)).json() == "acme 3"


async def test_without_a_tenant_it_is_an_error_that_says_so(
    app: FastAPI, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    @app.get("/page")
    @cached_response(ttl=60)
    async def page() -> int:
        return 1

    with pytest.raises(BadInput, match="CASCADA_TENANT"):
        await http.get("/page")
    monkeypatch.setenv("CASCADA_TENANT", "acme")
    assert (await http.get("/page")).json() == 1


async def test_what_may_change_the_answer_is_in_the_key(
    app: FastAPI, http: httpx.AsyncClient, runs: Runs
) -> None:
    async def user(authorization: Annotated[str, Header()] = "nobody") -> dict[str, str]:
        return {"name": authorization}

    @app.get("/{path:path}")
    @cached_response(ttl=60, vary=("Accept-Language",), ignore=("request",))
    async def page(
        path: str,
        mine: Mine,
        request: Request,
        who: Annotated[dict[str, str], Depends(user)],
        q: Annotated[list[str], Query()] = [],  # noqa: B006 - FastAPI's own way
        seen: Annotated[str, Cookie()] = "",
        x_style: Annotated[str, Header()] = "plain",
    ) -> int:
        return runs("page")

    asked: list[tuple[str, Any]] = [
        (url, {})
        for url in (
            "/a", "/a/", "/a/b", "/ä€🙂", "/%61%2Fb%2Fc", "/a%3Fq=1", "/a?q=1", "/a?q=1&q=2",
            "/a?q=2&q=1", "/a?q=1&q=1", "/a?q=", "/a?q=a%26q%3Db", "/a?q=a&q=b",
            "/a?q=" + "x" * 8192, "/a?q=" + "x" * 8191 + "y", "https://test/a",
        )
    ]  # fmt: skip
    asked += [
        ("/a", headers)
        for headers in (
            {"Authorization": "ann"}, {"Authorization": "bob"}, {"Cookie": "seen=1"},
            {"X-Style": "fancy"}, {"Accept-Language": "en"}, {"Accept-Language": ""},
            [("Accept-Language", "en"), ("Accept-Language", "de")], {"Accept-Language": "ende"},
            {"Accept-Language": "en,de"}, {"Host": "other"},
        )
    ]  # fmt: skip
    said = [(await http.get(url, headers=headers)).json() for url, headers in asked]
    assert said == list(range(1, len(asked) + 1)), "no two of them are one"
    again = [(await http.get(url, headers=headers)).json() for url, headers in asked]
    assert again == said
    vary = (await http.get("/a")).headers["Vary"]
    assert vary == "x-style, X-Tenant-ID, Authorization, Accept-Language, Cookie"


async def test_no_two_handles_share_a_page(
    app: FastAPI, http: httpx.AsyncClient, cache: Cache, runs: Runs
) -> None:
    # A type whose policy leaves the agent out of its keys, and answers with what is more general.
    async def theirs(other: Annotated[str, Header()], agent: Annotated[str, Header()]) -> Tenant:
        return cache.tenant(other, agent=agent)

    @app.get("/second")
    @cached_response(ttl=60, data_type="conversation")
    async def second(mine: Mine, their: Annotated[Tenant, Depends(theirs)]) -> str:
        return repr(their)

    @app.get("/narrowed")
    @cached_response(ttl=60, data_type="conversation")
    async def narrowed(their: Annotated[Tenant, Depends(theirs)]) -> str:
        return repr(their)

    for path in ("/second", "/narrowed"):
        for other, agent in (("globex", "a1"), ("globex", "a2"), ("other", "a1")):
            said = await http.get(path, headers={"Other": other, "Agent": agent})
            assert said.json() == repr(cache.tenant(other, agent=agent))


class Session:
    """What has no contents to tell two of them apart by."""


async def test_an_argument_without_contents_is_refused_until_it_is_ignored(
    app: FastAPI, http: httpx.AsyncClient, runs: Runs
) -> None:
    async def page(mine: Mine, session: Annotated[Session, Depends(Session)]) -> int:
        return runs("page")

    app.get("/page")(cached_response(ttl=60)(page))
    app.get("/ignored")(cached_response(ttl=60, ignore=("session",))(page))
    with pytest.raises(Misuse, match=r"takes session: .*ignore=\('session',\)"):
        await http.get("/page")
    assert [(await http.get("/ignored")).json() for _ in range(2)] == [1, 1]


def test_what_is_wrong_is_told_where_it_is_written() -> None:
    async def page(page_id: int) -> int:
        return page_id

    async def stream() -> AsyncIterator[str]:
        yield "a"

    def plain_stream() -> Iterator[str]:
        yield "a"

    for wrong, said in (
        ({"vary": "Accept"}, "vary"),
        ({"vary": ("Accept\r\nSet-Cookie: a=b",)}, "vary"),
        ({"vary": ("*",)}, "vary"),
        ({"tags": "pages"}, "tags"),
        ({"ttl": -1}, "ttl"),
        ({"max_age": True}, "max_age"),
        ({"cache": "redis"}, "cache"),
        ({"data_type": ""}, "data_type"),
        ({"ignore": ("nobody",)}, "'nobody', which .*page does not take"),
        ({"tags": lambda nobody: [nobody]}, "'nobody', which the endpoint does not take"),
        ({"tenant": stream}, "tenant"),
    ):
        with pytest.raises(BadInput, match=said):
            cached_response(**wrong)(page)  # type: ignore[arg-type]

    async def reads(page_id: int, asked: Annotated[Request, "it"]) -> int:
        return page_id

    with pytest.raises(Misuse, match=r"takes asked, .*ignore=\('asked',\)"):
        cached_response()(reads)
    cached_response(ignore=("asked",))(reads)
    for generator in (stream, plain_stream):
        with pytest.raises(Misuse, match="generator"):
            cached_response()(generator)
    for nothing in ("page", None, page(1)):
        with pytest.raises(BadInput, match="cached_response"):
            cached_response()(nothing)  # type: ignore[arg-type]
