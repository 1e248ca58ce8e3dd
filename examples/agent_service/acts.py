"""What the demo shows after the race: an edit and all that goes with it, a Redis that is killed,
and two tenants that ask the same. Each act answers with what did not go as it should.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, Final

from cascada import Cache, Tenant, generate_resource_id_hash
from examples.agent_service import terminal
from examples.agent_service.caching import PASSAGES, POLICIES
from examples.agent_service.compare import GRACE, versions_in
from examples.agent_service.drive import Answered, Column
from examples.agent_service.lexical import LexicalEmbedder
from examples.agent_service.process import RedisServer
from examples.agent_service.workload import WORKERS, Step, edit, read
from examples.agent_service.world import TENANTS, Place, Question, World

OUTAGE: Final = 1.5
"""Seconds that Redis is away."""

_ATTEMPTS: Final = 20
_PATIENCE: Final = 60.0
_SHOWN: Final = 70  # characters of a question


class Acts:
    """The acts, on columns that have run their race."""

    def __init__(self, world: World, redis: RedisServer, namespace: str, *columns: Column) -> None:
        self._world = world
        self._redis = redis
        self._namespace = namespace
        self._columns = columns
        self._by_hand, self._cascada = columns[1:]

    async def follow_an_edit(self) -> list[str]:
        """Before: both workers have the answers in memory. After: neither has."""
        question = self._world.questions[0]
        about = question.about
        asked = [
            each
            for each in self._world.questions
            if (each.about.tenant, each.about.collection) == (about.tenant, about.collection)
        ]
        for each in asked:
            await self._in_memory_of_all(each)
        async with Cache(
            redis=self._redis.url, namespace=self._namespace, policies=POLICIES
        ) as looking:
            tenant = looking.tenant(about.tenant)
            made_of = await self._made_of(tenant, asked)
            reached = await tenant.cascade(
                "document", document=about.document, collection=about.collection, dry_run=True
            )
        before = [await self._ask(self._cascada, each) for each in asked]
        changed = edit(self._world, about, worker=0)
        await asyncio.gather(*(column.edit(changed) for column in self._columns))
        await asyncio.sleep(GRACE)
        after = [await self._ask(self._cascada, each) for each in asked]
        by_hand = await self._ask(self._by_hand, question)
        self._draw(changed.versions[about], asked, made_of, reached.counts, before, after)
        shown = {versions_in(each.text).get(about.mark) for each in by_hand}
        terminal.say(
            f"The cache by hand has deleted the key of {about.document}, and goes on answering "
            f"{_question(question)} from {', '.join(f'v{each}' for each in sorted(shown, key=str))}"
            ", until its TTL ends."
        )
        kept = [each for answers in after for each in answers if _in_memory(each)]
        return [f"a worker still had an answer in memory: {each.came_from}" for each in kept[:1]]

    async def _made_of(self, tenant: Tenant, asked: Iterable[Question]) -> dict[str, set[str]]:
        """What is cached of the collection, each with what it was made from, as Redis has it."""
        found: dict[str, set[str]] = {}
        for each in asked:
            here = tenant.within(collection=each.about.collection)
            answering = here.within(agent=each.agent)
            passages = generate_resource_id_hash(each.text, PASSAGES, LexicalEmbedder.name)
            for handle, data_type, resource_id in (
                (here, "vector_store", each.about.collection),
                (here, "query_result", passages),
                (answering, "agent_response", generate_resource_id_hash(each.text)),
            ):
                explained = await handle.explain(data_type, resource_id)
                found[explained.key] = {key for each in explained.findings for key in each.made_of}
        return found

    def _draw(
        self,
        version: int,
        asked: Sequence[Question],
        made_of: dict[str, set[str]],
        counts: dict[str, int],
        before: Sequence[Sequence[Answered]],
        after: Sequence[Sequence[Answered]],
    ) -> None:
        """Each value below what it was made from: the source that is itself made from most."""
        about = asked[0].about
        root = terminal.Node(f"{about.mark} is edited, v{version - 1} -> v{version}, by worker 1")
        nodes = {key: terminal.Node(key) for key in made_of}
        for key, sources in sorted(made_of.items()):
            within = [each for each in sources if each in nodes]
            parent = max(within, key=lambda each: len(made_of[each]), default=None)
            (root if parent is None else nodes[parent]).below.append(nodes[key])
        for each, old, new in zip(asked, before, after, strict=True):
            answer = generate_resource_id_hash(each.text)
            (key,) = [key for key in nodes if key.endswith(f":{answer}")]
            nodes[key].text = f"{key.rpartition(':')[0]}: {_question(each)}"
            for worker in range(WORKERS):
                was, now = old[worker], new[worker]
                told = f"worker {worker + 1}: {_told(was, about)} -> {_told(now, about)}"
                nodes[key].below.append(terminal.Node(told))
        terminal.tree(root)
        went = ", ".join(f"{count} {label}" for label, count in counts.items() if count)
        terminal.say(f"One atomic invalidation; by its dry run it would take: {went}.")

    async def kill_redis(
        self, steps: Sequence[Step], *, concurrency: int, rate: float
    ) -> list[str]:
        """kill -9 while all columns are read, with an edit in the middle of the outage."""
        tally = self._cascada.tally
        failed, answered = len(tally.failed), len(tally.seconds)
        changed = edit(self._world, self._world.questions[0].about, worker=0)
        async with asyncio.TaskGroup() as group:
            for column in self._columns:
                group.create_task(column.drive(steps, concurrency=concurrency, rate=rate))
            await asyncio.sleep(OUTAGE / 3)
            await self._redis.kill()
            terminal.say("Redis is killed (kill -9), and a document is edited ...")
            edited = [group.create_task(_timed(column.edit(changed))) for column in self._columns]
            await asyncio.sleep(OUTAGE)
            await self._redis.start()
            terminal.say(f"... and it is back, empty, after {OUTAGE:.1f} s.")
            used = await self._until_used()
        terminal.say(
            f"cascada: {len(tally.seconds) - answered} reads meanwhile, "
            f"{len(tally.failed) - failed} requests failed; the edit was stored and told to all "
            f"after {edited[-1].result():.1f} s"
        )
        if used is None:
            return ["Redis came back, and was not used again"]
        terminal.say(f"Both workers used Redis again {used:.1f} s after it was back.")
        return []

    async def _until_used(self) -> float | None:
        """Seconds from now until both workers use Redis."""
        back = time.perf_counter()
        while (waited := time.perf_counter() - back) < _PATIENCE:
            workers = await self._cascada.statistics()
            if all(stats["cache"]["tiers"]["l2"]["available"] for stats in workers):
                return waited
            await asyncio.sleep(0.05)
        return None

    async def ask_as_another(self) -> list[str]:
        """Tenant B asks what A has asked: the same agent, collection and question, by their ids."""
        question = self._world.questions[0]
        mine = question.about
        other = next(each for each in TENANTS if each != mine.tenant)
        (theirs,) = [
            each
            for each in self._world.questions
            if each.text == question.text and each.about.tenant == other
        ]
        await self._in_memory_of_all(question)
        (answer, _), (another, _) = [
            await self._ask(self._cascada, each) for each in (question, theirs)
        ]
        for tenant, each in ((mine.tenant, answer), (other, another)):
            terminal.say(f"{tenant} asks {_question(question)}: {_told(each)}")
            terminal.say(f"    from {', '.join(sorted(versions_in(each.text)))}")
        foreign = [m for m in versions_in(another.text) if not m.startswith(f"{other}/")]
        if foreign or not versions_in(another.text):
            return [f"{other} was shown {foreign or 'nothing'}"]
        return []

    async def _in_memory_of_all(self, question: Question) -> None:
        for _ in range(_ATTEMPTS):
            answers = await self._ask(self._cascada, question)
            if all(map(_in_memory, answers)):
                break
        await self._ask(self._by_hand, question)

    async def _ask(self, column: Column, question: Question) -> list[Answered]:
        """The question, of each worker in turn."""
        reads = [read(question, worker) for worker in range(WORKERS)]
        return [await column.ask(read) for read in reads]


async def _timed(doing: Coroutine[Any, Any, None]) -> float:
    begun = time.perf_counter()
    await doing
    return time.perf_counter() - begun


def _in_memory(answered: Answered) -> bool:
    return "; hit" in answered.came_from and "detail=l1" in answered.came_from


def _told(answered: Answered, about: Place | None = None) -> str:
    """Where an answer came from, in words, and which version of a document it shows."""
    tier = answered.came_from.rpartition("detail=")[2] if "detail=" in answered.came_from else None
    words = {None: "made anew", "l1": "in memory", "l2": "from Redis"}.get(tier, str(tier))
    version = versions_in(answered.text).get(about.mark) if about else None
    return words if version is None else f"{words}, v{version}"


def _question(question: Question) -> str:
    return f"{question.text[:_SHOWN]!r}"
