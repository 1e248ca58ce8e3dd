"""Records whose fields are checked when they are made, and never change after.

`Policy`, `Limits` and `Options` are such records. Each field is written down once, in
one line: its name, its type, its default and its check. A record keeps what it was given; what it
was not given is its class's default. So `said` tells the two apart, which is how arguments go
before the environment. (The standard library's dataclasses write and compile code for each class,
which a program that starts would pay for.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import Parameter, Signature
from typing import Any, ClassVar, NoReturn, Self, TypeVar, cast, dataclass_transform

from cascada.model.errors import BadInput

T = TypeVar("T")

Check = Callable[[Any, str], Any]
"""Takes what was given and what it is called; returns its plain value, or raises BadInput."""


class _Field:
    """A field as its class writes it down."""

    def __init__(self, default: Any, check: Check) -> None:
        self.default = default
        self.check = check


def field(default: T, check: Check) -> T:
    """A field with its default, which the check lets pass as it is."""
    return cast(T, _Field(default, check))


def or_none(check: Check) -> Check:
    """The same check, for what may be left open."""
    return lambda given, what: None if given is None else check(given, what)


class _Signature:
    """What `help` and `inspect` say of such a class: made when they ask, since few do."""

    def __get__(self, record: object, cls: type[Checked]) -> Signature:
        return Signature(
            [
                Parameter(name, Parameter.KEYWORD_ONLY, default=getattr(cls, name))
                for name in cls.checks
            ]
        )


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Checked:
    """The base of such records; it is made by keywords alone."""

    checks: ClassVar[Mapping[str, Check]] = {}
    error: ClassVar[type[BadInput]] = BadInput
    prefix: ClassVar[str] = ""
    """What stands before a field's name in a sentence about it."""
    __signature__ = _Signature()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        fields = {name: each for name, each in vars(cls).items() if isinstance(each, _Field)}
        for name, each in fields.items():
            setattr(cls, name, each.default)
        cls.checks = {**cls.checks, **{name: each.check for name, each in fields.items()}}

    def __init__(self, **given: Any) -> None:
        checks = self.checks
        for name, value in given.items():
            check = checks.get(name)
            if check is None:
                kind = type(self).__name__
                raise self.error(f"{kind} has no field {name!r}; pass one of {', '.join(checks)}")
            self.__dict__[name] = check(value, self.prefix + name)
        self._agree()

    def _agree(self) -> None:
        """Raise if fields that are good by themselves contradict each other."""

    @property
    def said(self) -> dict[str, Any]:
        """The fields that were given, by name."""
        return dict(self.__dict__)

    def __setattr__(self, name: str, value: object = None) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} does not change; make another one")

    __delattr__ = __setattr__

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._values() == cast(Self, other)._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.__dict__.items())
        return f"{type(self).__name__}({given})"

    def _values(self) -> tuple[Any, ...]:
        return tuple([getattr(self, name) for name in self.checks])
