"""Who uses the service in the demo: tenants with agents, tools, conversations and documents.

Made from real texts and a seed, so that it is the same in every run and for every column. Each
sentence of a document names the document and its version, as `[acme/library-0-3 v7]`: so whatever
is made from it shows from which version, and can be judged from outside (compare.py).

All tenants use the same ids and ask the same questions; what they have under these ids differs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from examples.agent_service.corpus import SourceText, sentences

TENANTS: Final = ("acme", "globex", "initech")
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
_SENTENCES: Final = 4
_SENTENCE_LENGTH: Final = 160


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


class World:
    """What there is, in its present version, and what is asked for, the popular things first."""

    def __init__(self, texts: Sequence[SourceText], seed: int) -> None:
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
        self.others = list(self._other_reads())
        random = Random(seed)
        random.shuffle(self.questions)  # the popular ones are of all tenants
        random.shuffle(self.others)

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

    def renew(self, place: Place) -> tuple[int, dict[str, str]]:
        """The next version of a document, and its body. Whoever takes it has to store it."""
        self._versions[place] += 1
        return self._versions[place], self._body(place)

    def beside(self, place: Place) -> list[Place]:
        """The other documents of its collection."""
        return [
            each
            for each in self._texts
            if (each.tenant, each.collection) == (place.tenant, place.collection) and each != place
        ]

    def _body(self, place: Place) -> dict[str, str]:
        text, version = self._texts[place], self._versions[place]
        said = (f"{sentence} [{place.mark} v{version}]." for sentence in _said(text))
        return {"title": text.name, "text": " ".join(said)}

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
