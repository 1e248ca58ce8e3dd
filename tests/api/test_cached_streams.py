"""`@cached` async generator functions: a call is a stream, made once for all who call it."""

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import pytest

from cascada import Cache, Context, Miss, MissingTenant, cached
from cascada.testing.clock import ManualClock
from tests.api.settled import settled
from tests.scenarios.tape import all_of


@pytest.fixture(autouse=True)
def tenant(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASCADA_TENANT", "acme")


async def test_it_is_followed_live_stored_and_replayed(cache: Cache) -> None:
    runs, go_on = [], asyncio.Event()

    @cached("tokens")
    async def tokens(prompt: str, *, limit: int = 2) -> AsyncIterator[dict[str, str]]:
        runs.append(prompt)
        for word in prompt.split()[:limit]:
            yield {"word": word}
            await go_on.wait()

    async with aclosing(tokens("a b c")) as first:
        assert await anext(first) == {"word": "a"}
        late = asyncio.create_task(all_of(tokens(prompt="a b c", limit=2)))
        await asyncio.sleep(0)
        go_on.set()
        assert await all_of(first) == [{"word": "b"}]
    assert await late == [{"word": "a"}, {"word": "b"}]
    await settled()
    assert await all_of(tokens("a b c")) == [{"word": "a"}, {"word": "b"}]
    assert runs == ["a b c"]
    assert await all_of(tokens("a b c", limit=3)) != []
    assert len(runs) == 2
    hit: Any = await cache.get(tokens.cache_key("a b c"))
    assert hit.value == [{"word": "a"}, {"word": "b"}]


async def test_ttl_tags_invalidate_and_refresh(cache: Cache, clock: ManualClock) -> None:
    runs = []

    @cached("count", ttl=10, tags=("news",))
    async def count(start: int) -> AsyncIterator[int]:
        runs.append(start)
        yield start
        yield len(runs)

    assert await all_of(count(5)) == [5, 1]
    await settled()
    assert await all_of(count(5)) == [5, 1]
    clock.advance(11)
    assert await all_of(count(5)) == [5, 2]
    await settled()
    await cache.tenant("acme").invalidate(tag="news")
    assert await all_of(count(5)) == [5, 3]
    await settled()
    assert (await count.invalidate(5)).keys == 1
    assert isinstance(await cache.get(count.cache_key(5)), Miss)
    assert await all_of(count(5)) == [5, 4]
    await settled()
    assert await all_of(count.refresh(5)) == [5, 5]
    await settled()
    assert await all_of(count(5)) == [5, 5]


@dataclass(frozen=True)
class Book:
    title: str

    @cached("words")
    async def words(self, most: int = 2) -> AsyncGenerator[str]:
        """Its title, word by word."""
        for word in self.title.split()[:most]:
            yield word


async def test_methods(cache: Cache) -> None:
    book = Book("the old man and the sea")
    assert await all_of(book.words()) == ["the", "old"]
    assert await all_of(book.words(most=3)) == ["the", "old", "man"]
    await settled()
    assert book.words.cache_key() == Book.words.cache_key(Book(book.title), 2)
    assert (await book.words.invalidate()).keys == 1
    assert str(inspect.signature(book.words)).startswith("(most: int = 2) -> ")
    assert book.words.__doc__ == "Its title, word by word."


async def test_the_tenant_is_that_of_the_call(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    @cached("tokens")
    async def tokens() -> AsyncIterator[str]:
        yield "a"

    with Context(tenant_id="globex"):
        stream = tokens()
        key = tokens.cache_key()
    assert await all_of(stream) == ["a"]
    await settled()
    assert await cache.get(key)
    assert not await cache.get(tokens.cache_key())
    monkeypatch.delenv("CASCADA_TENANT")
    with pytest.raises(MissingTenant):
        tokens()


async def test_wrong_arguments_are_a_type_error_at_the_call(cache: Cache) -> None:
    @cached("tokens")
    async def tokens(prompt: str) -> AsyncIterator[str]:
        yield prompt

    with pytest.raises(TypeError, match="missing a required argument: 'prompt'"):
        tokens()  # type: ignore[call-arg]


async def test_a_cached_stream_is_a_source_of_what_is_made_of_it(cache: Cache) -> None:
    version = ["old"]

    @cached("inner")
    async def inner() -> AsyncIterator[str]:
        yield version[0]

    @cached("outer")
    async def outer() -> AsyncIterator[str]:
        async for piece in inner():
            yield piece.upper()

    assert await all_of(outer()) == ["OLD"]
    await settled()
    version[0] = "new"
    await inner.invalidate()
    assert await all_of(outer()) == ["NEW"]


async def test_the_annotation_or_type_says_what_an_item_is(cache: Cache) -> None:
    @dataclass
    class Piece:
        text: str

    async def said() -> AsyncIterator[Any]:
        yield Piece("a")

    said.__annotations__["return"] = AsyncIterator[Piece]
    runs = 0

    async def plain() -> AsyncIterator[Any]:
        nonlocal runs
        runs += 1
        yield Piece("b")

    for pieces in (cached("said")(said), cached("plain", type=Piece)(plain)):
        made = await all_of(pieces())
        await settled()
        assert await all_of(pieces()) == made
        assert type(made[0]) is Piece
    assert runs == 1
