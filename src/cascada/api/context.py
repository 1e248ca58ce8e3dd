"""Who is asking: the tenant, and the agent, conversation and collection, of the current request.

`with context:` makes a context the current one, for this task and those that it starts. What has no
tenant argument of its own (`@cached`) asks `current_tenant()`.
"""

from __future__ import annotations

import os
from contextvars import ContextVar
from typing import Any, Final, Self

import msgspec

from cascada.model import running
from cascada.model.door import arguments
from cascada.model.errors import BadInput, MissingTenant
from cascada.model.keys import Id

PARTS: Final = ("tenant", "agent", "conversation", "collection")
TENANT_VARIABLE: Final = "CASCADA_TENANT"


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What a request says of itself. Absent parts are None."""

    tenant_id: Id | None = None
    agent_id: Id | None = None
    conversation_id: Id | None = None
    collection_id: Id | None = None

    def get_tenant_id(self) -> str:
        """The tenant; MissingTenant if there is none."""
        if arguments.is_blank(self.tenant_id):
            raise MissingTenant(
                "this context names no tenant; make it with Context(tenant_id=...), "
                "or have the request name one"
            )
        return arguments.tenant(self.tenant_id)

    def get_agent_id(self) -> str | None:
        return None if self.agent_id is None else arguments.identity(self.agent_id, "agent_id")

    def get_conversation_id(self) -> str | None:
        given = self.conversation_id
        return None if given is None else arguments.identity(given, "conversation_id")

    def get_collection_id(self) -> str | None:
        return (
            None
            if self.collection_id is None
            else arguments.identity(self.collection_id, "collection_id")
        )

    def must_be_of(self, tenant: str) -> None:
        """BadInput if this is another tenant's: one call stays within one tenant."""
        own = self.get_tenant_id()
        if own != tenant:
            raise BadInput(
                f"tenant_id is {tenant!r}, and ctx is of tenant {own!r}; pass the ctx of that "
                "tenant, since a call stays within one"
            )

    def lacks(self, part: str) -> bool:
        """Whether `part` ("tenant", "agent", "conversation", "collection") is not there."""
        return arguments.is_blank(getattr(self, f"{arguments.choice(part, 'part', PARTS)}_id"))

    def __enter__(self) -> Self:
        current.set((self, current.get(), running.load.get()))
        return self

    def __exit__(self, *error: object) -> None:
        # What was current before stands beside the context, not in it: one context may be entered
        # many times, in many tasks at once.
        current.set(_left(self, current.get()))


_Entered = tuple[Context, "_Entered | None", Any]
"""A context, what was current before it, and the load that it was entered in."""
current: ContextVar[_Entered | None] = ContextVar("cascada_context", default=None)


def _left(context: Context, entered: _Entered | None) -> _Entered | None:
    """What is current once this context is left.

    An async generator that holds one is suspended and closed in the middle of what its reader has
    entered, and perhaps by another task. So it is not always the last one that is left, and what
    is not there takes nobody else's away.
    """
    if entered is None or entered[0] is context:
        return entered and entered[1]
    return entered[0], _left(context, entered[1]), entered[2]


def enter(tenant: str) -> None:
    """Make a tenant the current one, for the rest of this task."""
    Context(tenant_id=tenant).__enter__()


def current_context() -> Context | None:
    """The context of the request that this code runs for."""
    entered = current.get()
    return None if entered is None else entered[0]


def current_tenant() -> str:
    """The tenant of the current context, else CASCADA_TENANT, else MissingTenant naming both."""
    context = current_context()
    tenant = None if context is None else context.tenant_id
    if arguments.is_blank(tenant):
        tenant = os.environ.get(TENANT_VARIABLE)
    if not arguments.is_blank(tenant):
        return arguments.tenant(tenant)
    raise MissingTenant(
        "there is no tenant: the current context names none, and CASCADA_TENANT is not set; "
        "run this inside `with Context(tenant_id=...):`, or set CASCADA_TENANT"
    )
