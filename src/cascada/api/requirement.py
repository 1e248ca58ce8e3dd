"""`@with_context`: a function says which parts of the context it needs, and gets them as `ctx`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

from cascada.api.context import Context, current_context
from cascada.model.errors import MissingContext

T = TypeVar("T")

_HEADERS: Final = {
    "tenant": "X-Tenant-ID",
    "agent": "X-Agent-ID",
    "conversation": "X-Conversation-ID",
    "collection": "X-Collection-ID",
}


def with_context(
    tenant: bool = True,
    agent: bool = False,
    conversation: bool = False,
    collection: bool = False,
) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Pass `ctx`: the one that the caller gives, else that of the current request.

    MissingContext names the parts that were asked for and are not there. An explicit `ctx` is the
    current context as well while the function runs, so that what it calls is asked by the same
    tenant. `ctx` is not part of the signature that others see: FastAPI, which reads it, takes it
    for no parameter of the request.
    """
    if callable(tenant):
        raise TypeError("write @with_context(), with what the function needs in the parentheses")
    asked = {
        "tenant": tenant, "agent": agent, "conversation": conversation, "collection": collection,
    }  # fmt: skip
    needed = tuple(part for part, wanted in asked.items() if wanted)

    def decorate(function: Callable[..., T]) -> Callable[..., T]:
        signature = inspect.signature(function)
        at = _place_of_ctx(function, signature)

        def settled(
            args: tuple[Any, ...], named: dict[str, Any]
        ) -> tuple[Context, tuple[Any, ...], dict[str, Any]]:
            if at is not None and len(args) > at:
                ctx = _checked(function, needed, args[at])
                return ctx, (*args[:at], ctx, *args[at + 1 :]), named
            ctx = _checked(function, needed, named.get("ctx"))
            return ctx, args, {**named, "ctx": ctx}

        wrapper: Any
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def awaited(*args: Any, **named: Any) -> Any:
                ctx, args, named = settled(args, named)
                with ctx:
                    return await function(*args, **named)

            wrapper = awaited

        else:

            @functools.wraps(function)
            def called(*args: Any, **named: Any) -> Any:
                ctx, args, named = settled(args, named)
                with ctx:
                    return function(*args, **named)

            wrapper = called

        shown = [each for name, each in signature.parameters.items() if name != "ctx"]
        wrapper.__signature__ = signature.replace(parameters=shown)
        # FastAPI resolves annotations from here; a `ctx` that is no parameter has none.
        wrapper.__annotations__ = {
            name: each for name, each in function.__annotations__.items() if name != "ctx"
        }
        return cast("Callable[..., T]", wrapper)

    return decorate


def _place_of_ctx(function: Callable[..., Any], signature: inspect.Signature) -> int | None:
    """Where `ctx` stands among the arguments by position; None if it goes by its name alone."""
    parameters = list(signature.parameters.values())
    for index, each in enumerate(parameters):
        if each.name == "ctx":
            by_position = each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
            return index if by_position else None
        if each.kind is each.VAR_KEYWORD:
            return None
    raise TypeError(
        f"@with_context has nothing to pass to {function.__qualname__}; give it a parameter `ctx`"
    )


def _checked(function: Callable[..., Any], needed: tuple[str, ...], given: Any) -> Context:
    if given is not None and not isinstance(given, Context):
        raise MissingContext(
            f"{function.__qualname__} was called with ctx={given!r}; pass a Context, "
            "or leave it out, so that it is that of the request"
        )
    context = given or current_context()
    missing = [part for part in needed if context is None or context.lacks(part)]
    if missing or context is None:
        where = "there is no current context" if context is None else "its context names none"
        parts = ", ".join(missing) or "context"
        hints = " and ".join(_HEADERS[part] for part in missing) or "X-Tenant-ID"
        named = ", ".join(f"{part}_id=..." for part in missing)
        raise MissingContext(
            f"{function.__qualname__} needs {parts}, but {where}; send {hints}, "
            f"or call it with ctx=Context({named})"
        )
    return context
