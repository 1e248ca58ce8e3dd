"""However the code of a loader runs: an answer goes with its document where docs/sources.md says
that the read is followed, and everywhere else if the source is passed."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cascada.api.cache import Cache
from cascada.api.tenant.handle import Tenant
from cascada.model.entry import Hit
from tests.scenarios.frameworks import WAYS, celery_worker, worker
from tests.scenarios.row import Row, all_stored, kept


@pytest.fixture(scope="module", autouse=True)
def celery() -> Iterator[None]:
    """A worker for all tests of this file: it takes seconds to start."""
    with celery_worker():
        yield


PAGE = Path(__file__).parents[2] / "docs" / "sources.md"


def followed() -> dict[str, bool]:
    """What the table of the page says."""
    rows = re.findall(r"^\| (.+) \| (yes|no: pass `sources=`) \|$", PAGE.read_text("utf-8"), re.M)
    return {way: said == "yes" for way, said in rows}


def test_the_table_has_every_way() -> None:
    assert list(followed()) == list(WAYS)


class Library:
    """A document, and answers that are made of it."""

    def __init__(self, acme: Tenant) -> None:
        self.acme = acme
        self.row = Row("old")

    async def read(self) -> Hit[Any]:
        hit = await self.acme.load("document", "d", self.row.read)
        assert isinstance(hit, Hit)
        return hit

    async def change(self) -> None:
        self.row.value = "new"
        await self.acme.invalidate("document", "d")


async def answered(library: Library, way: str, **passed: Any) -> Any:
    """An answer whose document was read in one of the ways; what is kept after its change."""
    found: list[Hit[Any]] = []

    async def read() -> None:
        found.append(await library.read())

    async def answer() -> str:
        await WAYS[way](read)
        return f"made of {found[0].value}"

    async with worker():
        assert (await library.acme.load("x", "1", answer, **passed)).value == "made of old"
    assert await kept(library.acme) == "made of old"
    await library.change()
    return await kept(library.acme)


@pytest.mark.parametrize("way", WAYS)
async def test_an_answer_goes_with_its_document_where_the_table_says_so(
    cache: Cache, way: str
) -> None:
    after = await answered(Library(cache.tenant("acme")), way)
    assert after == (None if followed()[way] else "made of old")


@pytest.mark.parametrize("way", [way for way, noted in followed().items() if not noted])
async def test_elsewhere_it_goes_if_its_source_is_passed(cache: Cache, way: str) -> None:
    library = Library(cache.tenant("acme"))
    await library.read()
    await all_stored(library.acme)
    hit = await library.read()
    for passed in ([hit], [("document", "d")]):
        library.row.value = "old"
        await library.acme.invalidate("document", "d")
        hit = await library.read()
        passed = [hit if isinstance(each, Hit) else each for each in passed]
        assert await answered(library, way, sources=passed) is None


Change = Callable[[Library], Any]


@pytest.mark.parametrize("in_between", [True, False], ids=["changed in between", "unchanged"])
async def test_what_was_read_before_a_load(cache: Cache, in_between: bool) -> None:
    """The usual retrieval: first the documents, then the answer. What changes between the two is
    nothing that the load's leases could tell."""
    library = Library(cache.tenant("acme"))
    hits = [await library.read()]  # just loaded: it may not be stored yet

    async def answer() -> str:
        return f"made of {hits[0].value}"

    if in_between:
        await library.change()
    assert (await library.acme.load("x", "1", answer, sources=hits)).value == "made of old"
    assert await kept(library.acme) == (None if in_between else "made of old")
    await library.change()
    assert await kept(library.acme) is None


async def test_a_document_that_changed_and_was_read_again(cache: Cache) -> None:
    library = Library(cache.tenant("acme"))
    before = await library.read()
    await library.change()
    await library.read()
    await all_stored(library.acme)
    await library.acme.load("x", "1", lambda: "made of old", sources=[before])
    assert await kept(library.acme) is None
    library.row.value = "old"
    await library.acme.invalidate("document", "d")
    await library.read()  # it says again what the answer was made of
    await all_stored(library.acme)
    await library.acme.load("x", "1", lambda: "made of old", sources=[before])
    assert await kept(library.acme) == "made of old"


async def test_set_and_fill_and_streams_hold_to_their_sources(cache: Cache) -> None:
    library = Library(cache.tenant("acme"))
    acme = library.acme
    before = await library.read()
    await all_stored(acme)

    async def pieces() -> Any:
        yield "piece"

    async def stored(source: Hit[Any]) -> list[bool]:
        miss = await acme.get("x", "filled")
        answers = [
            await acme.set("x", "set", "value", sources=[source]),
            await acme.fill(miss, "value", sources=[source]),
        ]
        async for _ in acme.stream("x", "streamed", pieces, sources=[source]):
            pass
        await all_stored(acme)
        kept_of_them = [bool(await acme.get("x", each)) for each in ("set", "filled", "streamed")]
        assert kept_of_them[:2] == answers
        return kept_of_them

    assert await stored(before) == [True, True, True]
    await library.change()
    for each in ("set", "filled", "streamed"):
        assert not await acme.get("x", each)
    assert await stored(before) == [False, False, False]
    assert await stored(await library.read()) == [True, True, True]
