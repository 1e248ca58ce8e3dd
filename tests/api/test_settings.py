"""The environment: every documented variable, its default, and the sentence for a wrong value."""

import re
import traceback
from pathlib import Path

import pytest

from cascada import BadInput, Cache, InvalidSettings, Limits
from cascada.api import settings
from cascada.model.ttl import FOREVER

DOCUMENTED = {
    "REDIS_URL": None,
    "REDIS_PASSWORD": None,
    "REDIS_MAX_CONNECTIONS": 50,
    "REDIS_CONNECTION_TIMEOUT": 20,
    "REDIS_SOCKET_TIMEOUT": 5,
    "REDIS_POOL_TIMEOUT": 30,
    "REDIS_CACHE_TTL": 3600,
    "REDIS_SYNC_INTERVAL": 300,
    "CASCADA_SYNC_DATABASE": None,
    "CACHE_DATABASE_URL": None,
    "CACHE_ENCRYPTION_KEYS": None,
    "CASCADA_ENCRYPT": "sensitive",
    "CACHE_READ_STRATEGY": "READ_THROUGH",
    "CACHE_WRITE_STRATEGY": "WRITE_THROUGH",
    "CACHE_EVICTION_POLICY": "adaptive",
    "L1_CACHE_SIZE_MB": 50,
    "L2_CACHE_SIZE_MB": 500,
    "L3_CACHE_SIZE_MB": 2000,
    "CASCADA_TENANT": None,
    "CASCADA_NAMESPACE": "cascada",
    "CASCADA_MODE": "on",
    "CASCADA_OP_TIMEOUT": 0.25,
    "CASCADA_INVALIDATE_PATIENCE": 5,
    "CASCADA_ON_PENDING": "raise",
    "CASCADA_DEGRADED_L1_TTL": 30,
    "CASCADA_SELF_CHECK": None,
    "CASCADA_OPTIMIZE_EVERY": None,
    "CASCADA_WARM_RESTART": None,
    "CASCADA_MAX_VALUE_BYTES": 16 * 2**20,
}

OF_THE_DOCUMENTS = """
    REDIS_URL=redis://localhost:6379/0
    REDIS_MAX_CONNECTIONS=50
    REDIS_CONNECTION_TIMEOUT=20
    REDIS_SOCKET_TIMEOUT=5
    L1_CACHE_SIZE_MB=50
    L2_CACHE_SIZE_MB=500
    L3_CACHE_SIZE_MB=2000
    CACHE_READ_STRATEGY=READ_THROUGH
    CACHE_WRITE_STRATEGY=WRITE_THROUGH
    CACHE_EVICTION_POLICY=ADAPTIVE
"""

