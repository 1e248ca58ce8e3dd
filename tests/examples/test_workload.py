"""The workload is the same for every run of a seed, and its edits can be seen."""

from collections import Counter

import pytest

from examples.agent_service.compare import versions_in
from examples.agent_service.corpus import standard_library
from examples.agent_service.demo import SEED, SKEWS
from examples.agent_service.report import OBSERVABLE
from examples.agent_service.workload import WORKERS, Edit, Read, Step, edit, steps
from examples.agent_service.world import TENANTS, Question, World

TEXTS = standard_library(300)


def world(seed: int = SEED) -> World:
    return World(TEXTS, seed)


def planned(reads: int, edit_every: int, skew: float, seed: int = SEED) -> list[Step]:
    return list(steps(world(seed), reads, edit_every, skew, seed))


def test_a_seed_gives_the_same_world_and_the_same_steps() -> None:
    assert list(world().creations()) == list(world().creations())
    assert planned(300, 20, 1.0) == planned(300, 20, 1.0)
    assert planned(300, 20, 1.0) != planned(300, 20, 1.0, seed=2)


def test_all_tenants_ask_the_same_of_their_own() -> None:
    asked: dict[tuple[str, str, str], list[Question]] = {}
    for each in world().questions:
        asked.setdefault((each.about.document, each.agent, each.text), []).append(each)
    assert len(asked) > 10
    for same in asked.values():
        assert sorted(each.about.tenant for each in same) == sorted(TENANTS)
        assert len({each.about.mark for each in same}) == len(TENANTS)


def test_each_sentence_names_its_document_and_its_version() -> None:
    there = world()
    place = there.questions[0].about
    (before,) = [
        document
        for request in there.creations()
        if request.tenant == place.tenant and request.path.endswith(f"{place.collection}/documents")
        for document in (request.body or {})["documents"]
        if document["id"] == place.document
    ]
    made = edit(there, place, worker=0)
    assert made.request.body is not None
    assert made.versions == {place: 1}
    for text, version in ((before["text"], 0), (made.request.body["text"], 1)):
        said = text.split(". ")
        assert len(said) > 1
        assert all(versions_in(sentence) == {place.mark: version} for sentence in said)


@pytest.mark.parametrize("skew", SKEWS)
def test_a_race_has_enough_edits_each_of_what_is_asked_about_soon(skew: float) -> None:
    race = planned(4500, 56, skew)
    edits = [(at, step) for at, step in enumerate(race) if isinstance(step, Edit)]
    assert sum(len(each.versions) for _, each in edits) > OBSERVABLE
    for at, each in edits:
        collections = {
            (read.request.tenant, (read.request.body or {}).get("collection_id"))
            for read in race[at:][:20]
            if isinstance(read, Read)
        }
        place = next(iter(each.versions))
        assert (place.tenant, place.collection) in collections


def test_versions_follow_each_other_and_both_workers_have_work() -> None:
    seen: Counter[str] = Counter()
    workers: Counter[int] = Counter()
    for step in planned(1000, 20, 1.0):
        workers[step.worker] += 1
        if isinstance(step, Edit):
            for place, version in step.versions.items():
                seen[place.mark] += 1
                assert version == seen[place.mark]
    assert sorted(workers) == list(range(WORKERS))
    assert min(workers.values()) > 400


def test_popular_things_are_asked_more_often_the_greater_the_skew() -> None:
    shares = []
    for skew in SKEWS:
        reads = [step for step in planned(3_000, 100, skew) if isinstance(step, Read)]
        counts = Counter(str(read.request) for read in reads)
        shares.append(sum(count for _, count in counts.most_common(6)) / counts.total())
    assert shares == sorted(shares)
    assert shares[-1] > 1.3 * shares[0]
