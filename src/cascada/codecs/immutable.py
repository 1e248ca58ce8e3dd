"""Whether one decoded object may be handed to many callers, because none of them can change it."""

from __future__ import annotations

import sys
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import cached_property, lru_cache
from typing import Any
from uuid import UUID

from cascada.codecs.shapes import beside, fields_of
from cascada.codecs.zones import told

_ATOMS = frozenset(
    {type(None), bool, int, float, complex, str, bytes, Decimal, UUID, date, timedelta}
)


def immutable(value: object) -> bool:
    """Whether nothing that can be reached from `value` can be changed. In doubt, False."""
    try:
        return _immutable(value)
    except RecursionError:
        return False


def _immutable(value: object) -> bool:
    kind: Any = type(value)
    if kind in _ATOMS:
        return True
    if isinstance(value, tuple):
        return not hasattr(value, "__dict__") and all(map(_immutable, value))
    if kind is frozenset:
        return all(map(_immutable, value))  # type: ignore[call-overload]  # by `kind`
    if kind is datetime or kind is time:
        return told(value.tzinfo) is not None  # type: ignore[attr-defined]  # by `kind`
    if isinstance(value, Enum):
        return True
    if _frozen(kind):
        fields = fields_of(value) or ()
        # What a __post_init__ has made beside the fields is reached from the value as well.
        inside = [*(getattr(value, name) for name in fields), *beside(value, fields).values()]
        return all(map(_immutable, inside))
    return _over_bytes(value)


@lru_cache(maxsize=512)
def _frozen(kind: type) -> bool:
    """Whether it is a frozen dataclass or struct itself; a subclass may have attributes of its own.

    A cached_property fills in later what nobody has looked at.
    """
    own = vars(kind)
    if "__dataclass_params__" in own:
        frozen = own["__dataclass_params__"].frozen
    else:
        config = getattr(kind, "__struct_config__", None)
        frozen = config is not None and config.frozen
    return bool(frozen) and not any(
        isinstance(attribute, cached_property)
        for base in kind.__mro__
        for attribute in vars(base).values()
    )


def _over_bytes(value: Any) -> bool:
    """Whether it is a read-only array over bytes: any other can be made writable again."""
    numpy = sys.modules.get("numpy")
    if numpy is None or type(value) is not numpy.ndarray:
        return False
    while type(value) is numpy.ndarray:
        if value.flags.writeable:
            return False
        value = value.base
    return type(value) is bytes
