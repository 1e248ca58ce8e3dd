"""What is loaded ahead is loaded for nobody: what a request brought along is not used after it."""

from contextvars import ContextVar

from cascada import Cache, Context, Policy, cached
from cascada.testing.clock import ManualClock
from tests.scenarios.row import turns

AHEAD = Policy(ttl=10, prefetch=True)
LATER = 11

request_of: ContextVar[str] = ContextVar("request_of")


async def test_what_a_request_brings_along_is_not_used_after_it(clock: ManualClock) -> None:
    seen: list[object] = []
    async with Cache(clock=clock) as cache:

        @cached("x", policy=AHEAD, ignore=("session",), cache=cache)
        async def row(name: str, session: object) -> str:
            seen.append(session)
            return name

        @cached("y", policy=AHEAD, cache=cache)
        async def plain(name: str) -> str:
            seen.append((request_of.get(None), await inner(name)))
            return name

        @cached("z", cache=cache)
        async def inner(name: str) -> str:
            return name.upper()

        with Context(tenant_id="acme"):
            for _ in range(4):
                sessions = object(), object()
                await row("a", sessions[0])
                await row("b", sessions[1])
                assert seen == [*sessions]
                seen.clear()
                clock.advance(LATER)
            request_of.set("a request")
            for _ in range(3):
                await plain("a")
                await turns()
                await plain("b")
                clock.advance(LATER)
            seen.clear()
            await plain("a")
            await turns()
    assert seen == [("a request", "A"), (None, "B")], "the tenant is known, the request is not"


async def test_a_function_that_was_made_in_a_request_goes_with_it(clock: ManualClock) -> None:
    calls: list[str] = []
    async with Cache(clock=clock) as cache:

        async def request() -> None:
            @cached("x", policy=AHEAD, key="{name}", cache=cache)
            async def row(name: str) -> str:
                calls.append(name)
                return name

            await row("a")
            await turns()
            assert calls == ["a"], "the one that knew how to load the other has gone"
            await row("b")
            calls.clear()

        with Context(tenant_id="acme"):
            for _ in range(5):
                await request()
                clock.advance(LATER)
