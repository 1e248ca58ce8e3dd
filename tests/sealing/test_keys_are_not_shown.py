"""Keys of operators and of tenants: in no sentence, `repr`, pickle, log or frame of an error."""

from __future__ import annotations

import asyncio
import base64
import copy
import logging
import os
import pickle
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cascada import Cache, Policy
from cascada.api.settings import cache_arguments
from cascada.codecs.sealing import DataKey
from cascada.model.errors import BadInput, CascadaError, MissingExtra
from cascada.testing.inside import inside
from tests.sealing.conftest import KEYS, key_of

KEY = base64.b64encode(bytes(range(100, 132))).decode()  # has "+" and "/" of neither alphabet
OTHER = base64.b64encode(bytes(range(200, 232))).decode()
URLSAFE = base64.urlsafe_b64encode(b"\xfb\xff" * 16).decode()

BAD = {
    "no id": KEY,
    "an empty id": f":{KEY}",
    "an id of spaces": f"  :{KEY}",
    "the id behind": f"{KEY}:a",
    "a key as the id": f"{KEY}:{OTHER}",
    "a key as the id, twice": f"{KEY}:{OTHER},{KEY}:{OTHER}",
    "one id twice": f"a:{KEY},a:{OTHER}",
    "one id twice, with spaces": f"a:{KEY}, a :{OTHER}",
    "an odd id": f"ä:{KEY}",
    "an id with a line": f"a\nb:{KEY}",
    "a comma too many": f"a:{KEY},",
    "only a comma": ",",
    "two colons": f"a:b:{KEY}",
    "too short": f"a:{KEY[:-6]}",
    "too long": f"a:{KEY[:-1]}AAAA",
    "16 bytes": "a:" + base64.b64encode(bytes(16)).decode(),
    "hexadecimal": "a:" + bytes(range(100, 132)).hex(),
    "spaces within": f"a:{KEY[:9]} {KEY[9:]}",
    "strange letters within": f"a:{URLSAFE[:9]}!!{URLSAFE[9:]}",
    "quoted": f"a:'{KEY}'",
    "quoted as a whole": f'"a:{KEY}"',
    "huge": f"a:{KEY * 100_000}",
    "many, and one bad": ",".join([f"k{n}:{KEY}" for n in range(500)] + [f"z:{KEY}x"]),
    "letters of another script": f"a:{KEY[:-4]}\uff45\uff45\uff45=",
}
GOOD = (
    f"a:{KEY}", f" a : {KEY} , b:{OTHER}\n", f"a:{URLSAFE}", f"a:{KEY.rstrip('=')}",
    f"2026-11 blue/green:{KEY}",
)  # fmt: skip


def pieces(text: str) -> list[str]:
    return [key[at : at + 12] for key in (KEY, OTHER, URLSAFE) for at in range(0, 32, 4)] + [
        repr(bytes(range(100, 110)))[2:-1], bytes(range(100, 110)).hex(),
    ]  # fmt: skip


def see_nothing_of_a_key(error: BaseException) -> None:
    """As whoever reports it with all that cascada's frames hold."""
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    own = [each for each in told.stack if "/src/cascada/" in each.filename]
    said = str(error) + "".join(str(each.locals) for each in own)
    assert own
    assert not [piece for piece in pieces(KEY) if piece in said]


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_key_is_refused_and_not_shown(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BadInput, match="encryption_keys") as refused:
        Cache(encryption_keys=BAD[name])
    see_nothing_of_a_key(refused.value)
    assert len(str(refused.value)) < 300
    monkeypatch.setenv("CACHE_ENCRYPTION_KEYS", BAD[name])
    with pytest.raises(CascadaError, match="CACHE_ENCRYPTION_KEYS") as refused_there:
        cache_arguments()
    see_nothing_of_a_key(refused_there.value)


@pytest.mark.parametrize("keys", GOOD)
def test_what_can_be_read_is_taken(keys: str) -> None:
    Cache(encryption_keys=keys)


@pytest.mark.parametrize("odd", [b"a:x", 7, ["a"], {"a": KEY}, float("nan"), True, object()])
def test_what_is_no_text_is_refused(odd: Any) -> None:
    with pytest.raises(BadInput, match="encryption_keys"):
        Cache(encryption_keys=odd)


def test_without_the_library_it_says_so_and_shows_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(MissingExtra, match=r"cascada\[encryption\]") as refused:
        Cache(database=str(tmp_path / "x.db"), encryption_keys=f"a:{KEY}", encrypt="all")
    see_nothing_of_a_key(refused.value)


async def test_nothing_that_holds_a_key_shows_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with Cache(
        database=str(tmp_path / "cache.db"), encryption_keys=f"a:{KEY},b:{OTHER}", encrypt="all"
    ) as cache:
        t = cache.tenant("acme")
        assert await t.set("doc", "1", "value")
        await cache.rotate_keys()
        sealing = inside(cache).stack.lower[-1].sealing
        assert sealing is not None
        ring, data_key = sealing.ring, DataKey.new()
        shown: list[object] = [
            cache, cache.options, cache.options.said, ring, data_key, sealing, vars(sealing),
            inside(cache).stack.lower[-1], Policy(sensitive=True), copy.copy(cache.options),
            copy.deepcopy(cache.options), await t.explain("doc", "1"), await cache.stats(),
        ]  # fmt: skip
        said = "".join(f"{each!r}{each!s}" for each in shown) + caplog.text
        assert not [piece for piece in pieces(KEY) if piece in said]
        calls: tuple[Callable[[Any], Any], ...] = (pickle.dumps, copy.copy, copy.deepcopy)
        for held in (ring, data_key):
            for call in calls:
                with pytest.raises(TypeError):
                    call(held)
        for whole in (cache, cache.options, cache.options.encryption_keys):
            with pytest.raises(TypeError):
                pickle.dumps(whole)


def test_a_forked_child_reads_and_writes_what_its_parent_has_sealed(tmp_path: Path) -> None:
    """Keys are loaded, and used, before the fork."""
    path = str(tmp_path / "cache.db")
    cache = Cache(database=path, encryption_keys=KEYS, encrypt="all")

    async def before() -> None:
        assert await cache.tenant("acme").set("doc", "1", "of the parent")
        await cache.reset()

    async def child() -> None:
        t = cache.tenant("acme")
        assert (await t.get("doc", "1")).value == "of the parent"
        assert await t.set("doc", "2", "of the child")
        await cache.aclose()

    async def after() -> None:
        async with Cache(database=path, encryption_keys=KEYS, encrypt="all") as other:
            assert (await other.tenant("acme").get("doc", "2")).value == "of the child"

    asyncio.run(before())
    if (pid := os.fork()) == 0:
        status = 1
        try:
            asyncio.run(child())
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    asyncio.run(after())
    assert key_of(1) not in repr(cache)
