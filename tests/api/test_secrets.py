"""A password is seen nowhere: whatever it holds, wherever it stands, however wrong its URL is."""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cascada import Cache, CascadaError, Limits, TierUnavailable
from cascada.api.settings import cache_arguments, read
from cascada.model.door.secret import Secret, Url
from cascada.model.errors import BadInput
from cascada.testing.inside import inside

MARK = "xq7"
"""Both ends of every password: no part of one may be seen, either."""

PASSWORDS = st.builds(
    lambda middle: f"{MARK}{middle}{MARK}",
    st.text(st.sampled_from("aZ09/#?@:%[]&=+;,~ \\'\"|<>{}\u2100\uff0f\n"), max_size=6)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=3),
)

REDIS = (
    "redis://:{}@127.0.0.1:1/0",
    "redis://app:{}@127.0.0.1:1/0",
    "redis://{}@127.0.0.1:1/0",
    "rediss://app:{}@127.0.0.1:1/0",
    "redis://127.0.0.1:1/0?password={}",
    "redis://127.0.0.1:1?username=app&password={}&db=1",
    "redis://127.0.0.1:1/0?pasword={}",
    "redis://127.0.0.1:1/0?socket_timeout={}",
    "redis://127.0.0.1:1/{}",
    "redis://127.0.0.1:1/0#{}",
    "redis://:{}",
    "redis://app:{}",
    "redis://app:{}@",
    "redis://app:12/{}@127.0.0.1:1/0",
    "redis://app:12#{}@127.0.0.1:1/0",
    "redis://app:12?{}@127.0.0.1:1/0",
    "redis://127.0.0.1:{}/0",
    "redis://[::1{}]:1/0",
    "redis:/app:{}@127.0.0.1:1/0",
    "redis:app:{}@127.0.0.1",
    "//app:{}@127.0.0.1:1",
    "app:{}@127.0.0.1:1/0",
    ":{}@127.0.0.1:1",
    "{}",
    "{}@127.0.0.1",
    "{}://127.0.0.1:1",
    "http://app:{}@127.0.0.1:1",
    "unix://app:{}@/no/such/socket",
    "unix://app:12/{}@/no/such/socket",
    "unix:///no/such/socket?password={}",
    "redis+sentinel://app:{}@127.0.0.1:1,127.0.0.1:2/main/0",
    "redis+sentinel://127.0.0.1:1,127.0.0.1:{}/main/0",
    "redis+sentinel://app:12/{}@127.0.0.1:1/main/0",
    "redis+sentinel://127.0.0.1:1/main/0?password={}",
)
DATABASE = (
    "postgresql://app:{}@db/cache",
    "postgresql://db/cache?password={}",
    "postgresql+asyncpg://app:12/{}@db/cache",
    "mysql://app:{}@db/cache",
    "sqlite://app:{}@db/cache",
    "sqlite:///app:{}@db/cache",
    "sqlite:///no/such/cache.db?password={}",
    "sqlite:///no/such/cache.db#{}",
    "app:{}@db/cache",
    "//app:{}@db/cache",
    "file:no/such/cache.db?key={}",
    "{}://db/cache",
)
OF_A_VARIABLE = {
    "REDIS_URL": REDIS,
    "CACHE_DATABASE_URL": DATABASE,
    "REDIS_PASSWORD": ("{}",),
    "CACHE_ENCRYPTION_KEYS": ("k1:{}",),
    # A URL in the wrong place.
    "REDIS_CACHE_TTL": REDIS[:5],
    "CASCADA_MODE": DATABASE[:5],
}


@contextmanager
def nothing_seen(held: dict[str, object]) -> Iterator[None]:
    """No log record, no error and no form of what is held shows a password.

    An error of cascada's is swallowed, whatever else is raised is none of its.
    """
    records: list[logging.LogRecord] = []
    handler = logging.Handler(logging.DEBUG)
    handler.emit = records.append  # type: ignore[method-assign]  # all of them, as they are
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    seen: list[str] = []
    try:
        yield
    except CascadaError as error:
        whole = traceback.TracebackException.from_exception(error, capture_locals=True)
        seen += own_frames(whole)
        while error is not None:
            seen += [str(error), repr(error), *map(repr, error.args)]
            error = error.__cause__ or error.__context__  # type: ignore[assignment]
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    for record in records:
        seen.append(logging.Formatter("%(message)s").format(record))
        seen += [repr(record.args), str(record.exc_text)]
    for each in held.values():
        seen += [repr(each), str(each), f"{each}", f"{each!r:>9}", "%s %r" % (each, each)]  # noqa: UP031
        with suppress(TypeError, AttributeError, pickle.PicklingError):
            seen.append(pickle.dumps(each).decode("latin-1"))
    assert not [text for text in seen if MARK in text]


