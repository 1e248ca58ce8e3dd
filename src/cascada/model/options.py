"""What belongs to a whole cache, beside where it keeps its values.

`Cache` makes one `Options` of its arguments, and the `Engine` is built of it. They are checked
here, so that a wrong one is refused before anything is opened. What the environment says is given
to `Cache` as arguments, and passes here as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal, get_args

from cascada.model.bills.cost import Price, prices_given
from cascada.model.dependencies import Dependent
from cascada.model.door import arguments
from cascada.model.door.checked import Checked, field, or_none
from cascada.model.door.secret import Secret
from cascada.model.door.shown import shown
from cascada.model.door.wrapping import wrapping_keys_given
from cascada.model.events import Observer
from cascada.model.limits import Limits
from cascada.model.policy import Policy

Mode = Literal["on", "observe", "off"]
"""on: as promised. off: every load goes to its source, nothing is read or stored; invalidations
still reach the shared tiers. observe: the callers get what their source says, as in off, but the
tiers are read, filled, counted and compared with the source, so that it can be told what would have
been hit, and whether it would have been right."""

ReadStrategy = Literal["READ_THROUGH", "READ_AROUND", "REFRESH_AHEAD"]
"""READ_THROUGH: what a lower tier has fills those above. READ_AROUND: a read fills nothing.
REFRESH_AHEAD: as READ_THROUGH, and what is hot is refreshed before it expires."""

WriteStrategy = Literal["WRITE_THROUGH", "WRITE_BEHIND", "WRITE_AROUND"]
"""WRITE_THROUGH: a write stores in all tiers that its value belongs to. WRITE_BEHIND: the database
is told a little later. WRITE_AROUND: the lowest of them alone stores it; reads fill the others."""

Encrypt = Literal["sensitive", "all"]
"""Which values leave the process sealed: those of types whose policy says `sensitive`, or all."""

_policy = partial(arguments.instance, kind=Policy, accepted="a Policy(...)")


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


class Options(Checked):
    """What belongs to a cache (what belongs to a type is in its Policy)."""

    policies: Mapping[str, Policy] = field({}, _policies)
    default_policy: Policy = field(
        Policy(), lambda given, _: _policy(given, "the policy of 'default'")
    )
    limits: Limits = field(
        Limits(), partial(arguments.instance, kind=Limits, accepted="a Limits(...)")
    )
    namespace: str = field("cascada", arguments.name)
    mode: Mode = field("on", partial(arguments.choice, known=get_args(Mode)))
    read_strategy: ReadStrategy = field(
        "READ_THROUGH", partial(arguments.choice, known=get_args(ReadStrategy))
    )
    write_strategy: WriteStrategy = field(
        "WRITE_THROUGH", partial(arguments.choice, known=get_args(WriteStrategy))
    )
    encryption_keys: Secret | None = field(None, or_none(wrapping_keys_given))
    encrypt: Encrypt = field("sensitive", partial(arguments.choice, known=get_args(Encrypt)))
    dependencies: Mapping[str, Sequence[Dependent]] = field({}, _dependencies)
    prices: Mapping[str, Price] = field({}, prices_given)
    observers: Sequence[Observer] = field((), _observers)
    debug: bool = field(False, arguments.flag)
