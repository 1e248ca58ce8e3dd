"""What happens in the demo, in which order: reads and edits, the same for every column and seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import Final

from examples.agent_service.world import Place, Question, Request, World

WORKERS: Final = 2

_OTHER_READS: Final = 0.5  # share of the reads that are no questions
_SOON: Final = 12
"""An edit is of something that one of so many next reads asks about, so that it is seen."""

_AT_ONCE: Final = 3
"""Documents that an edit replaces, as an import does."""


@dataclass(frozen=True, slots=True)
class Read:
    """A read, by one of the workers. `shows`: whether its answer shows versions of documents."""

    request: Request
    worker: int
    shows: bool


@dataclass(frozen=True, slots=True)
class Edit:
    """New versions of documents of a collection, stored at once by one of the workers."""

    versions: Mapping[Place, int]
    request: Request
    worker: int


Step = Read | Edit


def steps(world: World, reads: int, edit_every: int, skew: float, seed: int) -> Iterator[Step]:
    """So many reads, popular things more often by Zipf's law with that skew, and edits."""
    random = Random(seed)
    drawn = [_draw(world, skew, random) for _ in range(reads)]
    for number, what in enumerate(drawn):
        if number % edit_every == edit_every - 1:
            soon = [each for each in drawn[number:][:_SOON] if isinstance(each, Question)]
            if soon:
                place = random.choice(soon).about
                others = world.beside(place)[: _AT_ONCE - 1]
                yield edit(world, place, *others, worker=random.randrange(WORKERS))
        yield read(what, random.randrange(WORKERS))


def read(what: Question | Request, worker: int) -> Read:
    if isinstance(what, Question):
        return Read(what.request, worker, shows=True)
    return Read(what, worker, shows="/documents/" in what.path)


def edit(world: World, *places: Place, worker: int) -> Edit:
    """The next version of documents of one collection. It has to be carried out."""
    renewed = {place: world.renew(place) for place in places}
    of = places[0]
    if len(places) == 1:
        request = Request(of.tenant, "PUT", of.path, renewed[of][1])
    else:
        documents = [{"id": place.document, **body} for place, (_, body) in renewed.items()]
        path = f"/collections/{of.collection}/documents"
        request = Request(of.tenant, "POST", path, {"documents": documents})
    return Edit({place: version for place, (version, _) in renewed.items()}, request, worker)


def _draw(world: World, skew: float, random: Random) -> Question | Request:
    of: Sequence[Question | Request] = world.questions
    if random.random() < _OTHER_READS:
        of = world.others
    weights = list(accumulate((rank + 1) ** -skew for rank in range(len(of))))
    return random.choices(of, cum_weights=weights)[0]
