"""What a tool declares that it reads or writes, for the arguments of one call.

    ("account", "{account_id}")        the one that an argument names
    ("account", "*")                   any: a list, a search
    lambda owner: [("account", ...)]   what a function of the same arguments tells

To read any is to be reached by whoever writes one, so a write names the resource and, beside it,
what stands for any of its type. An argument that is None names no one in particular: it counts as
any, too. So what cannot be said exactly drops more than was written, and never less.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from string import Formatter
from typing import Any, Final

from cascada.model.door import arguments
from cascada.model.errors import BadInput, InvalidKey
from cascada.model.keys import NO_SCOPE
from cascada.model.made_of import MadeOf, sources_for, sources_of
from cascada.model.names import all_of_type, resource_names, type_name

ANY: Final = "*"

MOST_NAMES: Final = 1000
"""Of one write; beyond it all of the types goes that it names."""

Declared = tuple[str, Any] | Callable[..., Sequence[Any]]
"""A type and an id, which may name arguments in braces; or a function of the arguments."""

_ACCEPTED: Final = 'a type and an id, such as ("account", "{account_id}"), or a function'


Parsed = tuple[str, "_Template | str"] | Callable[..., Any]


def parsed(given: object, what: str) -> tuple[Parsed, ...]:
    """What was declared, looked at where it is written down; InvalidKey for what names nothing."""
    return tuple([_parsed(each, what) for each in arguments.several(given, what, "types and ids")])


def _parsed(given: Any, what: str) -> Parsed:
    if type(given) in (tuple, list) and len(given) == 2:
        data_type = arguments.data_type(given[0], f"the type of {what}")
        return data_type, _id(arguments.identity(given[1], f"the id of {what}"), what)
    if not callable(given) or isinstance(given, type):
        raise arguments.refused(what, given, _ACCEPTED, InvalidKey)
    return arguments.plain_function(given, what, _ACCEPTED)


def _id(text: str, what: str) -> _Template | str:
    try:
        parts = [(literal, *how) for literal, *how in Formatter().parse(text)]
    except ValueError as error:
        raise BadInput(f"the id of {what} is {text!r}: {error}") from error
    if any(form or conversion for _, _, form, conversion in parts):
        raise BadInput(f"the id of {what} is {text!r}; pass names in braces, and nothing else")
    if len(parts) == 1 and parts[0][1] is None:
        return str(parts[0][0])
    return _Template(text, [(str(literal), name) for literal, name, *_ in parts])


class Declaration:
    """What one tool reads, or writes. `parameters`: what it takes; `open_`: and any other."""

    def __init__(
        self,
        given: Sequence[Parsed],
        tool: str,
        parameters: Collection[str],
        *,
        open_: bool,
    ) -> None:
        self._tool = tool
        self._functions = [each for each in given if not isinstance(each, tuple)]
        self._pairs = [each for each in given if isinstance(each, tuple)]
        for template in [each for _, each in self._pairs if isinstance(each, _Template)]:
            for name in template.names:
                if name not in parameters and not (open_ and name.isidentifier()):
                    takes = ", ".join(parameters) or "none"
                    raise BadInput(
                        f"{tool} names {template.text!r}; pass the names of its arguments in "
                        f"braces, which are: {takes}"
                    )

    def of(
        self, call: Mapping[str, Any], args: Sequence[Any], named: Mapping[str, Any]
    ) -> tuple[MadeOf, ...]:
        """What it is for these arguments."""
        found: list[Any] = [
            (data_type, each if isinstance(each, str) else each.of(call, self._tool))
            for data_type, each in self._pairs
        ]
        for function in self._functions:
            found += arguments.several(
                function(*args, **named), f"what {self._tool} declares", "types and ids"
            )
        return sources_of(found, any_id=True)


class _Template:
    """An id with names of arguments in it."""

    __slots__ = ("_parts", "text")

    def __init__(self, text: str, parts: Sequence[tuple[str, str | None]]) -> None:
        self.text = text
        self._parts = tuple(parts)

    @property
    def names(self) -> list[str]:
        return [name for _, name in self._parts if name is not None]

    def of(self, call: Mapping[str, Any], tool: str) -> str:
        found: list[str] = []
        for literal, name in self._parts:
            found.append(literal)
            if name is not None:
                if (value := call.get(name)) is None:
                    return ANY
                found.append(arguments.identity(value, f"{tool}: {name}"))
        return "".join(found)


def written_names(tenant: str, written: object) -> list[str]:
    """What an invalidation of all that was written names."""
    found: dict[str, None] = {}
    sources = sources_for(tenant, written, any_id=True)
    for data_type, resource_id, scope, *_ in sources:
        if resource_id == ANY:
            found |= dict.fromkeys(all_of_type(tenant, data_type, scope))
        else:
            found |= dict.fromkeys(resource_names(tenant, data_type, resource_id, scope))
            found |= dict.fromkeys(resource_names(tenant, data_type, ANY, NO_SCOPE))
    if len(found) > MOST_NAMES:
        found = dict.fromkeys([type_name(tenant, each.data_type) for each in sources])
    return list(found)
