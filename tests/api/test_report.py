"""The report as people read it: the table, and the one sentence that says what to do."""

import json
from dataclasses import asdict
from decimal import Decimal

import pytest

from cascada import Cache
from cascada.api.statistics import Statistics, TypeStatistics
from cascada.model.bills.bill import Bill
from tests.scenarios.row import all_stored


def row(hits: int = 0, saved_seconds: float = 0.0, **counts: int) -> TypeStatistics:
    saved = {"hits": Bill(hits, saved_seconds)}
    return TypeStatistics({"l1": hits}, saved_by=saved, **counts)  # type: ignore[arg-type]


FINE = row(hits=90, misses=10, saved_seconds=12.34, checked=40)
STALE = row(
    hits=5, misses=5, saved_seconds=0.5, checked=4, differed=3, differed_1s=2, differed_10s=1
)


def test_the_table_is_aligned_and_adds_up() -> None:
    assert str(Statistics("on", {"document": FINE, "agent_config": STALE})) == (
        "type          reads  hits  ratio  saved s  checked  differed  1 s  10 s  consistent\n"
        "agent_config     10     5  0.500      0.5        4         3    2     1      0.7500\n"
        "document        100    90  0.900     12.3       40         0    0     0      1.0000\n"
        "all             110    95  0.864     12.8       44         3    2     1      0.9773\n"
        "\n"
        "1 of 44 compared hits were wrong for 10 s and longer: find what changes agent_config "
        "without invalidating it, or let it expire sooner."
    )


@pytest.mark.parametrize(
    ("mode", "row", "says"),
    [
        ("on", TypeStatistics(), "Nothing has been read yet"),
        ("on", FINE, "90% of the reads were hits, which saved 12.3 s, and none of the 40 compared"),
        ("on", row(hits=1), "set CASCADA_SELF_CHECK=10 to compare some."),
        ("on", row(hits=1, checked=1, differed=1), "after 10 s, though 1 were late."),
        ("on", STALE, "1 of 4 compared hits were wrong"),
        ("off", row(misses=1), "set CASCADA_MODE=observe"),
        ("observe", FINE, "would have been hits, which would have saved 12.3 s, and none of the"),
        ("observe", FINE, "after 10 s: switch it on."),
        ("observe", row(hits=1), "no hit was compared with its source yet."),
        ("observe", STALE, "1 of 4 compared hits would have been wrong for 10 s"),
    ],
)
def test_the_sentence_says_what_the_figures_ask_for(
    mode: str, row: TypeStatistics, says: str
) -> None:
    sentence = Statistics(mode, {"x": row}).advice
    assert says in sentence
    assert sentence.endswith(".")
    assert str(Statistics(mode, {"x": row})).endswith(f"\n\n{sentence}")


def test_the_worst_types_are_named_first_and_not_all_of_them() -> None:
    types = {
        name: row(hits=9, checked=9, differed_10s=count)
        for name, count in {"a": 1, "b": 3, "c": 2, "d": 2, "e": 1, "right": 0}.items()
    }
    assert "find what changes b, c, d and 2 other types without" in Statistics("on", types).advice


async def test_a_cache_that_is_on_reports_its_hits(cache: Cache) -> None:
    acme = cache.tenant("acme")
    await acme.load("x", "1", lambda: "row")
    await all_stored(acme)
    for _ in range(3):
        await acme.load("x", "1", lambda: "row")
    report = await cache.stats()
    assert (report.mode, report.total.reads, report.total.hits) == ("on", 4, 3)
    assert report.types["x"].hit_ratio == 0.75


async def test_a_cache_that_was_not_used_reports_that() -> None:
    async with Cache() as cache:
        report = await cache.stats()
    assert report.types == {}
    assert report.total == TypeStatistics({"l1": 0})
    assert "Nothing has been read yet" in str(report)


async def test_what_stats_says_can_be_sent_as_json() -> None:
    async with Cache() as cache:
        acme = cache.tenant("acme")
        await acme.load("doc", "1", lambda: "value")
        await acme.get("doc", "1")
        cache_stats = await cache.stats()
    sent = json.loads(json.dumps(asdict(cache_stats)))
    assert sent["types"]["doc"]["by_tier"] == {"l1": 1}
    assert sent["tiers"]["l1"]["hits"] == 1
    assert asdict(cache_stats.total)["by_tier"] == {"l1": 1}


PAID = Bill(10, 5.0, 9000, 800, 0, Decimal("1.25"), 2)


def test_tokens_and_money_are_shown_where_there_are_any() -> None:
    answers = TypeStatistics(
        {"l1": 10}, misses=2, coalesced=3, spent=PAID, saved_by={"hits": PAID, "coalesced": PAID}
    )
    said = str(Statistics("on", {"answer": answers, "row": row(hits=1)})).split("\n")
    assert said[0].endswith("consistent  saved tokens  spent tokens  saved money  spent money")
    assert said[1].endswith("         19600          9800       2.5000       1.2500")
    assert said[2].endswith("             -             -            -            -")
    assert said[-1].startswith(
        "85% of the reads were hits and 3 more shared a load, which saved 10.0 s, 19,600 tokens, "
        "2.50 in money (the price of 4 is unknown)"
    )
    few = Bill(1, 1.0, money=Decimal("0.001925"))
    answers = TypeStatistics({"l1": 1}, spent=few, saved_by={"hits": few})
    assert "saved 1.0 s, 0.0019 in money" in str(Statistics("on", {"answer": answers}))
