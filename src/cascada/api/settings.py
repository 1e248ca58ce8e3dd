"""The environment's say: every documented variable, checked when the process starts.

A wrong value raises InvalidSettings with one sentence: the variable, what it holds, what it may
hold. What may carry a password is never shown, neither there nor in `repr`: of a URL no more than
its scheme. Variables of tiers and strategies that this version does not have yet are checked too,
so that an environment written for them works unchanged; only what would silently be something else
than it says (another strategy, encryption) is refused.

A field is named after its variable, and its description ends the sentence "it may hold ...".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import AfterValidator, Field, PlainSerializer, PlainValidator, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from cascada.api.urls import DATABASE, sqlite_path
from cascada.model import arguments
from cascada.model.errors import BadInput, InvalidSettings
from cascada.model.options import LARGEST_VALUE
from cascada.model.secret import Secret, Url
from cascada.model.ttl import FOREVER
from cascada.tiers.redis.urls import EXPECTED, what_is_wrong

_MEGABYTE: Final = 2**20
_LONGEST: Final = 60


def _url(is_one: Callable[[Url], bool]) -> Callable[[object], Url | None]:
    """A check of what is a URL, and never shown."""

    def check(given: object) -> Url | None:
        if given is None:
            return None
        url = Url(given) if isinstance(given, str | Url) else Url("")
        if not is_one(url):
            raise ValueError
        return url

    return check


def _tenant(text: str) -> str:
    try:
        return arguments.tenant(text)
    except BadInput as error:
        raise ValueError from error


def _named(text: str) -> str:
    if not text.strip():
        raise ValueError
    return text


def _password(given: object) -> Secret | None:
    if given is not None and not isinstance(given, str | Secret):
        raise ValueError
    return None if given is None else Secret(given)


def _refused(given: object) -> None:
    if given is not None:
        raise ValueError


# Never more than is shown of it, in whatever form settings are written out.
_HIDDEN: Final = PlainSerializer(lambda given: None if given is None else str(given), str | None)


# What a variable may hold, and how that is said.
_Count = Annotated[int, Field(ge=1, description="a whole number of at least 1")]
_Seconds = Annotated[
    float, Field(gt=0, allow_inf_nan=False, description="seconds, a number greater than 0")
]
_Megabytes = Annotated[
    int, Field(ge=1, description="megabytes, a whole number of at least 1 (such as 50)")
]
_Bytes = Annotated[
    int, Field(ge=1, le=LARGEST_VALUE, description=f"bytes, a whole number up to {LARGEST_VALUE}")
]
_Ttl = Annotated[
    float,
    Field(ge=0, allow_inf_nan=False, description="seconds, a number of at least 0 (0 means never)"),
]
_Pause = Annotated[
    float | None,
    Field(ge=0, allow_inf_nan=False, description="seconds, a number of at least 0 (0 means off)"),
]
_Patience = Annotated[
    float,
    Field(ge=0, allow_inf_nan=False, description="seconds, a number of at least 0 (0: no waiting)"),
]
_Degraded = Annotated[
    float,
    Field(
        ge=0,
        description="seconds, a number of at least 0 (0: memory serves nothing meanwhile), or inf, "
        "for a single process",
    ),
]
_OnPending = Annotated[Literal["raise", "warn"], Field(description="raise or warn")]
_RedisUrl = Annotated[
    Url | None,
    PlainValidator(_url(lambda url: what_is_wrong(url) is None)),
    _HIDDEN,
    Field(description=f"{EXPECTED}; in a password, % and two digits for each of /?#@"),
]
_Password = Annotated[Secret | None, PlainValidator(_password), _HIDDEN, Field()]
_DatabaseUrl = Annotated[
    Url | None,
    PlainValidator(_url(lambda url: sqlite_path(url) is not None)),
    _HIDDEN,
    Field(
        description=f"the file of an SQLite database, {DATABASE}, which is what this version takes"
    ),
]
_Keys = Annotated[
    Secret | None,
    PlainValidator(_refused),
    _HIDDEN,
    Field(description="nothing: this version stores values unencrypted, so unset it"),
]
_Tenant = Annotated[
    Annotated[str, AfterValidator(_tenant)] | None,
    Field(description="the id of a tenant, at most 1024 characters"),
]
_Name = Annotated[str, AfterValidator(_named), Field(description="a name such as shop-prod")]
_Read = Annotated[
    Literal["READ_THROUGH"],
    Field(
        description="READ_THROUGH, which is what this version takes "
        "(READ_AROUND and REFRESH_AHEAD come later)"
    ),
]
_Write = Annotated[
    Literal["WRITE_THROUGH"],
    Field(
        description="WRITE_THROUGH, which is what this version takes "
        "(WRITE_BEHIND and WRITE_AROUND come later)"
    ),
]
# ADAPTIVE leaves the choice to cascada, which at present chooses LRU.
_Eviction = Annotated[
    Literal["ADAPTIVE", "LRU"],
    Field(description="ADAPTIVE or LRU, which is what this version takes (LFU comes later)"),
]
_Mode = Annotated[Literal["on", "observe", "off"], Field(description="on, observe or off")]


class Settings(BaseSettings):
    """The documented variables, their types and defaults; an empty one counts as not set."""

    model_config = SettingsConfigDict(
        env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    redis_url: _RedisUrl = None
    redis_password: _Password = None
    redis_max_connections: _Count = 50
    redis_connection_timeout: _Seconds = 20
    redis_socket_timeout: _Seconds = 5
    redis_pool_timeout: _Seconds = 30
    redis_cache_ttl: _Ttl = 3600
    redis_sync_interval: _Seconds = 300

    cache_database_url: _DatabaseUrl = None
    cache_encryption_keys: _Keys = None
    cache_read_strategy: _Read = "READ_THROUGH"
    cache_write_strategy: _Write = "WRITE_THROUGH"
    cache_eviction_policy: _Eviction = "ADAPTIVE"

    l1_cache_size_mb: _Megabytes = 50
    l2_cache_size_mb: _Megabytes = 500
    l3_cache_size_mb: _Megabytes = 2000

    cascada_tenant: _Tenant = None
    cascada_namespace: _Name = "cascada"
    cascada_mode: _Mode = "on"
    cascada_op_timeout: _Seconds = 0.25
    cascada_invalidate_patience: _Patience = 5
    cascada_on_pending: _OnPending = "raise"
    cascada_degraded_l1_ttl: _Degraded = 30
    cascada_self_check: _Pause = None
    cascada_max_value_bytes: _Bytes = 16 * _MEGABYTE

    @classmethod
    def from_env(cls) -> Self:
        """What the environment says; InvalidSettings for the first value that is wrong."""
        try:
            settings = cls()
        except ValidationError as error:
            sentence = _sentence(error)
        else:
            return settings
        # Outside of the except block: the error above holds the value, and would be its context.
        raise InvalidSettings(sentence)

    def cache_arguments(self) -> dict[str, Any]:
        """The arguments of `Cache` that these settings come to."""
        return {
            "redis": self.redis_url,
            "redis_password": self.redis_password,
            "redis_connection_timeout": self.redis_connection_timeout,
            "redis_socket_timeout": self.redis_socket_timeout,
            "redis_max_connections": self.redis_max_connections,
            "redis_pool_timeout": self.redis_pool_timeout,
            "database": self.cache_database_url,
            "default_ttl": self.redis_cache_ttl or FOREVER,
            "namespace": self.cascada_namespace,
            "mode": self.cascada_mode,
            "l1_bytes": self.l1_cache_size_mb * _MEGABYTE,
            "l3_bytes": self.l3_cache_size_mb * _MEGABYTE,
            "op_timeout": self.cascada_op_timeout,
            "invalidate_patience": self.cascada_invalidate_patience,
            "on_pending": self.cascada_on_pending,
            "degraded_l1_ttl": self.cascada_degraded_l1_ttl,
            "self_check": self.cascada_self_check,
            "max_value_bytes": self.cascada_max_value_bytes,
        }


def _sentence(error: ValidationError) -> str:
    """The first value that is wrong, said so that it can be put right."""
    wrong = error.errors(include_url=False, include_context=False)[0]
    field = str(wrong["loc"][0])
    declared = Settings.model_fields[field]
    holds = _shown(str(wrong["input"]), secret=Secret in _classes(declared.annotation))
    return f"{field.upper()} {holds}; it may hold {declared.description}"


def _classes(annotation: object) -> set[type]:
    return {base for each in get_args(annotation) for base in getattr(each, "__mro__", ())}


def _shown(text: str, *, secret: bool) -> str:
    # A URL may have come to the wrong variable.
    if not secret and "://" not in text and "@" not in text:
        return f"is {text!r}" if len(text) <= _LONGEST else f"is {text[:_LONGEST]!r}..."
    scheme = Url(text).scheme
    if not scheme:
        return "holds a value that is not shown here"
    return f"begins with {scheme}:// (the rest is not shown here)"
