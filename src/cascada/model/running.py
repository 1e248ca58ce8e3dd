"""The load that code runs in, for who asks no more than which one.

`engine/loading/dependencies.py` says it and reads it; `Context` notes it without an engine, which
would be imported by every program that names a tenant.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Final

load: Final[ContextVar[Any]] = ContextVar("cascada_load", default=None)
"""A `LoadContext`, which the tasks that are started in it have as well."""