def own_frames(whole: traceback.TracebackException | None) -> list[str]:
    """A chain of errors as text, with the local variables of all frames but this test's."""
    found: list[str] = []
    while whole is not None:
        whole.stack = traceback.StackSummary.from_list(
            [frame for frame in whole.stack if "/tests/" not in frame.filename]
        )
        found += list(whole.format(chain=False))
        whole = whole.__cause__ or whole.__context__
    return found


@pytest.mark.parametrize("variable", OF_A_VARIABLE)
@given(data=st.data(), password=PASSWORDS)
@example(data=None, password=f"{MARK}/{MARK}").via("the odd characters of a URL")
@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_the_environment_shows_no_password(
    variable: str, data: Any, password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    forms = OF_A_VARIABLE[variable]
    for form in forms if data is None else [data.draw(st.sampled_from(forms))]:
        monkeypatch.setenv(variable, form.format(password))
        held: dict[str, object] = {}
        with nothing_seen(held):
            held["settings"] = read()
            held["arguments"] = cache_arguments()
            cache = held["cache"] = Cache.from_env()
            assert isinstance(cache, Cache)
            held["parts"] = cache.options, inside(cache)
    monkeypatch.delenv(variable)


class Text(str):
    """Its repr is not that of a str."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Text({str.__str__(self)})"


@pytest.mark.parametrize("wrap", [str, Text, str.encode, lambda text: [text], Url, Secret])
def test_no_local_variable_shows_one(wrap: Any) -> None:
    """Who reports errors with the variables of their frames has those of all frames."""
    for name, forms in {"redis": REDIS, "database": DATABASE, "redis_password": ("{}",)}.items():
        for form in forms:
            given = wrap(form.format(f"{MARK}/{MARK}"))
            with nothing_seen({}):
                Cache(**{name: given}, limits=Limits(op_timeout=0))
            with nothing_seen({}):
                Cache.from_env(**{name: given})


ODD = (f"{MARK}/{MARK}", f"{MARK}@:{MARK}", f"{MARK}%2F {MARK}")


async def test_neither_does_a_cache_that_cannot_connect() -> None:
    """What redis-py takes for right is connected to, and what it says then is written down."""
    caches: list[Cache] = []
    held: dict[str, object] = {}
    with nothing_seen(held):
        for password in ODD:
            for form in REDIS:
                with suppress(BadInput):
                    caches.append(
                        Cache(redis=form.format(password), limits=Limits(op_timeout=0.05))
                    )
            caches.append(Cache(redis="redis://127.0.0.1:1/0", redis_password=password))
        assert len(caches) > len(ODD) * 5
        told = await asyncio.gather(*map(use, caches))
        held |= {str(number): each for number, each in enumerate(told)}
        await asyncio.gather(*(cache.aclose() for cache in caches))


async def use(cache: Cache) -> object:
    """All that a user is told of a cache whose tier is away."""
    await cache.__aenter__()
    acme = cache.tenant("acme")
    await acme.load("x", "1", lambda: 1)
    stored = await acme.set("x", "1", 2)
    told: list[object] = [stored, await acme.get("x", "1"), await acme.explain("x", "1")]
    try:
        await acme.increment("n", "1")
    except TierUnavailable as error:
        told += traceback.format_exception(error)
    return told, cache, await cache.stats()


def test_no_copy_of_a_secret_shows_it() -> None:
    for secret in (Secret(MARK), Url(f"redis://:{MARK}@h"), Url(f"{MARK}://h"), Url(MARK)):
        shown = [repr(secret), str(secret), f"{secret:>40}", f"{secret!r}", "{!s}".format(secret)]  # noqa: UP032
        assert not [text for text in shown if MARK in text]
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(secret)
        assert copy.deepcopy([secret]) == [copy.copy(secret)]
        assert MARK in secret.reveal()
        assert not hasattr(secret, "__dict__")
    assert (str(Url("redis://:a@h")), str(Url("Postgresql+asyncpg://:a@h"))) == (
        "redis://***", "postgresql+asyncpg://***",
    )  # fmt: skip
    assert Secret("a") == Secret("a") != Url("a")
    assert len({Url("a"), Url("a"), Secret("a")}) == 2
