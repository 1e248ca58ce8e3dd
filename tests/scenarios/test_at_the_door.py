"""What is let in, and what comes of it: sizes, absences, vectors, sources."""

import logging
from array import array
from datetime import timedelta
from typing import Any

import numpy
import pytest

from cascada import (
    BadInput,
    Embeddings,
    Hit,
    InvalidKey,
    InvalidTTL,
    Loaded,
    Policy,
    Scope,
)
from tests.scenarios.conftest import MakeCache

LARGE = bytes(range(256)) * 8


async def test_a_value_over_the_bound_is_refused_by_set_and_handed_out_by_load(
    make_cache: MakeCache, caplog: pytest.LogCaptureFixture
) -> None:
    cache = make_cache(max_value_bytes=1000, compress_over=10**6)
    acme = cache.tenant("acme")
    with pytest.raises(BadInput, match=r"value has 20\d\d bytes, over max_value_bytes=1000"):
        await acme.set("x", "1", LARGE)
    with pytest.raises(BadInput, match="over max_value_bytes=1000"):
        await acme.list("inbox").rpush(LARGE)
    caplog.set_level(logging.WARNING, "cascada")
    for name in ("1", "2"):
        hit = await acme.load("x", name, lambda: LARGE)
        assert (hit.value, hit.tier if hit else None) == (LARGE, "source")
    assert not await acme.get("x", "1")
    assert (await cache.stats()).types["x"].oversized == 2
    said = [
        text for each in caplog.records if "too large to be stored" in (text := each.getMessage())
    ]
    assert len(said) == 1, "once for each type"


async def test_what_is_larger_than_memory_alone_is_not_said_to_be_stored(
    make_cache: MakeCache, tiers: str
) -> None:
    acme = make_cache(l1_bytes=1000).tenant("acme")
    assert await acme.set("x", "1", LARGE) is (tiers != "memory")


@pytest.mark.parametrize("none_ttl", [None, 7])
async def test_none_voids_and_is_kept_only_if_the_type_says_so(
    make_cache: MakeCache, none_ttl: int | None
) -> None:
    acme = make_cache(policy=Policy(ttl=600, none_ttl=none_ttl)).tenant("acme")
    await acme.set("x", "1", "old")
    assert await acme.set("x", "1", None)
    assert await acme.ttl("x", "1") == none_ttl
    assert (await acme.load("x", "1", lambda: "row")).value == (None if none_ttl else "row")
    assert await acme.set("x", "1", "new"), "a None is no miss that would fence it"


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ({"error": 1, "code": 2}, "returned {'error': 1, 'code': 2} (dict) for 2 texts"),
        ([[0.5]], "asked for 2 texts and returned 1"),
        ([[0.5], [0.5, 1.0]], "vectors of 1 to 2 numbers"),
        ([[0.5], [float("nan")]], "not finite"),
        ([[0.5], ["0.5"]], "a number of a vector of the provider is '0.5'"),
        ([[0.5], []], "is empty"),
        ([[0.5], "ab"], "pass a list of numbers, or an array"),
        ("ab", "returned 'ab' (str) for 2 texts"),
        (numpy.array(1.0), "returned a numpy.ndarray for 2 texts"),
        (numpy.array([[1.0], [None]]), "a number of a vector of the provider is None"),
    ],
)
async def test_what_a_provider_returns_is_checked(
    make_cache: MakeCache, answer: Any, sentence: str
) -> None:
    acme = make_cache().tenant("acme")
    with pytest.raises(BadInput) as caught:
        await Embeddings(lambda texts: answer, "m").of(acme, ["one", "two"])
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        [[numpy.float32(0.5)], (numpy.float64(1.0),)],
        numpy.array([[0.5], [1.0]], "f4"),
        [numpy.array([0.5]), [1]],
        {"a": [0.5], "b": [1.0]}.values(),
        [array("f", [0.5]), array("d", [1.0])],
        numpy.array([[0.5], [1]], dtype=object),
    ],
)
async def test_vectors_of_every_usual_form_are_welcome(make_cache: MakeCache, answer: Any) -> None:
    acme = make_cache().tenant("acme")
    asked = Embeddings(lambda texts: answer, "m")
    for as_array in (False, True):  # the second time they are stored
        vectors, seen = await asked.of(acme, ["one", "two"], as_array=as_array)
        assert [list(each) for each in vectors] == [[0.5], [1.0]]
        assert seen["cache_hits"] == (2 if as_array else 0)
    generated = Embeddings(lambda texts: (each for each in ([0.5], [1.0])), "generated")
    assert (await generated.of(acme, ["one", "two"]))[0] == [[0.5], [1.0]]


@pytest.mark.parametrize("source", [("doc:agent", "d1"), ["doc:agent", "d1"]])
async def test_a_pair_is_never_cut_in_the_wrong_place(make_cache: MakeCache, source: Any) -> None:
    acme = make_cache().tenant("acme")
    await acme.set("x", "1", "made", sources=[source])
    await acme.invalidate("doc", "agent:d1")
    assert await acme.get("x", "1")
    await acme.invalidate("doc:agent", "d1")
    assert not await acme.get("x", "1")


async def test_a_hit_as_a_source_brings_its_own_sources_and_its_context(
    make_cache: MakeCache,
) -> None:
    acme = make_cache().tenant("acme")
    at = acme.within(agent="a1")
    await at.set("note", "n1", "of d7", sources=[("document", "d7")])
    for name, void in (("1", ("document", "d7")), ("2", ("note", "n1"))):
        hit = await at.get("note", "n1")
        if not isinstance(hit, Hit):
            await at.set("note", "n1", "again")
            hit = await at.get("note", "n1")
        assert await acme.set("x", name, "made", sources=[hit])
        await acme.invalidate(*void)
        assert not await acme.get("x", name), void
    await acme.set("x", "3", "made", sources=[("note", "n1", Scope(agent="a1"))])
    await acme.invalidate(agent="a1")
    assert not await acme.get("x", "3")


@pytest.mark.parametrize("source", ["doc:agent:d1", "doc", 5, ("doc",), ("doc", None), b"a:b"])
async def test_a_source_that_could_be_misread_is_refused(
    make_cache: MakeCache, source: Any
) -> None:
    acme = make_cache().tenant("acme")
    with pytest.raises(InvalidKey):
        await acme.set("x", "1", 1, sources=[source])
    with pytest.raises(InvalidKey):
        Loaded(1, sources=[source])
    with pytest.raises(BadInput):
        Loaded(1, tags="news")
    with pytest.raises(BadInput):
        Loaded(1, sources="d1:1")


async def test_a_bad_argument_is_no_failure_of_a_tier(make_cache: MakeCache) -> None:
    bad, good = map(make_cache().tenant, ("bad", "good"))
    for _ in range(5):
        with pytest.raises(InvalidTTL, match="at most ten years"):
            await bad.set("x", "1", 1, ttl=timedelta.max)
    assert await good.set("x", "1", 1)
