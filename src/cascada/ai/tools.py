"""Tools of an agent, by what they read and write: an effect that is declared, and kept.

`@tools.reads(("account", "{account_id}"))` and `@tools.writes(...)` declare it, `await
tools.call(name, arguments)` calls a tool as a model asked for it; `docs/tools.md` shows both.

What a tool reads are the sources of its result, which is loaded through the cache, once for all
who ask for it. A tool that writes is never cached, whatever it reads: it runs each time, and what
it writes is void when it has ended, however it did, since who fails half-way may have written, and
so may a plain function that goes on in its thread after its caller was cancelled. A load that has
read the old value meanwhile cannot store it: its lease is void. One that declares nothing may do
anything: it runs each time, too. The answer of a load that ran one of these two is not stored.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar, cast

from cascada.ai.declared import Declaration, Declared, Parsed, parsed, written_names
from cascada.api.cache import Cache
from cascada.api.cached.function import CachedFunction
from cascada.api.keeping import Keeper
from cascada.api.sync.waiting import Face, waits, waits_once
from cascada.api.tenant.handle import Tenant
from cascada.engine.engine import Engine
from cascada.engine.home.carrying import waited
from cascada.engine.loading import dependencies
from cascada.engine.loading.loaders import in_a_thread
from cascada.model.door import arguments
from cascada.model.door.plain import text_of
from cascada.model.door.shown import shown
from cascada.model.entry import Invalidated
from cascada.model.errors import BadInput, CascadaError, Misuse, SourceBusy
from cascada.model.keys import Id
from cascada.model.loaded import Loaded
from cascada.model.ttl import Duration

F = TypeVar("F", bound=Callable[..., Any])

Arguments = str | bytes | Mapping[str, Any] | None
"""What a model passes: a JSON object, parsed or not."""

DATA_TYPE: Final = "tool_result"

logger = logging.getLogger("cascada")


class Tools:
    """A table of tools, by name."""

    def __init__(
        self,
        cache: Cache,
        *,
        tenant: Id | None = None,
        data_type: str = DATA_TYPE,
        ttl: Duration | None = None,
        tags: Sequence[str] = (),
    ) -> None:
        """tenant: whose results they are; unless it is given, that of the load that a tool is
        called in, or of the current context, of whichever began last, else CASCADA_TENANT.
        data_type: what results are stored under. ttl, tags: as those of `load`, for all tools."""
        self._settings = Keeper(cache, tenant=tenant, data_type=data_type, ttl=ttl, tags=tags)
        self._tools: dict[str, _Tool] = {}

    def reads(
        self,
        *sources: Declared,
        name: str | None = None,
        ttl: Duration | None = None,
        ignore: Sequence[str] = (),
    ) -> Callable[[F], F]:
        """Declare what a function reads: its results are cached, one for each set of arguments.

        sources: types and ids, `("account", "{account_id}")`, where a name in braces is an argument
        and "*" any of the type; or functions of the same arguments that return such pairs. Without
        any: it reads nothing that changes. name: what it is called by (left out: the function's).
        ttl: how long its results are fresh (left out: the table's). ignore: arguments that do not
        change the result, such as a session.
        """
        how = _checked(sources, None, name, ttl, ignore)
        return lambda function: self._take(function, how)

    def writes(self, *names: Declared, name: str | None = None) -> Callable[[F], F]:
        """Declare what a function writes, whatever else it does: that is invalidated when it has
        ended, also when it failed. names: as the sources of `reads`. A process that is killed in
        between tells nobody: then what was read stays for its ttl."""
        how = _checked(None, names, name, None, ())
        return lambda function: self._take(function, how)

    def add(
        self,
        function: F,
        *,
        reads: Sequence[Declared] | None = None,
        writes: Sequence[Declared] | None = None,
        name: str | None = None,
        ttl: Duration | None = None,
        ignore: Sequence[str] = (),
    ) -> F:
        """Take a function, async or plain, into the table, and return it as it is to be called.

        reads, writes: as in the decorators of these names; None declares nothing. A function that
        declares neither is never cached.
        """
        return self._take(function, _checked(reads, writes, name, ttl, ignore))

    def _take(self, function: F, how: _How) -> F:
        itself: Callable[..., Any] = function
        old: _Tool | None = getattr(function, "_cascada_tool", None)
        if old is not None and old.call is function:
            # Declared twice: @tools.reads(...) above @tools.writes(...), or for another table, too.
            itself, how = old.function, old.how.and_(how)
        else:
            old = None
        tool = _Tool(self._settings, itself, how)
        there = self._tools.get(tool.name)
        if there is not None and there is not old and not tool.replaces(there):
            raise BadInput(
                f"there is a tool called {tool.name} already, {there.whole_name}; pass name="
            )
        if old is not None and self._tools.get(old.name) is old:
            del self._tools[old.name]
        self._tools[tool.name] = tool
        return cast("F", tool.call)

    async def call(self, name: str, arguments: Arguments = None) -> Any:
        """Call a tool as a model asks for it: its arguments by name, or as JSON.

        BadInput if there is no such tool, or if it does not take these arguments; else what the
        tool returns or raises.
        """
        tool = self._tools.get(text_of(name) or "")
        if tool is None:
            there = ", ".join(self._tools) or "none"
            raise BadInput(f"there is no tool called {shown(name)}; there are: {there}")
        named = _named(tool.name, arguments)
        try:
            call = tool.recipe.bound((), named)
        except TypeError as error:
            raise BadInput(f"{tool.name}: {error}; it takes {tool.recipe.signature}") from error
        return await tool.run(call, (), named)

    async def wrote(self, *names: Any) -> Invalidated:
        """Say that something else than a tool has written these types and ids: what tools of any
        table read of them goes."""
        tenant = self._settings.tenant()
        found = written_names(tenant.tenant, names)
        if not found:
            raise BadInput('wrote() names nothing; pass types and ids, such as ("account", "a1")')
        return await tenant._engine.invalidate(found, strict=tenant._engine.kinds.strict)

    @property
    def sync(self) -> SyncTools:
        """The same table for code that waits: `tools.sync.call("balance", ...)`."""
        return SyncTools(self._settings.cache._engine.life, self)

    def __iter__(self) -> Iterator[str]:
        """The names of the tools."""
        return iter(self._tools)

    def __len__(self) -> int:
        return len(self._tools)

    def __contains__(self, name: object) -> bool:
        return name in self._tools


class SyncTools(Face[Tools]):
    """A table of tools for code that waits. Made by `Tools.sync`."""

    __slots__ = ()

    call = waits_once(Tools.call)
    wrote = waits(Tools.wrote)


class _Tool:
    """One tool: a function, what it declares, and how it is called for that."""

    def __init__(self, settings: Keeper, function: Callable[..., Any], how: _How) -> None:
        arguments.function(function, "function", "the function that the tool is")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise Misuse("a tool returns one value, and this is a generator; return a list")
        try:
            self.recipe = CachedFunction(
                function, settings.data_type, ttl=None, key=None, tags=(), policy=None,
                ignore=how.ignore, cache=settings.cache,
            )  # fmt: skip
        except (TypeError, ValueError) as error:  # a class written in C
            if isinstance(error, CascadaError):
                raise
            raise Misuse(f"{shown(function)} does not say what it takes: {error}") from error
        self.name = how.name or self.recipe.name.rpartition(".")[2]
        if self.name == "<lambda>":
            raise BadInput("a lambda has no name to be called by; pass name=")
        self.whole_name = f"{self.recipe.module}.{self.recipe.name}"
        self.function = function
        self.how = how
        self._settings = settings
        self._ttl = how.ttl
        self._reads = self._declared(how.reads)
        self._writes = self._declared(how.writes)
        self.call: Any = self._wrapped()

    def replaces(self, other: _Tool) -> bool:
        """Whether it is the other one, defined anew (in a notebook, say): not a second one that the
        same code has made, with another thing in its closure."""
        if self.function is other.function:
            return True
        code = self.recipe.code
        return self.whole_name == other.whole_name and (
            code is None or code is not other.recipe.code
        )

    def _declared(self, given: Sequence[Parsed] | None) -> Declaration | None:
        if given is None:
            return None
        kinds = {each.kind for each in self.recipe.signature.parameters.values()}
        known = [
            each.name
            for each in self.recipe.signature.parameters.values()
            if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        ]
        open_ = inspect.Parameter.VAR_KEYWORD in kinds
        return Declaration(given, self.name, known, open_=open_)

    def _wrapped(self) -> Callable[..., Any]:
        """The function as it is called without the table: async or plain, as it is itself."""
        recipe = self.recipe

        @functools.wraps(self.function)
        async def call(*args: Any, **named: Any) -> Any:
            return await self.run(recipe.bound(args, named), args, named)

        @functools.wraps(self.function)
        def wait(*args: Any, **named: Any) -> Any:
            work = partial(call, *args, **named)
            life = self._settings.cache._engine.life
            once = self._writes is not None or self._reads is None
            return waited(life, work, self.name, "tools.call", once=once)

        chosen: Any = call if recipe.is_async else wait
        chosen._cascada_tool = self
        return cast("Callable[..., Any]", chosen)

    async def run(self, call: dict[str, Any], args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Call it with these arguments, which are `call` by name."""
        recipe, settings, tenant = self.recipe, self._settings, self._settings.tenant()
        function = partial(recipe.function, *args, **named)
        known = _opened(call, recipe.signature)
        if self._reads is None or self._writes is not None:
            written = () if self._writes is None else self._writes.of(known, args, named)
            return await self._act(tenant, function, written_names(tenant.tenant, written))
        load = function if recipe.is_async else partial(in_a_thread, function)
        terms = settings.terms if self._ttl is None else {**settings.terms, "ttl": self._ttl}
        try:
            hit = await tenant.load(
                settings.data_type,
                recipe.digest(call, self.name),
                load,
                sources=self._reads.of(known, args, named),
                type=recipe.wanted,
                **terms,
            )
        except SourceBusy:  # so many loads run that this one got no turn: it needs none
            return _bare(await load())
        return hit.value

    async def _act(self, tenant: Tenant, function: Callable[[], Any], names: list[str]) -> Any:
        """Run it, and void what it writes, as soon as it has ended."""
        engine = tenant._engine
        at_home = await engine.life.ready()  # a closed cache says so before anything is written
        does = "declares nothing" if self._writes is None else "writes"
        dependencies.acts(f"made with the tool {self.name}, which {does}")
        void = partial(self._void, engine, names)
        try:
            if self.recipe.is_async:
                return _bare(await function())
            given_up = partial(self._given_up, engine, void, at_home=at_home)
            return _bare(await in_a_thread(function, given_up))
        finally:
            await void()

    async def _void(self, engine: Engine, names: list[str]) -> None:
        """Void what was written. It never fails the tool: who is told that a transfer has failed
        makes another."""
        if not names:
            return
        try:
            await engine.invalidate(names, strict=engine.kinds.strict)
        except CascadaError as error:
            logger.warning("what the tool %s has written: %s", self.name, error)

    def _given_up(
        self, engine: Engine, void: Callable[[], Any], running: Future[Any], *, at_home: bool
    ) -> None:
        """Its caller was cancelled. It may write until it has ended, in its thread."""
        dependencies.outlived_by(running)
        if running.done():
            return
        if at_home:
            engine.stack.background.run(self._void_after(running, void), "tool")
        else:  # the cache is on another loop, to which only a thread may go without this one
            running.add_done_callback(lambda _: self._void_from_thread(engine, void))

    def _void_from_thread(self, engine: Engine, void: Callable[[], Any]) -> None:
        if asyncio._get_running_loop() is None:  # else it has ended by now, as its caller sees
            waited(engine.life, void, self.name, "tools.call")

    async def _void_after(self, running: Future[Any], void: Callable[[], Any]) -> None:
        ended = asyncio.wrap_future(running)
        await asyncio.wait([ended])
        if not ended.cancelled():
            ended.exception()  # nobody waits for it any more
        await void()


def _bare(result: Any) -> Any:
    """What a tool returns, without what it says to a cache that does not keep it."""
    return result.value if isinstance(result, Loaded) else result


class _How(NamedTuple):
    """What is said of a tool where it is declared, checked."""

    reads: tuple[Parsed, ...] | None
    writes: tuple[Parsed, ...] | None
    name: str | None
    ttl: float | None
    ignore: tuple[str, ...]

    def and_(self, more: _How) -> _How:
        """Both: what was said first, and more."""
        return _How(
            _both(self.reads, more.reads),
            _both(self.writes, more.writes),
            more.name or self.name,
            self.ttl if more.ttl is None else more.ttl,
            (*self.ignore, *more.ignore),
        )


def _checked(reads: object, writes: object, name: object, ttl: object, ignore: object) -> _How:
    return _How(
        None if reads is None else parsed(reads, "what it reads"),
        None if writes is None else parsed(writes, "what it writes"),
        None if name is None else arguments.name(name, "name", "what the tool is called by"),
        arguments.ttl(ttl),
        arguments.names(ignore, "ignore"),
    )


def _both(
    one: tuple[Parsed, ...] | None, other: tuple[Parsed, ...] | None
) -> tuple[Parsed, ...] | None:
    return other if one is None else one if other is None else (*one, *other)


def _opened(call: dict[str, Any], signature: inspect.Signature) -> Mapping[str, Any]:
    """The arguments by name, those of `**more` among them."""
    for each in signature.parameters.values():
        if each.kind is each.VAR_KEYWORD:
            return {**call, **call[each.name]}
    return call


def _named(tool: str, given: object) -> dict[str, Any]:
    """The arguments of a call by name; a model that passes none may write nothing at all."""
    accepted = "a dict of its arguments, or a JSON object as text"
    what = f"what {tool} is called with"
    text = bytes(given) if isinstance(given, bytes | bytearray) else text_of(given)
    if text is not None:
        try:
            given = json.loads(text) if text.strip() else {}
        except (ValueError, RecursionError) as error:
            raise BadInput(f"{what} is no JSON ({error}); pass {accepted}") from error
    if given is None:
        return {}
    found = arguments.mapping(given, what, accepted)
    return {arguments.text(name, f"a name in {what}"): each for name, each in found.items()}
