"""What a tool may declare, and be called with: all else is refused before anything runs."""

from __future__ import annotations

from typing import Any

import pytest

from cascada import Cache
from cascada.ai import Tools
from cascada.model.errors import BadInput
from tests.ai.bank import Bank


def some(account: str, *rest: int, **more: int) -> int:
    return 1


async def some_async(account: str) -> int:
    return 1


def generator() -> Any:
    yield 1


WRONG: dict[str, tuple[Any, str]] = {
    "no such argument": (lambda t: t.reads(("a", "{acount}"))(some_async), "account"),
    "an attribute": (lambda t: t.reads(("a", "{account.id}"))(some), "which are: account"),
    "a format": (lambda t: t.reads(("a", "{account:>3}"))(some), "nothing else"),
    "a conversion": (lambda t: t.reads(("a", "{account!r}"))(some), "nothing else"),
    "no name": (lambda t: t.reads(("a", "{}"))(some), "which are"),
    "an open brace": (lambda t: t.reads(("a", "{account"))(some), "'{account'"),
    "a str": (lambda t: t.reads("account:{account}")(some), "a type and an id"),
    "a list of pairs": (lambda t: t.reads([("a", "1"), ("b", "2")])(some), "type of what it reads"),
    "one pair": (lambda t: t.add(some, reads=("a", "1")), "a type and an id"),
    "no pair": (lambda t: t.reads(("a", "1", "2"))(some), "a type and an id"),
    "a number": (lambda t: t.writes(3)(some), "a type and an id"),
    "no id": (lambda t: t.writes(("a", None))(some), "id of what it writes"),
    "an empty id": (lambda t: t.writes(("a", ""))(some), "id of what it writes"),
    "an async function of names": (lambda t: t.writes(some_async)(some), "async function"),
    "the bare decorator": (lambda t: t.reads(some)("a1"), "function"),
    "no function": (lambda t: t.add(3), "function is 3"),
    "a generator": (lambda t: t.add(generator), "return a list"),
    "a lambda without a name": (lambda t: t.add(lambda: 1), "pass name="),
    "a name that is none": (lambda t: t.add(some, name=3), "name is"),
    "an empty name": (lambda t: t.add(some, name=" "), "name is"),
    "a ttl": (lambda t: t.reads(ttl=-1)(some), "ttl"),
    "what to ignore": (lambda t: t.reads(ignore="account")(some), "ignore"),
    "what is not taken": (lambda t: t.reads(ignore=["session"])(some), "session"),
    "a name that is taken": (lambda t: t.add(some_async, name="some"), "called some already"),
    "a class method": (lambda t: t.add(classmethod(some)), "classmethod"),
    "data_type": (lambda t: Tools(Cache(), data_type=""), "data_type"),
    "a tenant": (lambda t: Tools(Cache(), tenant=""), "tenant"),
    "a table's ttl": (lambda t: Tools(Cache(), ttl=0), "ttl"),
    "no cache": (lambda t: Tools("redis://x"), "a Cache"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_declaration_is_refused(name: str) -> None:
    declare, says = WRONG[name]
    tools = Tools(Cache())
    tools.add(some)
    with pytest.raises(BadInput, match=says):
        declare(tools)
    assert [*tools] == ["some"]


CALLS: dict[str, tuple[Any, Any, str]] = {
    "no such tool": ("transfers", {}, "balance"),
    "no name": (None, {}, "there is no tool called None"),
    "no argument": ("balance", {}, "missing a required argument: 'account'"),
    "nothing": ("balance", None, "missing a required argument"),
    "blank": ("balance", " ", "missing a required argument"),
    "another argument": ("balance", {"account": "a1", "x": 1}, "unexpected keyword argument 'x'"),
    "no JSON": ("balance", "{'account': 'a1'}", "is no JSON"),
    "bytes that are none": ("balance", b"\xff", "is no JSON"),
    "deep JSON": ("balance", "[" * 100_000, "is no JSON"),
    "a list": ("balance", '["a1"]', "pass a dict of its arguments"),
    "a number": ("balance", "3", "pass a dict"),
    "an object": ("balance", object(), "pass a dict"),
    "names that are none": ("balance", {1: "a1"}, "a name in what balance"),
    "an empty id": ("balance", {"account": ""}, "account is"),
    "a bool": ("balance", {"account": True}, "account is True"),
    "a list of ids": ("balance", {"account": ["a1"]}, "account is"),
    "a surrogate": ("balance", '{"account": "\\ud800"}', "surrogate"),
    "a long id": ("balance", {"account": "x" * 2000}, "2000 characters"),
    "a write of no id": ("deposit", {"account": 1.5, "amount": 1}, "account is"),
    "an argument that is no data": ("balance", {"account": "a1", "currency": object()}, "currency"),
}


@pytest.mark.parametrize("name", CALLS)
async def test_a_wrong_call_is_refused_and_nothing_runs(name: str) -> None:
    tool, given, says = CALLS[name]
    async with Cache() as cache:
        bank = Bank(cache)
        with pytest.raises(BadInput, match=says):
            await bank.tools.call(tool, given)
        assert not bank.ran
        assert tool not in bank.tools or tool in ("balance", "deposit")
