"""The plan of what is better placed elsewhere: a function of what was measured."""

from typing import Any

import pytest

from cascada.engine.strategies.distribution import Held, Move, Plan, Wanted, plan
from cascada.model.keys import Key
from cascada.model.policy import CachePriority

SECONDS = {"l2": 0.001, "l3": 0.01}


def key(name: str) -> Key:
    return Key("acme", "x", None, None, None, name)


def wanted(name: str, hits: float, size: int = 100, tier: str = "l2", **more: Any) -> Wanted:
    return Wanted(key(name), tier, hits, size, size, **more)


def held(name: str, hits: float, size: int = 100, **more: Any) -> Held:
    return Held(key(name), "l2", hits, size, size, **more)


def planned(*given: Wanted | Held, room: int = 0, moves: int = 100, size: int = 10**6) -> Plan:
    return plan(
        [each for each in given if isinstance(each, Wanted)],
        [each for each in given if isinstance(each, Held)],
        room=room,
        seconds=SECONDS,
        max_moves=moves,
        max_bytes=size,
    )


def told(made: Plan) -> list[tuple[str, str | None]]:
    return [(move.key.resource_id, move.target) for move in made.moves]


def test_what_is_read_below_comes_up_as_far_as_there_is_room() -> None:
    made = planned(wanted("a", 10), wanted("b", 30), wanted("c", 20), room=250)
    assert told(made) == [("b", "l1"), ("c", "l1")]
    assert (made.hits, made.size) == (50, 200)
    assert made.milliseconds == pytest.approx(50.0)
    assert all("read about" in move.why for move in made.moves)


def test_the_densest_comes_first() -> None:
    made = planned(wanted("large", 30, 300), wanted("small", 20, 100), room=300)
    assert told(made) == [("small", "l1")]
    made = planned(wanted("near", 12), wanted("far", 10, tier="l3"), room=100)
    assert told(made) == [("far", "l1")]


def test_what_is_cold_and_bulky_makes_room() -> None:
    made = planned(
        wanted("hot", 10, 150), held("cold", 0, 50), held("bulky", 0, 500), held("warm", 9, 500)
    )
    assert told(made) == [("bulky", None), ("hot", "l1")]
    assert made.hits == 10


def test_nothing_goes_for_what_is_hardly_hotter() -> None:
    assert told(planned(wanted("hot", 10), held("warm", 6))) == []
    made = planned(wanted("hot", 13), held("warm", 6))
    assert told(made) == [("warm", None), ("hot", "l1")]
    assert made.hits == 7
    assert made.milliseconds == pytest.approx(7.0)


def test_what_is_important_stays() -> None:
    for priority in (CachePriority.HIGH, CachePriority.CRITICAL):
        assert told(planned(wanted("hot", 10), held("cold", 0, priority=priority))) == []


def test_what_a_shared_tier_has_lost_it_gets_back() -> None:
    made = planned(wanted("a", 10, tier="l3", passed="l2"), room=100)
    assert told(made) == [("a", "l2"), ("a", "l1")]
    assert made.hits == 10
    assert made.milliseconds == pytest.approx(100.0)
    made = planned(wanted("a", 10, tier="l3", passed="l2"))
    assert told(made) == [("a", "l2")], "memory has no room for it"
    assert (made.hits, round(made.milliseconds)) == (0, 90)


def test_a_plan_keeps_to_its_budget() -> None:
    many = [wanted(f"k{n}", 100 - n) for n in range(50)]
    assert len(planned(*many, room=10**6, moves=7).moves) == 7
    made = planned(*many, room=10**6, size=1050)
    assert len(made.moves) == 10
    assert made.size == 1000
    assert told(planned(wanted("a", 10), held("b", 0), moves=1)) == [], "half of it is no use"


def test_a_room_is_given_once() -> None:
    made = planned(wanted("a", 30), wanted("b", 20), held("c", 0), held("d", 5))
    assert sorted(told(made), key=str) == [("a", "l1"), ("b", "l1"), ("c", None), ("d", None)]
    assert made.hits == 45


def test_of_nothing_nothing_is_planned() -> None:
    assert planned() == Plan(())
    assert planned(held("a", 0)) == Plan(())
    assert planned(wanted("a", 0), room=1000) == Plan(())
    assert isinstance(planned(wanted("a", 1), room=1000).moves[0], Move)
