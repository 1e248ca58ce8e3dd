"""The workload is the same for every run of a seed, and its answers can be compared."""

from collections import Counter

import pytest

from examples.agent_service.corpus import standard_library
from examples.agent_service.workload import Phase, Read, make_phases
from examples.agent_service.world import Size, Thing, World, make_world

SKEWS = [0.8, 1.0, 1.2]


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(standard_library(300), Size(300), seed=1)


@pytest.fixture(scope="module", params=SKEWS)
def phases(request: pytest.FixtureRequest, world: World) -> list[Phase]:
    return make_phases(world, request.param, 3_000, seed=1, reads_in_phase=100)


def reads_of(phases: list[Phase]) -> list[Read]:
    return [read for phase in phases for read in phase.reads]


def test_a_seed_gives_the_same_world_and_the_same_sequence(world: World) -> None:
    again = make_world(standard_library(300), Size(300), seed=1)
    assert again == world
    assert make_phases(again, 1.0, 500, seed=1) == make_phases(world, 1.0, 500, seed=1)
    assert make_phases(world, 1.0, 500, seed=2) != make_phases(world, 1.0, 500, seed=1)
    assert make_world(standard_library(300), Size(300), seed=2) != world


def test_there_are_several_tenants_with_their_own_questions(world: World) -> None:
    asked = Counter(wish.request.tenant for wish in world.questions)
    assert len(asked) == 3
    assert min(asked.values()) == max(asked.values()) == 2 * Size(300).questions
    documents = [r for r in world.creations if r.path.endswith("/documents")]
    assert sum(len((request.body or {})["documents"]) for request in documents) == 300


def test_popular_things_are_asked_more_often_the_greater_the_skew(world: World) -> None:
    shares = []
    for skew in SKEWS:
        counts = Counter(read.wish.key for read in reads_of(make_phases(world, skew, 3_000, 1)))
        shares.append(sum(count for _, count in counts.most_common(6)) / counts.total())
    assert shares == sorted(shares)
    assert shares[-1] > 1.3 * shares[0]


def test_agents_documents_and_conversations_change_meanwhile(phases: list[Phase]) -> None:
    writes = Counter(
        (phase.write.method, phase.write.path.split("/")[1]) for phase in phases if phase.write
    )
    assert set(writes) == {
        ("POST", "conversations"),
        ("PUT", "agents"),
        ("POST", "agents"),
        ("PUT", "collections"),
        ("DELETE", "collections"),
    }
    assert {phase.in_the_midst for phase in phases if phase.write} == {True, False}


def test_every_read_has_a_known_right_answer(phases: list[Phase]) -> None:
    known = {(read.wish.key, read.states[0]) for read in reads_of(phases) if len(read.states) == 1}
    beside_a_write = [read for read in reads_of(phases) if len(read.states) > 1]
    assert beside_a_write, "no read runs beside a write that touches it"
    for read in beside_a_write:
        assert len(read.states) == 2
        assert {(read.wish.key, state) for state in read.states} <= known


def test_every_write_changes_one_thing_and_is_seen_at_once(phases: list[Phase]) -> None:
    seen: Counter[Thing] = Counter()
    for phase in phases:
        before = seen.copy()
        for read in phase.reads:
            for thing, changes in zip(read.wish.things, read.states[-1], strict=True):
                assert changes >= before[thing]
                seen[thing] = changes
        assert sum((seen - before).values()) == (phase.write is not None)
