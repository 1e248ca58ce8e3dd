"""What is learned of a stream of misses, and how a learner that guesses badly stops by itself."""

import random
from collections.abc import Iterable

from cascada.engine.strategies.prefetch import (
    EARNED,
    FIRST_CREDIT,
    FOLLOWERS,
    MOST_CREDIT,
    WINDOW,
    Learner,
)
from cascada.testing.inside import followers_of


def tell(learner: Learner[str], keys: Iterable[str]) -> list[list[str]]:
    return [learner.saw(key) for key in keys]


def fetch(learner: Learner[str], keys: Iterable[str]) -> list[str]:
    """Begin what may be begun."""
    begun = []
    for key in keys:
        if learner.affords:
            learner.fetched(key)
            begun.append(key)
    return begun


def test_what_has_followed_twice_is_predicted_and_nothing_before() -> None:
    learner = Learner[str](0.02)
    assert not any(tell(learner, "ab12345678abqrstuvwx"))
    assert learner.saw("a") == ["b"]


def test_what_is_used_is_as_good_as_a_miss_so_that_a_sequence_goes_on() -> None:
    learner = Learner[str](0.02)
    tell(learner, "abcdefghijklmnop" * 3)
    assert fetch(learner, learner.saw("a")) == ["b"], "it may be a stranger"
    assert learner.used("b")[:3] == ["c", "d", "e"]
    assert learner.precision > 0


def test_who_comes_now_and_then_is_not_predicted() -> None:
    learner = Learner[str](0.02)
    other = iter(f"other {number}" for number in range(10_000))
    for turn in range(20):
        learner.saw("a")
        if turn % 4 == 0:
            learner.saw("rarely")
        tell(learner, [next(other) for _ in range(WINDOW)])
    assert learner.saw("a") == []


def test_callers_at_once_who_miss_the_same_are_one_miss() -> None:
    learner = Learner[str](0.02)
    for _ in range(3):
        tell(learner, ["a"] * 100 + ["b"] * 100 + [f"{n}" for n in range(WINDOW)])
    assert learner.used("a") == ["b", *(f"{n}" for n in range(WINDOW - 1))]


def test_it_follows_what_changes() -> None:
    learner = Learner[str](0.02)
    other = iter(f"other {number}" for number in range(10_000))

    def rounds(count: int, follower: str) -> None:
        for _ in range(count):
            tell(learner, ["a", follower, *(next(other) for _ in range(WINDOW))])

    rounds(40, "b")
    assert learner.saw("a") == ["b"]
    rounds(20, "c")
    assert learner.saw("a") == ["c"]


def test_its_memory_is_bounded_and_shrinks_when_it_is_told() -> None:
    learner = Learner[int](0.02, rows=1000)
    rng = random.Random(1)
    for _ in range(5000):
        learner.saw(rng.randrange(3000))
    assert len(learner) == 1000
    for number in range(500):  # many things follow one key
        learner.saw(-1)
        learner.saw(10_000 + number)
    assert followers_of(learner, -1) <= FOLLOWERS
    learner.shrink(10)
    assert len(learner) == 10


def test_without_use_it_stops_and_tries_again_as_seldom_as_its_misses_pay_for() -> None:
    """Whatever it predicts goes unused: it costs what was granted at first, and the budget."""
    learner = Learner[int](0.02)
    wasted = 0
    for turn in range(1000):
        for key in (0, 1, 2, 3):
            for each in learner.saw(key + 4 * (turn % 50)):
                if learner.affords:
                    learner.fetched(each)
                    learner.wasted(each)
                    wasted += 1
    misses = 4 * 1000
    assert FIRST_CREDIT + 0.02 * misses * 0.9 <= wasted <= FIRST_CREDIT + 0.02 * misses + 1


def test_what_is_open_counts_as_lost_while_it_is_not_known_how_good_it_is() -> None:
    learner = Learner[int](0.02)
    begun = 0
    while learner.affords:
        learner.fetched(begun)
        begun += 1
    assert begun == FIRST_CREDIT
    for number in range(begun):
        learner.used(number)
    for number in range(2000):  # precise for long: more may be open, and the credit has an end
        learner.fetched(number)
        learner.used(number)
    assert learner.precision > 0.99
    spent = 0
    while learner.affords and spent < 10_000:
        learner.fetched(spent)
        learner.wasted(spent)
        spent += 1
    assert spent <= MOST_CREDIT


def test_uses_pay_for_what_is_wasted_at_nine_of_ten() -> None:
    learner = Learner[int](1e-9)
    rng, used, wasted = random.Random(2), 0, 0
    for number in range(5000):
        if learner.affords:
            learner.fetched(number)
            if rng.random() < 0.5:
                learner.used(number)
                used += 1
            else:
                learner.wasted(number)
                wasted += 1
    assert wasted <= FIRST_CREDIT + EARNED * used + 1, "half of them are not enough to go on"


def test_an_outcome_is_told_once_and_what_was_begun_elsewhere_is_never_told() -> None:
    learner = Learner[str](0.02)
    learner.fetched("a")
    learner.used("a")
    known = learner.precision
    learner.used("a")
    learner.wasted("a")
    learner.wasted("never fetched")
    assert learner.precision == known
    learner.fetched("b")
    learner.begin_anew()
    learner.wasted("b")
    assert learner.precision == known
