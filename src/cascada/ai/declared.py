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

from cascada.model import arguments
from cascada.model.errors import BadInput, InvalidKey
from cascada.model.keys import NO_SCOPE
from cascada.model.made_of import MadeOf, sources_for, sources_of
from cascada.model.names import all_of_type, resource_names

ANY: Final = "*"

Declared = tuple[str, Any] | Callable[..., Sequence[Any]]
"""A type and an id, which may name arguments in braces; or a function of the arguments."""

_ACCEPTED: Final = 'a type and an id, such as ("account", "{account_id}"), or a function'


class Declaration:
    """What one tool reads, or writes. `parameters`: what it takes; `open_`: and any other."""

    def __init__(
        self, given: Sequence[Any], tool: str, parameters: Collection[str], *, open_: bool
    ) -> None:
        self._tool = tool
        self._functions: list[Callable[..., Any]] = []
        self._pairs: list[tuple[str, _Template | str]] = []
        for each in given:
            if isinstance(each, tuple | list) and len(each) == 2:
                data_type = arguments.data_type(each[0], f"the type of what {tool} names")
                self._pairs.append((data_type, self._id(each[1], parameters, open_=open_)))
            elif callable(each):
                self._functions.append(
                    arguments.plain_function(each, f"what {tool} declares", _ACCEPTED)
                )
            else:
                raise arguments.refused(f"what {tool} declares", each, _ACCEPTED, InvalidKey)

    def _id(self, given: object, parameters: Collection[str], *, open_: bool) -> _Template | str:
        text = arguments.identity(given, f"the id of what {self._tool} names")
        try:
            parts = [(literal, *how) for literal, *how in Formatter().parse(text)]
        except ValueError as error:
            raise BadInput(f"{self._tool} names {text!r}: {error}") from error
        for _, name, form, conversion in parts:
            known = name in parameters or (open_ and str(name).isidentifier())
            if name is not None and (not known or form or conversion):
                takes = ", ".join(parameters) or "none"
                raise BadInput(
                    f"{self._tool} names {text!r}; pass the names of its arguments in braces, and "
                    f"nothing else: {takes}"
                )
        if len(parts) == 1 and parts[0][1] is None:
            return str(parts[0][0])
        return _Template([(str(literal), name) for literal, name, *_ in parts], self._tool)

    def of(
        self, call: Mapping[str, Any], args: Sequence[Any], named: Mapping[str, Any]
    ) -> tuple[MadeOf, ...]:
        """What it is for these arguments."""
        found: list[Any] = [
            (data_type, each if isinstance(each, str) else each.of(call))
            for data_type, each in self._pairs
        ]
        for function in self._functions:
            found += arguments.several(
                function(*args, **named), f"what {self._tool} declares", "types and ids"
            )
        return sources_of(found)


class _Template:
    """An id with names of arguments in it."""

    __slots__ = ("_parts", "_tool")

    def __init__(self, parts: Sequence[tuple[str, str | None]], tool: str) -> None:
        self._parts = tuple(parts)
        self._tool = tool

    def of(self, call: Mapping[str, Any]) -> str:
        found: list[str] = []
        for literal, name in self._parts:
            found.append(literal)
            if name is not None:
                if (value := call.get(name)) is None:
                    return ANY
                found.append(arguments.identity(value, f"{self._tool}: {name}"))
        return "".join(found)


def written_names(tenant: str, written: object) -> list[str]:
    """What an invalidation of all that was written names."""
    found: dict[str, None] = {}
    for data_type, resource_id, scope, *_ in sources_for(tenant, written):
        if resource_id == ANY:
            found |= dict.fromkeys(all_of_type(tenant, data_type, scope))
        else:
            found |= dict.fromkeys(resource_names(tenant, data_type, resource_id, scope))
            found |= dict.fromkeys(resource_names(tenant, data_type, ANY, NO_SCOPE))
    return list(found)
