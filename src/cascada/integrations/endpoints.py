"""What an endpoint takes: its signature with a request and a response added, and functions of some
of its arguments. `responses.py` decorates endpoints by it; nothing here runs one.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import Any

from fastapi import Request, Response, WebSocket

from cascada.model.door import arguments
from cascada.model.errors import Misuse


def name_of(endpoint: Callable[..., Any]) -> str:
    return str(getattr(endpoint, "__qualname__", type(endpoint).__qualname__))


def is_async(endpoint: Callable[..., Any]) -> bool:
    """Whether it is to be awaited: also an object that is called, and what a decorator has made of
    an async function, which FastAPI awaits as well."""
    forms = endpoint, inspect.unwrap(endpoint), getattr(endpoint, "__call__", None)  # noqa: B004
    return any(map(inspect.iscoroutinefunction, forms))


def is_generator(endpoint: Callable[..., Any]) -> bool:
    forms = endpoint, inspect.unwrap(endpoint)
    return any(
        inspect.isgeneratorfunction(each) or inspect.isasyncgenfunction(each) for each in forms
    )


def tells(given: object) -> bool:
    """Whether it is a function that tells names, and not names."""
    return callable(given) and not isinstance(given, type)


def telling(
    given: Any, what: str, known: typing.AbstractSet[str]
) -> Callable[[dict[str, Any]], Any]:
    """What tells these names of a call, from its arguments where they are to be told from them."""
    if not tells(given):
        return lambda values: given
    function = arguments.plain_function(given, what, "names, or a function of arguments")
    names = tuple(inspect.signature(function).parameters)
    if unknown := set(names) - known:
        raise Misuse(f"{what} takes {min(unknown)!r}, which the endpoint does not take")
    return lambda values: function(**{name: values[name] for name in names})


def with_both(endpoint: Callable[..., Any]) -> tuple[inspect.Signature, str, str]:
    """The endpoint's signature with a request and a response, and what these two are called."""
    signature = inspect.signature(endpoint)
    parameters = [
        each.replace(annotation=_resolved(each.annotation, endpoint))
        for each in signature.parameters.values()
    ]
    names = []
    for kind, added in ((Request, "cascada_request"), (Response, "cascada_response")):
        found = [each.name for each in parameters if is_a(each.annotation, kind)]
        if not found:
            new = inspect.Parameter(added, inspect.Parameter.KEYWORD_ONLY, annotation=kind)
            at = len(parameters)
            if parameters and parameters[-1].kind is inspect.Parameter.VAR_KEYWORD:
                at -= 1
            parameters.insert(at, new)
        names.append(found[0] if found else added)
    if any(is_a(each.annotation, WebSocket) for each in parameters):
        raise Misuse(f"{name_of(endpoint)} takes a WebSocket, which has no response to keep")
    returns = _resolved(signature.return_annotation, endpoint)
    signature = signature.replace(parameters=parameters, return_annotation=returns)
    return signature, names[0], names[1]


def _resolved(annotation: Any, endpoint: Callable[..., Any]) -> Any:
    """What an annotation that is written as a text means, where the endpoint stands."""
    if not isinstance(annotation, str):
        return annotation
    bare = inspect.unwrap(getattr(endpoint, "func", endpoint))
    try:
        return eval(annotation, getattr(bare, "__globals__", {}))
    except NameError:  # of what is imported for type checkers alone: as FastAPI does
        return annotation


def is_a(annotation: Any, kind: type) -> bool:
    if typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    return isinstance(annotation, type) and issubclass(annotation, kind)
