"""What `CacheService` is given when it is made, checked: BadInput says what is wrong with it."""

from __future__ import annotations

from datetime import tzinfo
from typing import Any, Final

from cascada.api import settings as variables
from cascada.api.cache import Cache
from cascada.model.door import arguments
from cascada.model.errors import BadInput
from cascada.service.settings import whole
from cascada.service.types import declared

LONGEST_NAME: Final = 256
"""Characters of a service's name, which is a part of other names."""

_OF_SERVICES: Final = "service."


def named(given: Any) -> str:
    name = arguments.name(given, "name")
    if len(name) > LONGEST_NAME:
        raise BadInput(f"name has {len(name)} characters; pass at most {LONGEST_NAME}")
    return name


def data_type(name: str) -> str:
    """Of which type the values of a service are, and what its journal is called."""
    return f"{_OF_SERVICES}{name}"


def service_of(journal: str) -> str | None:
    """Whose journal it is; None: of no service."""
    return journal.removeprefix(_OF_SERVICES) if journal.startswith(_OF_SERVICES) else None


def zone(given: Any) -> tzinfo | None:
    accepted = 'a zoneinfo.ZoneInfo, or the name of one that this system knows ("Europe/Madrid")'
    if given is None or issubclass(type(given), tzinfo):
        return given  # type: ignore[no-any-return]  # as just seen
    text = arguments.text(given, "time_zone", accepted)
    from zoneinfo import ZoneInfo  # which looks at the whole installation when it is imported

    try:
        return ZoneInfo(text)
    except Exception as error:  # whatever it stumbled over, a path or a folder of the system
        raise arguments.refused("time_zone", given, accepted) from error


def types(given: Any) -> dict[str, Any]:
    if given is None:
        return {}
    accepted = "a dict of groups and the types of their values"
    given = arguments.mapping(given, "types", accepted)
    return {
        arguments.name(group, "each group of types"): declared(kind, "each type of types")
        for group, kind in given.items()
    }


def default_ttl(cache: Cache | None) -> float:
    """Arguments go before variables, variables before defaults."""
    if cache is not None and "default_ttl" in (said := cache.options.limits.said):
        return whole(arguments.duration(said["default_ttl"]))
    return whole(variables.variable("REDIS_CACHE_TTL"))