A_KEY = "A" * 43 + "="
WRONG = [
    ("REDIS_URL", "http://cache", "begins with http://", "rediss://HOST:PORT/NUMBER"),
    ("REDIS_URL", "cache:6379", "is not shown", "redis://HOST:PORT/NUMBER"),
    ("REDIS_URL", "redis://cache:port/0", "begins with redis://", "redis://HOST:PORT/NUMBER"),
    ("REDIS_URL", "redis://", "begins with redis://", "redis://HOST:PORT/NUMBER"),
    ("REDIS_MAX_CONNECTIONS", "0", "is '0'", "a whole number of at least 1"),
    ("REDIS_MAX_CONNECTIONS", "many", "is 'many'", "a whole number of at least 1"),
    ("REDIS_CONNECTION_TIMEOUT", "-1", "is '-1'", "greater than 0"),
    ("REDIS_SOCKET_TIMEOUT", "nan", "is 'nan'", "greater than 0"),
    ("REDIS_POOL_TIMEOUT", "inf", "is 'inf'", "greater than 0"),
    ("REDIS_SYNC_INTERVAL", "5m", "is '5m'", "seconds"),
    ("CASCADA_SYNC_DATABASE", "mysql://db/app", "begins with mysql://", "postgresql://user@host"),
    ("CASCADA_SYNC_DATABASE", "app.db", "is not shown", "sqlite:///file.db"),
    ("REDIS_CACHE_TTL", "-5", "is '-5'", "at least 0 (0 means never)"),
    ("REDIS_CACHE_TTL", "1h", "is '1h'", "at least 0 (0 means never)"),
    ("CACHE_DATABASE_URL", "postgresql://db/cache", "begins with postgresql://", "sqlite:///PATH"),
    ("CACHE_DATABASE_URL", "sqlite://", "begins with sqlite://", "four slashes for an absolute"),
    ("CACHE_DATABASE_URL", ":memory:", "is not shown", "the file of an SQLite database"),
    ("CACHE_ENCRYPTION_KEYS", "k1:AAAA", "is not shown here: key 1 is not", "32 random bytes"),
    ("CACHE_ENCRYPTION_KEYS", f"a:{A_KEY},b:AA", "key 2 is not as it should", "32 random bytes"),
    ("CACHE_ENCRYPTION_KEYS", f"a:{A_KEY},a:{A_KEY}", "keys 1 and 2 have the same id", "ID:KEY"),
    ("CACHE_READ_STRATEGY", "read_around", "is 'read_around'", "READ_AROUND or REFRESH_AHEAD"),
    ("CACHE_WRITE_STRATEGY", "WRITE_BACK", "is 'WRITE_BACK'", "WRITE_BEHIND"),
    ("CACHE_WRITE_STRATEGY", "write_through", "is 'write_through'", "WRITE_THROUGH"),
    ("CACHE_EVICTION_POLICY", "ARC", "is 'ARC'", "ADAPTIVE, LRU or LFU"),
    ("CACHE_EVICTION_POLICY", "lru", "is 'lru'", "ADAPTIVE, LRU or LFU"),
    ("L1_CACHE_SIZE_MB", "0.5", "is '0.5'", "megabytes, a whole number of at least 1"),
    ("L2_CACHE_SIZE_MB", "-1", "is '-1'", "megabytes, a whole number of at least 1"),
    ("L3_CACHE_SIZE_MB", "2GB", "is '2GB'", "megabytes, a whole number of at least 1"),
    ("CASCADA_TENANT", "   ", "is '   '", "the id of a tenant"),
    ("CASCADA_TENANT", "x" * 1025, "is 'xxx", "at most 1024 characters"),
    ("CASCADA_NAMESPACE", " ", "is ' '", "a name such as shop-prod"),
    ("CASCADA_MODE", "ON", "is 'ON'", "on, observe or off"),
    ("CASCADA_OP_TIMEOUT", "0", "is '0'", "greater than 0"),
    ("CASCADA_INVALIDATE_PATIENCE", "-1", "is '-1'", "at least 0 (0: no waiting)"),
    ("CASCADA_INVALIDATE_PATIENCE", "inf", "is 'inf'", "at least 0"),
    ("CASCADA_ON_PENDING", "ignore", "is 'ignore'", "raise or warn"),
    ("CASCADA_DEGRADED_L1_TTL", "-1", "is '-1'", "at least 0 (0: memory serves nothing"),
    ("CASCADA_DEGRADED_L1_TTL", "nan", "is 'nan'", "or inf, for a single process"),
    ("CASCADA_MAX_VALUE_BYTES", "16MB", "is '16MB'", "bytes, a whole number up to 268435456"),
    ("CASCADA_MAX_VALUE_BYTES", "0", "is '0'", "bytes, a whole number up to 268435456"),
    ("CASCADA_SELF_CHECK", "-1", "is '-1'", "at least 0 (0 means off)"),
    ("CASCADA_SELF_CHECK", "on", "is 'on'", "seconds"),
    ("CASCADA_SELF_CHECK", "nan", "is 'nan'", "at least 0 (0 means off)"),
]


def test_the_documented_variables_and_defaults() -> None:
    assert settings.read() == DOCUMENTED


@pytest.mark.parametrize(("variable", "value", "holds", "may_hold"), WRONG)
def test_a_wrong_value_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, holds: str, may_hold: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidSettings) as caught:
        Cache.from_env()
    sentence = str(caught.value)
    assert sentence.startswith(f"{variable} ")
    told, said = sentence.split("; it may hold ")
    assert holds in told
    assert may_hold in said
    assert "\n" not in sentence
    assert len(sentence) < 300


SECRETS = [
    ("REDIS_URL", "postgres://app:hunter2@db/0"),
    ("REDIS_URL", "hunter2"),
    ("REDIS_URL", "redis://app:hunter2@cache:port"),
    ("CACHE_DATABASE_URL", "postgresql://app:hunter2@db/cache"),
    ("CACHE_ENCRYPTION_KEYS", "k1:hunter2"),
    ("CASCADA_SYNC_DATABASE", "app:hunter2@db/app"),
    ("REDIS_CACHE_TTL", "redis://app:hunter2@cache:6379/0"),
    ("CASCADA_MODE", "app:hunter2@cache"),
]


