"""`CacheService.settings`: a dict whose values are checked when they are set.

It may be changed while the service runs; whoever needs a value reads it then.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NoReturn

from cascada.model.door import arguments
from cascada.model.errors import BadInput

Number = int | float


def _lasting(given: Any, what: str) -> Number:
    """Seconds; 0 is never, as the documents have it."""
    length = arguments.duration(given, what, zero=True)
    return 0 if length == math.inf else whole(length)


def whole(number: float) -> Number:
    """3600, not 3600.0."""
    return int(number) if number == int(number) else number


def _over(given: Any, what: str) -> Number:
    return whole(arguments.number(given, what, 0))


_CHECKS: Final[dict[str, Callable[[Any, str], Number]]] = {
    "USAGE_THRESHOLD": _over,
    "DEFAULT_TTL": _lasting,
    "PEAK_TTL": _lasting,
    "DEFAULT_CACHE_SIZE": partial(arguments.integer, least=1),
    "PEAK_CACHE_SIZE": partial(arguments.integer, least=1),
}


class Settings(dict[str, Number]):
    """What the document's `settings` holds, and nothing else; BadInput for what it may not hold.

    USAGE_THRESHOLD: an hour of more accesses than that is one of peak. DEFAULT_TTL, PEAK_TTL:
    seconds that a value lives which is set without a ttl (0: for ever). DEFAULT_CACHE_SIZE,
    PEAK_CACHE_SIZE: entries that the service has in memory.
    """

    def __init__(self, default_ttl: float) -> None:
        super().__init__()
        self.update(
            USAGE_THRESHOLD=50,
            DEFAULT_TTL=0 if default_ttl == math.inf else default_ttl,
            PEAK_TTL=1800,
            DEFAULT_CACHE_SIZE=1000,
            PEAK_CACHE_SIZE=2000,
        )

    def lifetime(self, name: str) -> float:
        """Seconds; `inf` is never."""
        return self[name] or math.inf

    def __setitem__(self, name: Any, value: Any) -> None:
        check = _CHECKS.get(name) if type(name) is str else None
        if check is None:
            raise arguments.refused("the name of a setting", name, f"one of {', '.join(_CHECKS)}")
        super().__setitem__(name, check(value, name))

    def update(self, *given: Any, **named: Any) -> None:
        """All of it, or nothing."""
        checked = Settings.__new__(Settings)
        for each in (*given, named):
            for name, value in _pairs(each):
                checked[name] = value
        super().update(checked)

    def __ior__(self, given: Any) -> Settings:  # type: ignore[override, misc]  # one form of two
        self.update(given)
        return self

    def setdefault(self, name: str, value: Any = None) -> Number:
        """Each setting is there always."""
        if name not in self:
            self[name] = value
        return self[name]

    def _keep(self, *args: Any, **named: Any) -> NoReturn:
        raise BadInput("a setting cannot be removed; give it another value")

    __delitem__ = pop = popitem = clear = _keep


def _pairs(given: Any) -> list[tuple[Any, Any]]:
    try:
        return list(dict(given).items())
    except (TypeError, ValueError) as error:
        raise arguments.refused("the settings", given, "a dict of settings") from error
