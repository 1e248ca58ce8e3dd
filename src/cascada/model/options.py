"""What belongs to a whole cache, and what each of it may be.

`Cache` makes one `Options` of its arguments, and the `Engine` is built of it. All their checks
are here, so that a wrong one is refused before anything is opened. What the environment says is
given to `Cache` as arguments, and passes here as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal, get_args

from cascada.model import arguments
from cascada.model.dependencies import Dependent
from cascada.model.events import Observer
from cascada.model.policy import Policy
from cascada.model.shown import shown
from cascada.model.ttl import Duration

Mode = Literal["on", "observe", "off"]
"""on: as promised. off: every load goes to its source, nothing is read or stored; invalidations
still reach the shared tiers. observe: the callers get what their source says, as in off, but the
tiers are read, filled, counted and compared with the source, so that it can be told what would have
been hit, and whether it would have been right."""

OnPending = Literal["raise", "warn"]
"""What becomes of an invalidation that only this process remembers so far."""

MAX_VALUE_BYTES: Final = 16 * 2**20
"""What one value may take, encoded. A larger one would keep its neighbours waiting."""

LARGEST_VALUE: Final = 256 * 2**20
"""Beyond it no server takes a value in one piece, and no event loop should."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What belongs to a cache (what belongs to a type is in its Policy). Seconds and bytes."""

    policies: Mapping[str, Policy] = field(default_factory=dict)
    default_policy: Policy = field(default_factory=Policy)
    default_ttl: Duration = 3600
    namespace: str = "cascada"
    mode: Mode = "on"
    l1_bytes: int = 50 * 2**20
    op_timeout: float = 0.25
    load_timeout: float | None = None
    max_loads: int = 64
    max_loads_per_type: int = 16
    load_wait: float = 5.0
    degraded_l1_ttl: float = 30.0
    invalidate_patience: float = 5.0
    on_pending: OnPending = "raise"
    compress_over: int = 4096
    max_value_bytes: int = MAX_VALUE_BYTES
    self_check: float | None = None
    dependencies: Mapping[str, Sequence[Dependent]] = field(default_factory=dict)
    observers: Sequence[Observer] = ()
    debug: bool = False

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            given = getattr(self, name)
            plain = check(given, name)
            if plain is not given:
                object.__setattr__(self, name, plain)


def _policy(given: Any, what: str) -> Policy:
    return arguments.instance(given, what, Policy, "a Policy(...)")


def _policies(given: Any, what: str) -> dict[str, Policy]:
    by_type = arguments.mapping(given, what, "a dict of data types and their Policy(...)")
    return {
        arguments.data_type(name, f"a data type of {what}"): _policy(
            each, f"the policy of {shown(name)}"
        )
        for name, each in by_type.items()
    }


def _dependencies(given: Any, what: str) -> dict[str, list[Any]]:
    by_subject = arguments.mapping(given, what, "a dict of subjects and lists of Dependent(...)")
    return {
        arguments.data_type(subject, f"a subject of {what}"): arguments.several(
            rows, f"what depends on {shown(subject)}", "Dependent(...)"
        )
        for subject, rows in by_subject.items()
    }


def _observers(given: Any, what: str) -> tuple[Any, ...]:
    several = arguments.several(given, what, "functions")
    return tuple([arguments.plain_function(each, f"each of {what}") for each in several])


def _or_none(check: Callable[..., Any], **bounds: Any) -> Callable[[Any, str], Any]:
    return lambda given, what: None if given is None else check(given, what, **bounds)


_bytes = partial(arguments.integer, least=1, of="a whole number of bytes")
_count = partial(arguments.integer, least=1)
_CHECKS: Final[dict[str, Callable[[Any, str], Any]]] = {
    "policies": _policies,
    "default_policy": lambda given, what: _policy(given, "the policy of 'default'"),
    "default_ttl": arguments.duration,
    "namespace": arguments.name,
    "mode": partial(arguments.choice, known=get_args(Mode)),
    "l1_bytes": _bytes,
    "op_timeout": arguments.seconds,
    "load_timeout": _or_none(arguments.seconds),
    "max_loads": _count,
    "max_loads_per_type": _count,
    "load_wait": arguments.seconds,
    "degraded_l1_ttl": partial(arguments.seconds, zero=True, endless=True),
    "invalidate_patience": partial(arguments.seconds, zero=True),
    "on_pending": partial(arguments.choice, known=get_args(OnPending)),
    "compress_over": partial(_bytes, least=0),
    "max_value_bytes": partial(_bytes, most=LARGEST_VALUE),
    "self_check": _or_none(arguments.seconds, zero=True),
    "dependencies": _dependencies,
    "observers": _observers,
    "debug": arguments.flag,
}
"""What each option may be; they are arguments of `Cache`."""