@pytest.mark.parametrize(("variable", "value"), SECRETS)
def test_no_password_is_shown(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidSettings) as caught:
        settings.read()
    assert caught.value.__context__ is None, "the parser's error holds the value"
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_no_password_is_in_the_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://app:hunter2@cache:6379/0")
    monkeypatch.setenv("REDIS_PASSWORD", "hunter2")
    said = settings.read(), settings.cache_arguments()
    assert "hunter2" not in repr(said) + str(said)
    assert "redis_max_connections=50" in repr(said)


def test_sentinels_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis+sentinel://one:26379,two:26379/main/0")
    assert settings.read()["REDIS_URL"] is not None
    monkeypatch.setenv("REDIS_URL", "redis+sentinel://one:26379,two:port/main/0")
    with pytest.raises(InvalidSettings, match="SERVICE/NUMBER"):
        settings.read()


def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in DOCUMENTED:
        monkeypatch.setenv(variable, "")
    assert settings.read() == DOCUMENTED


def test_what_a_cache_is_made_of(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.cache_arguments() == {
        "redis": None,
        "redis_password": None,
        "database": None,
        "read_strategy": "READ_THROUGH",
        "write_strategy": "WRITE_THROUGH",
        "encryption_keys": None,
        "encrypt": "sensitive",
        "namespace": "cascada",
        "mode": "on",
        "limits": Limits(),
    }
    monkeypatch.setenv("REDIS_URL", "redis://cache:6379/2")
    monkeypatch.setenv("REDIS_PASSWORD", "hunter2")
    monkeypatch.setenv("CACHE_DATABASE_URL", "sqlite:////var/cache.db")
    monkeypatch.setenv("REDIS_CACHE_TTL", "0")
    monkeypatch.setenv("CASCADA_MODE", "observe")
    monkeypatch.setenv("L1_CACHE_SIZE_MB", "7")
    monkeypatch.setenv("CASCADA_SELF_CHECK", "10")
    arguments = settings.cache_arguments()
    assert arguments["redis"].reveal() == "redis://cache:6379/2"
    assert arguments["redis_password"].reveal() == "hunter2"
    assert arguments["database"].reveal() == "sqlite:////var/cache.db"
    limits = arguments["limits"]
    assert limits.default_ttl == FOREVER
    assert arguments["mode"] == "observe"
    assert limits.l1_bytes == 7 * 2**20
    assert limits.self_check == 10


def test_a_cache_takes_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASCADA_NAMESPACE", "shop-test")
    monkeypatch.setenv("REDIS_CACHE_TTL", "60")
    options = Cache.from_env(limits=Limits(default_ttl=5)).options
    assert (options.namespace, options.limits.default_ttl) == ("shop-test", 5)


def test_of_the_limits_each_that_is_given_goes_before_its_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REDIS_CACHE_TTL", "60")
    monkeypatch.setenv("L1_CACHE_SIZE_MB", "7")
    limits = Cache.from_env(limits=Limits(default_ttl=3600, max_loads=4)).options.limits
    assert (limits.default_ttl, limits.max_loads) == (3600, 4), "a default that is said is said"
    assert limits.l1_bytes == 7 * 2**20
    with pytest.raises(BadInput, match=r"limits is \{'max_loads': 4\}; pass a Limits"):
        Cache.from_env(limits={"max_loads": 4})


def test_the_page_of_variables_says_what_the_list_does() -> None:
    """Each variable that acts has a row with its default, and no other has one."""
    page = (Path(__file__).parents[2] / "docs" / "settings.md").read_text()
    rows = dict(re.findall(r"^\| `([A-Z][A-Z0-9_]+)` \| ([^|]+) \|", page, re.M))
    apart = ("CASCADA_TENANT", "REDIS_SYNC_INTERVAL", "CASCADA_SYNC_DATABASE")
    acting = {
        name: "none" if each.default is None else str(each.default).removesuffix(".0")
        for name, each in settings.VARIABLES.items()
        if each.argument is not None or name in apart
    }
    assert {name: shown.strip("`") for name, shown in rows.items()} == acting | {
        "CACHE_EVICTION_POLICY": "ADAPTIVE"  # `Limits` has it in small letters
    }


def test_the_environment_of_the_documents_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for line in OF_THE_DOCUMENTS.split():
        monkeypatch.setenv(*line.split("=", 1))
    assert settings.read()["REDIS_URL"] is not None
