"""`@with_context`: a function says which parts of the context it needs, and gets them as `ctx`.

A route of FastAPI's needs nothing else: the decorator asks for the connection by a parameter of its
own and reads the headers, unless something that knows better (a token's claim) has made a context
the current one before.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

from cascada.api.context import Context, current_context
from cascada.api.headers import HEADERS, context_in
from cascada.model.door import arguments
from cascada.model.door.shown import shown
from cascada.model.errors import BadInput, MissingContext, Misuse

T = TypeVar("T")

CONNECTION: Final = "cascada_connection"
"""The parameter that FastAPI gives the connection to; the function never sees it."""


def with_context(
    tenant: bool = True,
    agent: bool = False,
    conversation: bool = False,
    collection: bool = False,
) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Pass `ctx`: the one that the caller gives, else that of the current request.

    MissingContext names the parts that were asked for and are not there; of a route of FastAPI's
    it is answered with 400 and its sentence. A route gets what its headers say, unless a context is
    current already (`context_of`, `tenant_from`); whoever may call may claim any tenant in a
    header. An explicit `ctx` is the current context as well while the function runs, so that what
    it calls is asked by the same tenant. `ctx` is not part of the signature that others see:
    FastAPI, which reads it, takes it for no parameter of the request.
    """
    if callable(tenant):
        raise Misuse("write @with_context(), with what the function needs in the parentheses")
    asked = {
        "tenant": tenant, "agent": agent, "conversation": conversation, "collection": collection,
    }  # fmt: skip
    needed = tuple([part for part, wanted in asked.items() if arguments.flag(wanted, part)])

    def decorate(function: Callable[..., T]) -> Callable[..., T]:
        arguments.function(function, "what @with_context stands above")
        signature = inspect.signature(function)
        at, own = _place_of_ctx(function, signature), _own_connection(signature)

        def settled(
            args: tuple[Any, ...], named: dict[str, Any]
        ) -> tuple[Context, tuple[Any, ...], dict[str, Any]]:
            connection = named.pop(CONNECTION, None) or (own and named.get(own))
            if at is not None and len(args) > at:
                ctx = _checked(function, needed, args[at])
                return ctx, (*args[:at], ctx, *args[at + 1 :]), named
            if connection is None:
                ctx = _checked(function, needed, named.get("ctx"))
            else:
                ctx = _of_request(function, needed, named.get("ctx"), connection)
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
        wrapper.__signature__ = signature.replace(parameters=_with_connection(shown))
        # FastAPI resolves annotations from here; a `ctx` that is no parameter has none.
        wrapper.__annotations__ = {
            name: each for name, each in function.__annotations__.items() if name != "ctx"
        }
        return cast("Callable[..., T]", wrapper)

    return decorate


def _own_connection(signature: inspect.Signature) -> str | None:
    """The function's own parameter for the connection, if it has one."""
    requests = sys.modules.get("starlette.requests")
    if requests is None:
        return None
    kind = requests.HTTPConnection
    known = (kind, kind.__name__)
    return next(
        (each.name for each in signature.parameters.values() if each.annotation in known), None
    )


def _with_connection(parameters: list[inspect.Parameter]) -> list[inspect.Parameter]:
    """A parameter for the connection, where there is FastAPI to give one."""
    fastapi, requests = sys.modules.get("fastapi"), sys.modules.get("starlette.requests")
    if fastapi is None or requests is None:
        return parameters
    kind = requests.HTTPConnection
    if _own_connection(inspect.Signature(parameters)) is not None:
        return parameters  # FastAPI gives it to one parameter alone, and that is the function's own
    ours = inspect.Parameter(
        CONNECTION, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind
    )
    last = len(parameters)
    if parameters and parameters[-1].kind is inspect.Parameter.VAR_KEYWORD:
        last -= 1
    return [*parameters[:last], ours, *parameters[last:]]


def _of_request(
    function: Callable[..., Any], needed: tuple[str, ...], given: Any, connection: Any
) -> Context:
    """The context that a route was called in; what is wrong with it is the caller's: 400."""
    try:
        said = given or current_context() or context_in(connection.headers)
        return _checked(function, needed, said)
    except BadInput as error:
        # FastAPI gave the connection, so it is there.
        raise sys.modules["fastapi"].HTTPException(400, str(error)) from error


def _place_of_ctx(function: Callable[..., Any], signature: inspect.Signature) -> int | None:
    """Where `ctx` stands among the arguments by position; None if it goes by its name alone."""
    parameters = list(signature.parameters.values())
    for index, each in enumerate(parameters):
        if each.name == "ctx":
            by_position = each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
            return index if by_position else None
        if each.kind is each.VAR_KEYWORD:
            return None
    raise Misuse(
        f"@with_context has nothing to pass to {function.__qualname__}; give it a parameter `ctx`"
    )


def _checked(function: Callable[..., Any], needed: tuple[str, ...], given: Any) -> Context:
    if given is not None and not isinstance(given, Context):
        raise MissingContext(
            f"{function.__qualname__} was called with ctx={shown(given)}; pass a Context, "
            "or leave it out, so that it is that of the request"
        )
    context = given or current_context()
    missing = [part for part in needed if context is None or context.lacks(part)]
    if missing or context is None:
        where = "there is no current context" if context is None else "its context names none"
        parts = ", ".join(missing) or "context"
        hints = " and ".join(HEADERS[part] for part in missing) or "X-Tenant-ID"
        named = ", ".join(f"{part}_id=..." for part in missing)
        raise MissingContext(
            f"{function.__qualname__} needs {parts}, but {where}; send {hints}, "
            f"or call it with ctx=Context({named})"
        )
    return context
