"""How mutants are made: a name, a place to hunt them in, and one thing swapped for a worse one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from cascada.engine import engine
from cascada.engine.writing import cascade, invalidate, write


@dataclass(frozen=True, slots=True)
class Mutant:
    """`rule`: what is left out. The rest says which run is to catch it; `errs`: by an error, and
    not by a stale read alone."""

    name: str
    rule: str
    config: str
    workload: str
    faults: tuple[str, ...] | None
    apply: Callable[[], None]
    errs: bool = False


_mutants: Final[dict[str, Mutant]] = {}


def all_mutants() -> dict[str, Mutant]:
    """All of them, by the names of their functions."""
    for module in (
        "mutants", "mutants_add", "mutants_ahead", "mutants_behind", "mutants_placed",
        "mutants_redis", "mutants_room",
        "mutants_sqlite", "mutants_touch",
    ):  # fmt: skip
        import_module(f"tests.chaos.{module}")
    return _mutants


def mutant(
    rule: str,
    *,
    config: str = "sqlite",
    workload: str = "usual",
    faults: tuple[str, ...] | None = None,
    errs: bool = False,
) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Enter a function that mutates the process it is called in."""

    def enter(apply: Callable[[], None]) -> Callable[[], None]:
        name = apply.__name__.replace("_", "-")
        _mutants[name] = Mutant(name, rule, config, workload, faults, apply, errs)
        return apply

    return enter


def swap(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    """Put `make(what is there)` in the place of an attribute, which must be there."""
    setattr(owner, name, make(getattr(owner, name)))


def swap_invalidate(make: Callable[[Any], Any]) -> None:
    """Put `make(the engine's invalidate)` in its place, wherever it is called."""
    for module in (engine, cascade, invalidate, write):
        swap(module, "invalidate", make)
