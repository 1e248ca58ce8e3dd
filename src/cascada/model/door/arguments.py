"""The door: what callers pass is checked here, once, before anything is sent or counted.

A bad argument is its caller's business alone. If it got further, it would be found out by whoever
happens to meet it: by the packing of a command whose place among the replies is taken already, by a
server, by a breaker that takes it for a failure. So every face asks these functions first, whatever
its tiers and its mode.

Each returns the plain value, of exactly the built-in type, and runs none of the argument's own
code: a subclass of str or int (an enum member, say) and a scalar of NumPy count as what they hold,
because code further in tells types apart by their class. A bool is no number. A str is one text,
never the sequence of its letters. Whatever else it is, the error says in one sentence which
argument it was, what it was, and what is accepted.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from itertools import islice
from typing import Any, Final, TypeVar
from uuid import UUID

from cascada.model.door.plain import number_of, text_of, whole_of
from cascada.model.door.secret import Secret
from cascada.model.door.shown import described, shown
from cascada.model.errors import BadInput, InvalidKey, InvalidTTL, MissingTenant, Misuse

T = TypeVar("T")

MAX_ID_LENGTH: Final = 1024
"""Characters of one id, tenant or tag; longer ones belong into `generate_resource_id_hash`."""

MAX_MANY: Final = 100_000
"""What one call may name at once. More would keep the event loop from everybody else."""

MAX_AT_ONCE: Final = 1000
"""Ids that one atomic step may name: it holds up everybody else of its tier for so long."""

LEAST: Final = -(2**63)
MOST: Final = 2**63 - 1
"""The whole numbers that every tier can hold."""

LONGEST_TTL: Final = 10 * 365 * 86400.0
"""Seconds, ten years: what is meant to live longer is meant to live for ever. A number beyond would
leave what servers, and their clocks, can count."""

_SINGLE: Final = (str, bytes, bytearray, memoryview, Mapping)
"""Collections to Python that are one thing to their user."""

_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")


def refused(
    what: str,
    value: object,
    accepted: str,
    error: type[BadInput] = BadInput,
    *,
    typed: bool = False,
) -> BadInput:
    """The error to raise: the argument, what it is (`typed`: of which type), what it may be."""
    return error(f"{what} is {described(value) if typed else shown(value)}; pass {accepted}")


# --- texts and ids ----------------------------------------------------------------------------


def text(value: object, what: str, accepted: str = "a str") -> str:
    """Any text, which may be empty."""
    plain = text_of(value)
    if plain is None:
        raise refused(what, value, accepted, typed=True)
    return plain


def name(value: object, what: str, accepted: str = "a name") -> str:
    """A text that says something, and can be part of a key."""
    plain = text_of(value)
    if plain is None or not plain.strip():
        raise refused(what, value, accepted, typed=plain is None)
    return _short(plain, what)


def is_blank(value: object) -> bool:
    """Whether it is None, or a text that says nothing."""
    plain = text_of(value)
    return value is None or (plain is not None and not plain.strip())


_OPTIONAL: Final = ("agent", "conversation", "collection")


def identity(value: object, what: str = "resource_id") -> str:
    """The canonical text of an id, so that 7 and "7" are one."""
    if type(value) is str and value.isascii() and 0 < len(value) <= MAX_ID_LENGTH:
        return value
    plain = text_of(value)
    if plain is None and (whole := whole_of(value)) is not None:
        if whole.bit_length() > MAX_ID_LENGTH:
            raise refused(what, value, "an int of at most 1024 bits", InvalidKey)
        plain = int.__repr__(whole)
    if plain is None and issubclass(type(value), UUID):
        try:
            plain = UUID.__str__(value)
        except Exception:  # noqa: BLE001 - a subclass that is none
            plain = None
    if plain is None:
        raise refused(what, value, "a str, an int or a UUID", InvalidKey, typed=True)
    if not plain:
        instead = "leave it out or pass" if what in _OPTIONAL else "pass"
        raise InvalidKey(f'{what} is ""; {instead} a non-empty id')
    return _short(plain, what)


def _short(plain: str, what: str) -> str:
    if len(plain) > MAX_ID_LENGTH:
        raise InvalidKey(
            f"{what} has {len(plain)} characters, at most {MAX_ID_LENGTH} are allowed; "
            "pass generate_resource_id_hash(...) of it"
        )
    if not plain.isascii() and _SURROGATE.search(plain) is not None:
        raise InvalidKey(
            f"{what} is {shown(plain)}: it holds a lone surrogate, which is no character"
        )
    return plain


def tenant(value: object) -> str:
    """The canonical text of a tenant; there is no default."""
    if is_blank(value):
        raise MissingTenant(
            f"tenant is {shown(value)}; pass the id of the tenant whose data this is "
            "(there is no default, so that no tenant ever sees another's values)"
        )
    return identity(value, "tenant")


def data_type(value: object, what: str = "data_type") -> str:
    """The canonical text of a data type."""
    if text_of(value) is None:
        raise refused(what, value, "a str", InvalidKey, typed=True)
    return identity(value, what)


# --- several at once --------------------------------------------------------------------------


def several(values: object, what: str, of: str = "ids") -> list[Any]:
    """The items of a list, a tuple, a set or an array.

    A str is one text and bytes are one value; of a mapping it is not clear which half is meant; and
    a generator could be read only once, though it may be needed twice.
    """
    if not is_several(values):
        raise refused(what, values, f"a list of {of}")
    try:
        found = list(islice(values, MAX_MANY + 1))  # type: ignore[call-overload]  # as just seen
    except Exception as error:
        raise refused(what, values, f"a list of {of}") from error
    if len(found) > MAX_MANY:
        raise BadInput(f"{what} holds over {MAX_MANY} {of}; pass them in parts")
    return found


def is_mapping(value: object) -> bool:
    """Whether it has keys and values."""
    return issubclass(type(value), Mapping)


def is_several(value: object) -> bool:
    """Whether it is a collection of items at all, and no single one."""
    return issubclass(type(value), Collection) and not issubclass(type(value), _SINGLE)


def ids(values: object, what: str = "resource_ids") -> list[str]:
    """The canonical texts of several ids, in their order."""
    found = several(values, what)
    if {str}.issuperset(map(type, found)) and "".join(found).isascii():  # there may be thousands
        lengths = set(map(len, found))
        if not lengths or 0 < min(lengths) <= max(lengths) <= MAX_ID_LENGTH:
            return found
    of_each = f"each of {what}"
    return [identity(each, of_each) for each in found]


def ids_at_once(values: object, what: str = "resource_ids") -> list[str]:
    """The canonical texts of the ids of one atomic step, in their order."""
    found = ids(values, what)
    if len(found) > MAX_AT_ONCE:
        raise BadInput(
            f"{what} holds {len(found)} ids, of which at most {MAX_AT_ONCE} go in one atomic step; "
            "pass them in parts, or give them a tag when they are stored"
        )
    return found


def pairs(values: object, what: str = "values") -> list[tuple[str, Any]]:
    """Ids with a value each, from a dict or a list of pairs, in their order."""
    accepted = "a dict of ids and values, or a list of such pairs"
    given = list(mapping(values, what, accepted).items()) if is_mapping(values) else None
    if given is None:
        given = several(values, what, "pairs")
    elif len(given) > MAX_MANY:
        raise BadInput(f"{what} holds over {MAX_MANY} pairs; pass them in parts")
    found = []
    for each in given:
        if not issubclass(type(each), tuple | list) or len(each) != 2:
            raise BadInput(f"{what} holds {shown(each)}; pass {accepted}")
        resource_id, value = each
        found.append((identity(resource_id, f"each id of {what}"), value))
    return found


def names(values: object, what: str, of: str = "names") -> tuple[str, ...]:
    """Several names, such as tags: ids without a number of their own."""
    if type(values) is tuple and not values:
        return ()
    single = what.removesuffix("s")
    return tuple([identity(each, single) for each in several(values, what, of)])


def texts(values: object, what: str = "texts") -> list[str]:
    """Several texts, in their order."""
    found = several(values, what, "texts")
    if {str}.issuperset(map(type, found)):
        return found
    for each in found:
        if text_of(each) is None:
            raise BadInput(f"{what} holds {shown(each)}; every one has to be a str")
    return list(map(str.__str__, found))


def mapping(value: object, what: str, accepted: str) -> Mapping[Any, Any]:
    """What has keys and values. It is copied, so that its owner cannot change it afterwards."""
    if not issubclass(type(value), Mapping):
        raise refused(what, value, accepted)
    try:
        return dict(value)  # type: ignore[call-overload, no-any-return]  # a Mapping, as just seen
    except Exception as error:
        raise refused(what, value, accepted) from error


# --- numbers ----------------------------------------------------------------------------------


def integer(
    value: object,
    what: str,
    least: int = LEAST,
    most: int = MOST,
    *,
    of: str = "a whole number",
    error: type[BadInput] = BadInput,
) -> int:
    """A whole number within its bounds."""
    plain = whole_of(value)
    if plain is None or not least <= plain <= most:
        open_ended = most == MOST and least > LEAST
        bounds = f"of at least {least}" if open_ended else f"from {least} to {most}"
        raise refused(what, value, f"{of} {bounds}", error, typed=plain is None)
    return plain


def number(
    value: object, what: str, least: float = -math.inf, *, above: bool = False, of: str = "a number"
) -> float:
    """A finite number, of at least `least` (or `above` it)."""
    plain = number_of(value)
    if plain is None or not math.isfinite(plain) or plain < least or (above and plain == least):
        bound = f" {'greater than' if above else 'of at least'} {least:g}"
        accepted = of if least == -math.inf else of + bound
        raise refused(what, value, accepted, typed=plain is None)
    return plain


def seconds(value: object, what: str, *, zero: bool = False, endless: bool = False) -> float:
    """How long something may take; `zero` at all, `endless` for ever."""
    if endless and type(value) is float and value == math.inf:
        return value
    length = number(value, what, 0, above=not zero, of="seconds")
    if length > LONGEST_TTL:
        accepted = f"seconds of at most {LONGEST_TTL:.0f} (ten years)"
        raise refused(what, value, accepted)
    return length


def duration(value: object, what: str = "ttl", *, zero: bool = False) -> float:
    """A time to live in seconds; `inf`, which is FOREVER, is never, and so is 0 if `zero` says so.

    Without that 0 is refused: it might as well mean "not at all".
    """
    plain = number_of(value)
    if issubclass(type(value), timedelta):
        plain = timedelta.total_seconds(value)  # type: ignore[arg-type]  # its class has said so
    if plain is None:
        never = "FOREVER (0)" if zero else "FOREVER"
        raise refused(
            what, value, f"seconds, a timedelta, or {never} for never", InvalidTTL, typed=True
        )
    if plain == 0 and zero:
        return math.inf
    if plain == 0:
        raise InvalidTTL(f"{what} is {shown(value)}; pass FOREVER for never, or leave it out")
    if not plain > 0:  # also catches nan
        least = "at least 0 (0 means never)" if zero else "greater than 0 (FOREVER is never)"
        raise InvalidTTL(f"{what} is {shown(value)}; a duration is {least}")
    if LONGEST_TTL < plain < math.inf or (plain == math.inf and whole_of(value) is not None):
        raise InvalidTTL(
            f"{what} is {shown(value)}; pass at most ten years ({LONGEST_TTL:.0f} s), or FOREVER"
        )
    return plain


def ttl(value: object, what: str = "ttl", *, zero: bool = False) -> float | None:
    """A time to live that may be left to the data type's policy. `zero`: as the documents have it,
    where 0 (TTL_PERMANENT) is never."""
    return None if value is None else duration(value, what, zero=zero)


# --- the rest ---------------------------------------------------------------------------------


def flag(value: object, what: str, error: type[BadInput] = BadInput) -> bool:
    """True or False: 1, "no" and an empty list are not what anybody means by it."""
    if type(value) is bool:
        return value
    kind = type(value)
    if kind.__module__ == "numpy" and kind.__name__ in ("bool", "bool_"):
        return bool(value)
    raise refused(what, value, "True or False", error, typed=True)


def choice(value: object, what: str, known: Sequence[str], error: type[BadInput] = BadInput) -> str:
    """One of a few words."""
    plain = text_of(value)
    if plain is None or plain not in known:
        raise refused(what, value, f"one of {', '.join(known)}", error, typed=plain is None)
    return plain


def function(value: object, what: str, accepted: str = "a function") -> Callable[..., Any]:
    """What can be called; not `row()` where `row` is meant."""
    if callable(value):
        return value
    if not (inspect.iscoroutine(value) or inspect.isasyncgen(value)):
        raise refused(what, value, accepted, Misuse)
    if inspect.iscoroutine(value):
        value.close()  # it would complain that nobody awaited it
    called, kind = value.__name__, type(value).__name__
    raise Misuse(
        f"{what}: {called} was given as {'an' if kind[0] == 'a' else 'a'} {kind}; pass the "
        f"function, or lambda: {called}(...), which is called if nobody has the value"
    )


def plain_function(
    value: object, what: str, accepted: str = "a plain function"
) -> Callable[..., Any]:
    """What is called and not awaited: an async function would never run, and a check let all in."""
    called = function(value, what, accepted)
    if _is_async(called) or _is_async(getattr(type(called), "__call__", None)):  # noqa: B004
        raise Misuse(
            f"{what} is an async function, which is called and not awaited; pass a plain one"
        )
    return called


def _is_async(value: object) -> bool:
    return inspect.iscoroutinefunction(value) or inspect.isasyncgenfunction(value)


def instance(value: object, what: str, kind: type[T], accepted: str) -> T:
    """An object of a class of ours."""
    if not issubclass(type(value), kind):
        raise refused(what, value, accepted)
    return value  # type: ignore[return-value]  # its class has said so


def offers(value: object, what: str, methods: Sequence[str], accepted: str) -> None:
    """An object of the caller's own that does what is asked of it."""
    try:
        if all(callable(getattr(value, method)) for method in methods):
            return
    except Exception:  # noqa: BLE001 - what cannot even be looked at does not
        pass
    raise refused(what, value, f"{accepted}, which has {', '.join(methods)}")


def secret(value: object, what: str, accepted: str, kind: type[Secret] = Secret) -> Any:
    """What `hidden` made of a text that may hold a password: nothing of it is ever shown."""
    if not issubclass(type(value), kind):
        raise BadInput(f"{what} is {value!r}; pass {accepted}")
    return value
