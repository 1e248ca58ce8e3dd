"""Who uses the service in the demo: tenants with agents, tools, conversations and collections.

Made from real texts and a seed, so that it is the same in every run. It says what exists at the
start, and what the tenants ask, the popular things first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from examples.agent_service.corpus import SourceText

_TENANTS: Final = ("acme", "globex", "initech")
_ROLES: Final = (
    ("Librarian", "Answer from the passages, and say where they stand."),
    ("Reviewer", "Answer briefly, and warn of pitfalls."),
    ("Teacher", "Explain as to a newcomer, with one example."),
    ("Operator", "Say what to type, nothing else."),
)
_IN_A_CONVERSATION: Final = 5  # one question in so many
_TOOLS: Final = (("search", "Searches the documents."), ("run", "Runs a short program."))


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything there is, for each tenant where it is not a total."""

    documents: int
    agents: int = 4
    collections: int = 3
    conversations: int = 4
    questions: int = 8


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request of one tenant."""

    tenant: str
    method: str
    path: str
    body: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Thing:
    """What can change: an agent with its tools, a collection, or a conversation of a tenant."""

    tenant: str
    kind: str
    id: str


@dataclass(frozen=True, slots=True)
class Wish:
    """A read that the tenants ask for again and again, and the things that its answer is of."""

    request: Request
    things: tuple[Thing, ...]
    key: str


@dataclass(frozen=True, slots=True)
class World:
    """What exists at the start, and what is wished for: questions and other reads, best first.

    asked: of each collection, the texts that somebody's question comes from.
    """

    creations: tuple[Request, ...]
    questions: tuple[Wish, ...]
    others: tuple[Wish, ...]
    asked: dict[Thing, tuple[SourceText, ...]]


def make_world(texts: Sequence[SourceText], size: Size, seed: int) -> World:
    """Deal the texts out to the tenants' collections, and draw what is asked about them."""
    random = Random(seed)
    shares: dict[Thing, list[SourceText]] = {
        Thing(tenant, "collection", f"library-{number}"): []
        for number in range(size.collections)
        for tenant in _TENANTS
    }
    for place, text in enumerate(texts[: size.documents]):
        shares[list(shares)[place % len(shares)]].append(text)
    questions = [wish for tenant in _TENANTS for wish in _questions(tenant, shares, size, random)]
    sources = {(wish.things[1], (wish.request.body or {})["question"]) for wish in questions}
    others = [wish for tenant in _TENANTS for wish in _other_reads(tenant, shares, size, random)]
    random.shuffle(questions)  # the popular ones are of all tenants
    random.shuffle(others)
    return World(
        creations=tuple(_creations(shares, size)),
        questions=tuple(questions),
        others=tuple(others),
        asked={
            collection: tuple(text for text in share if (collection, text.question) in sources)
            for collection, share in shares.items()
        },
    )


def agent_body(number: int, edition: int = 0) -> dict[str, Any]:
    """An agent's configuration; another edition of it answers differently."""
    role, instructions = _ROLES[number % len(_ROLES)]
    return {
        "name": f"{role} {number}",
        "instructions": f"{instructions} (edition {edition})",
        "max_words": 90,
    }


def document_body(text: SourceText, edition: int = 0) -> dict[str, Any]:
    """A document; another edition says so in each sentence, so that answers show it."""
    said = text.text if not edition else text.text.replace(". ", f" [edition {edition}]. ")
    return {"title": text.name, "text": f"{said} [edition {edition}]." if edition else said}


def _creations(shares: dict[Thing, list[SourceText]], size: Size) -> Iterator[Request]:
    for tenant in _TENANTS:
        for number in range(size.agents):
            agent = f"agent-{number}"
            yield Request(tenant, "POST", "/agents", {"id": agent, **agent_body(number)})
            for name, description in _TOOLS[: number % (len(_TOOLS) + 1)]:
                body = {"id": f"{agent}-{name}", "name": name, "description": description}
                yield Request(tenant, "POST", f"/agents/{agent}/tools", body)
        for number in range(size.conversations):
            talk, agent = f"talk-{number}", f"agent-{number % size.agents}"
            body = {"id": talk, "agent_id": agent, "title": f"Talk {number}"}
            yield Request(tenant, "POST", "/conversations", body)
            first = {"role": "user", "text": f"Hello, this is talk {number}."}
            yield Request(tenant, "POST", f"/conversations/{talk}/messages", first)
    for thing, share in shares.items():
        body = {"id": thing.id, "name": f"Library of {thing.tenant}"}
        yield Request(thing.tenant, "POST", "/collections", body)
        documents = [{"id": text.name, **document_body(text)} for text in share]
        path = f"/collections/{thing.id}/documents"
        for start in range(0, len(documents), 100):
            yield Request(thing.tenant, "POST", path, {"documents": documents[start:][:100]})


def _questions(
    tenant: str, shares: dict[Thing, list[SourceText]], size: Size, random: Random
) -> Iterator[Wish]:
    """Questions about collections, each asked of two agents, some within a conversation."""
    collections = [thing for thing in shares if thing.tenant == tenant]
    for number in range(size.questions):
        collection = collections[number % len(collections)]
        asked = [text.question for text in shares[collection] if text.question]
        question = random.choice(asked)
        for agent in random.sample(range(size.agents), 2):
            things = [Thing(tenant, "agent", f"agent-{agent}"), collection]
            body = {"collection_id": collection.id, "question": question}
            if number % _IN_A_CONVERSATION == 0:
                talk = f"talk-{random.randrange(size.conversations)}"
                things.append(Thing(tenant, "conversation", talk))
                body["conversation_id"] = talk
            path = f"/agents/agent-{agent}/query"
            key = ":".join((tenant, path, *body.values()))
            yield Wish(Request(tenant, "POST", path, body), tuple(things), key)


def _other_reads(
    tenant: str, shares: dict[Thing, list[SourceText]], size: Size, random: Random
) -> Iterator[Wish]:
    """Agents, conversations' messages and documents, read as they are."""

    def wish(path: str, *things: Thing) -> Wish:
        return Wish(Request(tenant, "GET", path), things, f"{tenant}:{path}")

    for number in range(size.agents):
        agent = Thing(tenant, "agent", f"agent-{number}")
        yield wish(f"/agents/{agent.id}", agent)
        yield wish(f"/agents/{agent.id}/tools", agent)
    for number in range(size.conversations):
        talk = Thing(tenant, "conversation", f"talk-{number}")
        yield wish(f"/conversations/{talk.id}/messages", talk)
    for collection in (thing for thing in shares if thing.tenant == tenant):
        for text in random.sample(shares[collection], min(2, len(shares[collection]))):
            yield wish(f"/collections/{collection.id}/documents/{text.name}", collection)
