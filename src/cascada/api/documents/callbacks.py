"""Callbacks get those of the offered arguments that they accept, and no others.

So `(resource_id, tenant_id, ctx)`, `(resource_id, tenant_id, **kwargs)` and `()` all work. A
function is inspected once: by its code, because the documents' examples define their callbacks anew
in every call.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from itertools import takewhile
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from cascada.model.errors import Misuse

Callback = Callable[..., Any]


class Accepted(NamedTuple):
    """Which names a callback takes: the first ones by position alone."""

    positional: tuple[str, ...]
    named: tuple[str, ...]


_inspected: WeakKeyDictionary[object, Accepted] = WeakKeyDictionary()


def with_accepted(callback: Callback, offered: dict[str, Any]) -> Callback:
    """`callback` with what it accepts of `offered` (whose names are always the same)."""
    accepted = _known(callback, tuple(offered))
    return partial(
        callback,
        *[offered[name] for name in accepted.positional],
        **{name: offered[name] for name in accepted.named},
    )


def accepts_any(callback: Callback, offered: tuple[str, ...], names: tuple[str, ...]) -> bool:
    """Whether `callback` takes one of `names`, which are among those offered."""
    accepted = _known(callback, offered)
    return not {*accepted.positional, *accepted.named}.isdisjoint(names)


def _known(callback: Callback, offered: tuple[str, ...]) -> Accepted:
    # Wrappers share their code, however different what they wrap is.
    wraps = hasattr(callback, "__wrapped__")
    subject = callback if wraps else getattr(callback, "__code__", callback)
    accepted = _inspected.get(subject)
    if accepted is None:
        accepted = _inspected[subject] = _accepted(callback, offered)
    return accepted


def _accepted(callback: Callback, offered: tuple[str, ...]) -> Accepted:
    try:
        parameters = inspect.signature(callback).parameters.values()
    except (TypeError, ValueError) as error:  # some built-in functions have no signature
        name = getattr(callback, "__qualname__", type(callback).__qualname__)
        raise Misuse(f"{name} does not say what it takes; pass a function that does") from error
    for each in parameters:
        required = each.default is each.empty and each.kind not in (
            each.VAR_POSITIONAL,
            each.VAR_KEYWORD,
        )
        if required and each.name not in offered:
            raise Misuse(
                f"{getattr(callback, '__qualname__', callback)} takes {each.name!r}, which it "
                f"cannot be given; a callback may take {', '.join(offered)}"
            )
    by_position = [each.name for each in parameters if each.kind is each.POSITIONAL_ONLY]
    if any(each.kind is each.VAR_KEYWORD for each in parameters):
        by_name = [name for name in offered if name not in by_position]
    else:
        takes = {each.name for each in parameters}.difference(by_position)
        by_name = [name for name in offered if name in takes]
    return Accepted(tuple(takewhile(offered.__contains__, by_position)), tuple(by_name))
