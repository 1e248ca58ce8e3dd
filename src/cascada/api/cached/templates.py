"""Ids from a template, `key="user:{user_id}"`, and whether a result is kept, `condition=`.

`CachedFunction` uses both. A template names parameters of its function, and nothing else: what an
attribute or an index of an argument is, a change of the argument could change behind the cache. Two
calls have one id only if what the template names is equal, so a parameter's text can hold nothing
that stands between two of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from string import Formatter
from typing import Any, Final
from urllib.parse import quote

from cascada.codecs.digest import generate_resource_id_hash
from cascada.model.door import arguments
from cascada.model.door.plain import text_of
from cascada.model.errors import BadInput, Misuse
from cascada.model.keys import Id
from cascada.model.loaded import Loaded

_LEFT_AS_THEY_ARE: Final = frozenset(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~%"
)
"""What the text of an argument may hold: what `quote` leaves, and its own sign."""

Judge = Callable[[Any, tuple[Any, ...], dict[str, Any], str], object]
"""Whether a result is kept, from it, the arguments and the id."""


class Template:
    """A text with parameters in braces, read once."""

    def __init__(self, text: str, signature: inspect.Signature, function: str) -> None:
        parts: list[tuple[str, str | None]] = []
        try:
            for literal, name, spec, conversion in Formatter().parse(text):
                if name is not None and (spec or conversion or name not in signature.parameters):
                    raise Misuse(
                        f"key names {{{name}}}, which is no parameter of {function}; name "
                        f"{' or '.join(signature.parameters) or 'none'} alone, or pass a function"
                    )
                if parts and name is not None and not set(literal) - _LEFT_AS_THEY_ARE:
                    raise Misuse(
                        f"key has nothing between {{{parts[-1][1]}}} and {{{name}}} that tells "
                        'where one ends; put a ":" or a "/" there'
                    )
                parts.append((literal, name))
        except ValueError as error:
            raise Misuse(f"key is {text!r}, and no template: {error}") from error
        if not any(name for _, name in parts) and signature.parameters:
            raise Misuse(
                f"key is {text!r}, so that all calls would have one value; name a parameter"
            )
        self._parts = parts

    def __call__(self, call: Mapping[str, Any]) -> str:
        """The id for these arguments, by name."""
        return "".join(
            [literal + ("" if name is None else _text(call[name])) for literal, name in self._parts]
        )


def _text(value: object) -> str:
    """An id as it reads, escaped; of what is none, a hash. No id begins as that does."""
    try:
        return quote(arguments.identity(value), safe="")
    except BadInput:
        return f"%%{generate_resource_id_hash(value)}"


def maker_of(key: object) -> str | Callable[..., Id] | None:
    """What `key=` may be, checked: a template, or a function of the same arguments."""
    if key is None or (template := text_of(key)) is None:
        accepted = 'a template, "user:{user_id}", or a function of the same arguments'
        return None if key is None else arguments.plain_function(key, "key", accepted)
    return template


def judge_of(condition: object) -> Judge | None:
    """`condition` as it is called: with the result, or as cashews does it, with all of the call."""
    if condition is None:
        return None
    function = arguments.plain_function(condition, "condition", "a function of the result")
    takes = inspect.signature(function)
    if _can_be_called(takes, None, (), {}, key=""):
        return lambda result, args, named, key: function(result, args, named, key=key)
    if _can_be_called(takes, None):
        return lambda result, args, named, key: function(result)
    raise Misuse(
        f"condition takes {takes}; pass a function of the result, or of "
        "(result, args, kwargs, key=None)"
    )


def _can_be_called(takes: inspect.Signature, *args: object, **named: object) -> bool:
    try:
        takes.bind(*args, **named)
    except TypeError:
        return False
    return True


def kept_if(verdict: object, result: Any) -> Any:
    """The result, as one that is stored or is not."""
    if verdict:
        return result
    if not isinstance(result, Loaded):
        return Loaded(result, store=False)
    return Loaded(
        result.value, result.ttl, result.tags, result.sources, result.scope, result.version,
        result.cost, store=False,
    )  # fmt: skip
