"""What the environment decides, and one sentence for each value that it may not hold."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

DEFAULT_DATABASE_URL: Final = "sqlite:///agent_service.db"
SHORTEST_SECRET: Final = 32
"""Bytes: a shorter key is weaker than the signature that it makes (RFC 7518, 3.2)."""

# SQLAlchemy picks the driver by the URL; people write the plain forms.
_DRIVERS: Final = {
    "sqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
}
_KNOWN: Final = {*_DRIVERS, *_DRIVERS.values(), "mysql", "mariadb", "oracle", "mssql", "http"}
"""What a URL may be said to begin with: before a misplaced "://" may stand a password."""

# Read strictly: with a / or an @ in the password, a part of it would be taken for the host or the
# port, and then be written into the errors of whoever tries to connect to it.
_SERVER: Final = re.compile(
    r"(?:[^/?#@]*@)?(?:\[[0-9a-fA-F:.]+\]|[^/?#@:\[\]]*)(?::\d+)?(?:/[^?#@]*)?(?P<query>\?[^#@]*)?"
)
_ESCAPE: Final = "in a password, write %2F for /, %3F for ?, %23 for # and %40 for @"


class WrongSetting(ValueError):
    """An environment variable holds what it may not; the text says what it may."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The service's own settings; cascada reads its own (`CACHE_DATABASE_URL`, `REDIS_URL`, ...).

    cache: off runs the same code without a cache. model_latency_ms: the median of the stand-in.
    jwt_secret: what callers' tokens are signed with; without it they are believed (callers.py).
    """

    # What is a secret, or a URL that may hold one, is not part of the repr: it may go into a log.
    database_url: str = field(default=_DRIVERS["sqlite"] + ":///agent_service.db", repr=False)
    cache: bool = True
    model_latency_ms: float = 120.0
    embeddings_url: str | None = field(default=None, repr=False)
    embeddings_model: str | None = None
    embeddings_api_key: str | None = field(default=None, repr=False)
    jwt_secret: str | None = field(default=None, repr=False)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        url = environ.get("EMBEDDINGS_URL") or None
        model = environ.get("EMBEDDINGS_MODEL") or None
        if url is not None and not _is_endpoint(url):
            raise WrongSetting(
                "EMBEDDINGS_URL holds something else (not shown here); it may hold the address of "
                "an OpenAI-compatible endpoint, such as http://127.0.0.1:11434/v1, with nothing "
                f"after its path, or be left out; {_ESCAPE}"
            )
        if (url is None) != (model is None):
            there, missing = ("URL", "MODEL") if model is None else ("MODEL", "URL")
            raise WrongSetting(
                f"EMBEDDINGS_{there} is set and EMBEDDINGS_{missing} is not; set both, "
                "or neither for the built-in lexical embedder"
            )
        return cls(
            database_url=_database_url(environ.get("DATABASE_URL") or DEFAULT_DATABASE_URL),
            cache=_switch(environ, "AGENT_SERVICE_CACHE"),
            model_latency_ms=_milliseconds(environ, "AGENT_SERVICE_MODEL_LATENCY_MS", 120.0),
            embeddings_url=url,
            embeddings_model=model,
            embeddings_api_key=environ.get("EMBEDDINGS_API_KEY") or None,
            jwt_secret=_secret(environ, "AGENT_SERVICE_JWT_SECRET"),
        )


def _database_url(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    driver = _DRIVERS.get(scheme, scheme)
    if not separator or driver not in _DRIVERS.values():
        begins = f"begins with {scheme!r}" if scheme in _KNOWN else "holds what is not shown here"
        raise WrongSetting(
            f"DATABASE_URL {begins}; it may hold sqlite:///file.db or "
            "postgresql://user:password@host/database"
        )
    # A file's path is shown in errors; what reads like user:password@ is none.
    is_one = (
        not re.search(r":.*@", rest) if driver == _DRIVERS["sqlite"] else _SERVER.fullmatch(rest)
    )
    if not is_one:
        raise WrongSetting(
            f"DATABASE_URL begins with {scheme!r}, but cannot be read (not shown here); it may "
            f"hold sqlite:///file.db or postgresql://user:password@host/database; {_ESCAPE}"
        )
    return f"{driver}://{rest}"


def _is_endpoint(url: str) -> bool:
    scheme, _, rest = url.partition("://")
    parts = _SERVER.fullmatch(rest)
    return scheme in ("http", "https") and parts is not None and parts["query"] is None


def _secret(environ: Mapping[str, str], name: str) -> str | None:
    value = environ.get(name) or None
    if value is not None and len(value.encode()) < SHORTEST_SECRET:
        raise WrongSetting(
            f"{name} has {len(value.encode())} bytes (not shown here); HS256 takes "
            f"{SHORTEST_SECRET} or more, such as `openssl rand -hex 32` makes"
        )
    return value


def _switch(environ: Mapping[str, str], name: str) -> bool:
    value = environ.get(name) or "on"
    if value not in ("on", "off"):
        raise WrongSetting(f"{name} is {value!r}; it may hold on or off")
    return value == "on"


def _milliseconds(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 60_000:  # also catches nan
        raise WrongSetting(f"{name} is {text!r}; it may hold milliseconds from 0 to 60000")
    return value
