"""Who uses the service in the demo, what they ask, and which documents are edited meanwhile.

Made from real texts and a seed, so that it is the same in every run and for every column. Each
sentence of a document names the document and its version, as `[acme/library-0-3 v7]`: so whatever
is made from it shows from which version, and can be judged from outside (truth.py).

All tenants use the same ids and ask the same questions; what they have under these ids differs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import Any, Final

from examples.agent_service.corpus import SourceText, sentences

TENANTS: Final = ("acme", "globex", "initech")
WORKERS: Final = 2
COLLECTIONS: Final = 6
DOCUMENTS: Final = 5
"""Of each collection; an answer is made from up to four of them."""

_ASKED: Final = 2  # of these: documents that somebody asks about
_AGENTS: Final = (
    ("Librarian", "Answer from the passages, and say where they stand."),
    ("Reviewer", "Answer briefly, and warn of pitfalls."),
    ("Teacher", "Explain as to a newcomer, with one example."),
)
_TOOLS: Final = (("search", "Searches the documents."), ("run", "Runs a short program."))
_OTHER_READS: Final = 0.5  # share of the reads that are no questions
_SENTENCES: Final = 4
_SENTENCE_LENGTH: Final = 160
_SOON: Final = 12
"""An edit is of something that one of so many next reads asks about, so that it is seen."""

_AT_ONCE: Final = 3
"""Documents that an edit replaces, as an import does."""


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request of one tenant."""

    tenant: str
    method: str
    path: str
    body: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """A document, and where it lies."""

    tenant: str
    collection: str
    document: str

    @property
    def mark(self) -> str:
        """What its sentences call it."""
        return f"{self.tenant}/{self.document}"

    @property
    def path(self) -> str:
        return f"/collections/{self.collection}/documents/{self.document}"


@dataclass(frozen=True, slots=True)
class Question:
    """What a tenant asks an agent, again and again; `about`: the document that it is taken from."""

    about: Place
    agent: str
    text: str

    @property
    def request(self) -> Request:
        body = {"collection_id": self.about.collection, "question": self.text}
        return Request(self.about.tenant, "POST", f"/agents/{self.agent}/query", body)


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


class World:
    """What there is, and what happens to it. Whoever takes an edit from it has to carry it out."""

    def __init__(self, texts: Sequence[SourceText], seed: int) -> None:
        self._random = Random(seed)
        self._versions: dict[Place, int] = {}
        self._texts: dict[Place, SourceText] = {}
        usable = iter(text for text in texts if text.question and len(list(_said(text))) > 1)
        for collection in range(COLLECTIONS):
            for number in range(DOCUMENTS):
                text = next(usable)
                name = f"library-{collection}"
                for tenant in TENANTS:
                    place = Place(tenant, name, f"{name}-{number}")
                    self._texts[place], self._versions[place] = text, 0
        self.questions = list(self._questions())
        self._others = list(self._other_reads())
        self._random.shuffle(self.questions)  # the popular ones are of all tenants
        self._random.shuffle(self._others)

    @property
    def places(self) -> Sequence[Place]:
        return list(self._texts)

    def creations(self) -> Iterator[Request]:
        """What there is at the start, in the order in which it can be created."""
        for tenant in TENANTS:
            for name, instructions in _AGENTS:
                agent = name.lower()
                body = {"id": agent, "name": name, "instructions": instructions, "max_words": 250}
                yield Request(tenant, "POST", "/agents", body)
                for tool, description in _TOOLS:
                    body = {"id": f"{agent}-{tool}", "name": tool, "description": description}
                    yield Request(tenant, "POST", f"/agents/{agent}/tools", body)
                body = {"id": f"talk-{agent}", "agent_id": agent, "title": f"Talk of {name}"}
                yield Request(tenant, "POST", "/conversations", body)
            for collection in range(COLLECTIONS):
                name = f"library-{collection}"
                yield Request(tenant, "POST", "/collections", {"id": name, "name": name})
                places = [p for p in self._texts if (p.tenant, p.collection) == (tenant, name)]
                documents = [{"id": place.document, **self._body(place)} for place in places]
                path = f"/collections/{name}/documents"
                yield Request(tenant, "POST", path, {"documents": documents})

    def steps(self, reads: int, edit_every: int, skew: float) -> Iterator[Step]:
        """So many reads, popular things more often by Zipf's law with that skew, and edits."""
        drawn = [self._draw(skew) for _ in range(reads)]
        for number, what in enumerate(drawn):
            if number % edit_every == edit_every - 1:
                soon = [each for each in drawn[number:][:_SOON] if isinstance(each, Question)]
                if soon:
                    yield self.edit(*self._beside(self._random.choice(soon).about))
            yield self.read(what)

    def read(self, what: Question | Request, worker: int | None = None) -> Read:
        request = what.request if isinstance(what, Question) else what
        if worker is None:
            worker = self._random.randrange(WORKERS)
        shows = isinstance(what, Question) or "/documents/" in request.path
        return Read(request, worker, shows)

    def edit(self, *places: Place, worker: int | None = None) -> Edit:
        """The next version of documents of one collection."""
        for place in places:
            self._versions[place] += 1
        if worker is None:
            worker = self._random.randrange(WORKERS)
        of = places[0]
        if len(places) == 1:
            request = Request(of.tenant, "PUT", of.path, self._body(of))
        else:
            documents = [{"id": place.document, **self._body(place)} for place in places]
            path = f"/collections/{of.collection}/documents"
            request = Request(of.tenant, "POST", path, {"documents": documents})
        return Edit({place: self._versions[place] for place in places}, request, worker)

    def _beside(self, place: Place) -> list[Place]:
        """This document, and the next ones of its collection."""
        others = [
            each
            for each in self._texts
            if (each.tenant, each.collection) == (place.tenant, place.collection) and each != place
        ]
        return [place, *others[: _AT_ONCE - 1]]

    def _body(self, place: Place) -> dict[str, str]:
        text, version = self._texts[place], self._versions[place]
        said = (f"{sentence} [{place.mark} v{version}]." for sentence in _said(text))
        return {"title": text.name, "text": " ".join(said)}

    def _draw(self, skew: float) -> Question | Request:
        of: Sequence[Question | Request] = self.questions
        if self._random.random() < _OTHER_READS:
            of = self._others
        weights = list(accumulate((rank + 1) ** -skew for rank in range(len(of))))
        return self._random.choices(of, cum_weights=weights)[0]

    def _questions(self) -> Iterator[Question]:
        for place, text in self._texts.items():
            collection, number = place.document.split("-")[1:]
            if int(number) < _ASKED:
                role, _ = _AGENTS[(int(collection) + int(number)) % len(_AGENTS)]
                yield Question(place, role.lower(), text.question or text.name)

    def _other_reads(self) -> Iterator[Request]:
        for tenant in TENANTS:
            for name, _ in _AGENTS:
                yield Request(tenant, "GET", f"/agents/{name.lower()}")
                yield Request(tenant, "GET", f"/agents/{name.lower()}/tools")
                yield Request(tenant, "GET", f"/conversations/talk-{name.lower()}/messages")
        for place in self._texts:
            if place.document.endswith("-0"):
                yield Request(place.tenant, "GET", place.path)


def _said(text: SourceText) -> Iterator[str]:
    """Some sentences of a text, short enough that an answer holds one whole of each document."""
    for sentence in sentences(text.text)[:_SENTENCES]:
        if short := sentence[:_SENTENCE_LENGTH].strip(" .:!?[]"):
            yield short.replace(". ", ", ")
