"""Loads with the engine's own kinds of loader and answer, for faces that are built on a tenant."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from cascada.api.assembly import Assembly
from cascada.api.levels import MakeLoader
from cascada.api.shape import Shape, several
from cascada.engine import read
from cascada.engine.answer import Answer, Loader, Question
from cascada.engine.stack import Stack
from cascada.model.entry import Hit, Miss
from cascada.model.keys import Id


class TenantAsking:
    """This part of `Tenant`."""

    __slots__ = ()

    _assembly: Assembly
    _stack: Stack

    @abstractmethod
    def _shape(self, data_type: str) -> Shape: ...

    @abstractmethod
    def _question(
        self, shape: Shape, resource_id: Id, want: Any = None, *, generating: bool = False
    ) -> Question: ...

    async def ask_many(
        self, data_type: str, resource_ids: Sequence[Id], loader: Loader, *, type: Any = None
    ) -> list[Hit[Any] | Miss]:
        """`load_many` with the engine's own kind of loader, for faces that make one."""
        shape = self._shape(data_type)
        questions = shape.questions(several(resource_ids), type)
        return await self._assembly.load_many(questions, loader)

    async def ask(
        self,
        data_type: str,
        resource_id: Id,
        loader: Loader,
        *,
        type: Any = None,
    ) -> tuple[Any, Answer]:
        """`load` with everything that is known of the answer, for faces that report it."""
        question = self._question(
            self._shape(data_type), resource_id, type, generating=loader.generating
        )
        (answer,) = await self._assembly.answers([question], loader)
        return read.value_of(self._stack, question, answer), answer

    async def ask_by_level(
        self,
        data_type: str,
        resource_id: Id,
        loader: Callable[..., Any] | None,
        generator: Callable[..., Any] | None,
        make: MakeLoader,
        *,
        type: Any = None,
    ) -> tuple[Any, Answer]:
        """`ask` of a type whose lookup is strict."""
        question = self._question(self._shape(data_type), resource_id, type)
        answer = await self._assembly.by_level(question, loader, generator, make)
        return read.value_of(self._stack, question, answer), answer

    def by_level(self, data_type: str) -> bool:
        """Whether the source is asked level by level, which `ask` does not do."""
        return self._shape(data_type).by_level
