"""The id of a call: equal for calls that ask for the same, and for no others."""

from __future__ import annotations

import base64
import inspect
import json
import random
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from cascada import Cache, CascadaError
from cascada.ai import request_id
from cascada.ai.parameters import ENVELOPE, IDENTITY, MERGED, NEVER
from cascada.model.errors import BadInput
from tests.ai.pairs import HELLO, OTHER, SAME, Request
from tests.properties.budget import FACTOR

GOLDEN = ["m1-f0cc0d51a1712ac996fd756a98905726", "m1-d772f5efa43b22749856f90bfec2031f"]


def of(name: str, request: Request) -> str:
    provider = name.rpartition(", ")[2]
    return request_id(provider if provider in ("openai", "anthropic") else None, **request)


@pytest.mark.parametrize("name", SAME)
def test_they_are_one(name: str) -> None:
    one, other = SAME[name]
    assert of(name, one) == of(name, other)


@pytest.mark.parametrize("name", OTHER)
def test_they_are_two(name: str) -> None:
    one, other = OTHER[name]
    assert of(name, one) != of(name, other)


def test_there_are_a_hundred() -> None:
    assert len(SAME) + len(OTHER) >= 100
    assert not SAME.keys() & OTHER.keys()


def test_no_two_of_the_table_clash() -> None:
    """Across all rows: what is not said to be the same has another id."""
    seen: dict[str, set[str]] = {}
    for name, (one, other) in OTHER.items():
        for each in (one, other):
            seen.setdefault(of(name, each), set()).add(repr(sorted(each.items(), key=str)))
    assert all(len(requests) == 1 for requests in seen.values())


# --- at random ------------------------------------------------------------------------------------

WORDS = ["", "a", "b", "ab", "hello", "1", "true", "null", "é", "🙂", "data:,x", "\ud800", "#0"]
NAMES = [word for word in WORDS if word != "\ud800"]


def anything(dice: random.Random, deep: int = 2) -> Any:
    kind = dice.randrange(8 if deep else 6)
    if kind == 6:
        return [anything(dice, deep - 1) for _ in range(dice.randrange(3))]
    if kind == 7:
        return {dice.choice(NAMES): anything(dice, deep - 1) for _ in range(dice.randrange(3))}
    plain = (dice.choice(WORDS), dice.randrange(-2, 3), dice.random(), None, True, False)
    return plain[kind]


def messages(dice: random.Random) -> list[Any]:
    found: list[Any] = []
    for step in range(dice.randrange(1, 5)):
        kind = dice.randrange(3)
        if kind == 0:
            found.append({"role": dice.choice(["user", "system"]), "content": dice.choice(WORDS)})
        elif kind == 1:
            parts = [{"type": "text", "text": dice.choice(WORDS)} for _ in range(dice.randrange(3))]
            found.append({"role": "user", "content": parts})
        else:
            ids = [f"call_{step}_{n}" for n in range(dice.randrange(1, 3))]
            calls = [
                {
                    "id": each,
                    "type": "function",
                    "function": {"name": dice.choice("fg"), "arguments": dice.choice(WORDS)},
                }
                for each in ids
            ]
            found.append({"role": "assistant", "content": None, "tool_calls": calls})
            dice.shuffle(ids)
            found += [
                {"role": "tool", "tool_call_id": each, "content": dice.choice(WORDS)}
                for each in ids
            ]
    return found


def some_request(dice: random.Random) -> Request:
    request: Request = {"model": dice.choice("mn"), "messages": messages(dice)}
    if dice.random() < 0.5:
        names = dice.sample("abcd", dice.randrange(1, 4))
        request["tools"] = [
            {"type": "function", "function": {"name": each, "parameters": anything(dice)}}
            for each in sorted(names)
        ]
    for name in dice.sample(["seed", "temperature", "top_p", "stop", "new_one"], 2):
        request[name] = anything(dice)
    return request


def shuffled(dice: random.Random, value: Any, renamed: dict[str, str]) -> Any:
    """The same with other orders of keys, and other ids of calls."""
    if isinstance(value, dict):
        keys = list(value)
        dice.shuffle(keys)
        return {key: shuffled(dice, value[key], renamed) for key in keys}
    if isinstance(value, list):
        return [shuffled(dice, each, renamed) for each in value]
    if isinstance(value, str) and value.startswith("call_"):
        return renamed.setdefault(value, f"call-{dice.random()}")
    return value


def test_thousands_at_random_neither_clash_nor_move() -> None:
    dice, count = random.Random(7), 2_000 * FACTOR
    texts: dict[str, str] = {}
    for _ in range(count):
        request = some_request(dice)
        found = request_id(**request)
        moved = shuffled(dice, request, {})
        if "tools" in moved:
            dice.shuffle(moved["tools"])
        moved |= {"user": dice.choice(WORDS), "metadata": {"n": dice.choice(WORDS)}}
        assert request_id(**moved) == found, request
        text = json.dumps(request, sort_keys=True)
        assert texts.setdefault(found, text) == text
    assert len(texts) == len(set(texts.values())) > 0.75 * count


# --- the SDKs -------------------------------------------------------------------------------------


def parameters() -> dict[str, set[str]]:
    """Where each parameter of a call to a model is named, in the SDKs that are installed."""
    of_openai, of_anthropic = openai.OpenAI(api_key="k"), anthropic.Anthropic(api_key="k")
    resources = [
        of_openai.chat.completions, of_openai.completions, of_openai.embeddings,
        of_openai.responses, of_openai.beta.responses,
        of_anthropic.messages, of_anthropic.beta.messages,
    ]  # fmt: skip
    found: dict[str, set[str]] = {}
    for resource in resources:
        for name in ("create", "parse", "stream"):
            if (method := getattr(resource, name, None)) is not None:
                for each in inspect.signature(method).parameters:
                    found.setdefault(each, set()).add(f"{type(resource).__qualname__}.{name}")
    return found


def test_every_parameter_of_the_sdks_is_classed() -> None:
    known = IDENTITY | ENVELOPE | NEVER | MERGED
    found = parameters()
    assert {name: found[name] for name in found.keys() - known} == {}
    assert len(found) > 60
    assert known - found.keys() <= {"temperature", "top_k"}, "gone from the SDKs"


def test_a_parameter_is_of_one_class() -> None:
    classes = [IDENTITY, ENVELOPE, NEVER, MERGED]
    assert sum(map(len, classes)) == len(frozenset[str]().union(*classes))


@pytest.mark.parametrize("name", sorted(IDENTITY - {"model"}))
def test_identity_keeps_apart(name: str) -> None:
    request: Request = {"model": "m", "messages": HELLO}
    assert request_id(**request | {name: "x"}) != request_id(**request | {name: "y"})


@pytest.mark.parametrize("name", sorted(ENVELOPE))
def test_the_envelope_does_not(name: str) -> None:
    request: Request = {"model": "m", "messages": HELLO}
    assert request_id(**request | {name: object()}) == request_id(**request)


@pytest.mark.parametrize("name", sorted(NEVER))
def test_what_begins_something_has_no_id(name: str) -> None:
    with pytest.raises(CascadaError, match=f"{name} begins or changes something"):
        request_id(model="m", messages=HELLO, **{name: {"id": "x"}})


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "mcp", "server_label": "x", "server_url": "https://x"},
        {"type": "code_interpreter", "container": {"type": "auto"}},
        {"type": "code_interpreter", "container": "cntr_1"},
    ],
)
def test_a_tool_that_acts_at_the_provider_has_none_either(tool: Request) -> None:
    with pytest.raises(BadInput, match=f"{tool['type']}' begins or changes something"):
        request_id(model="m", input="x", tools=[tool])


# --- what is no request ---------------------------------------------------------------------------


def itself() -> Any:
    found: list[Any] = []
    found.append(found)
    return found


class Angry(dict[str, Any]):
    def items(self) -> Any:
        raise RuntimeError("no")


REFUSED: dict[str, Request] = {
    "nothing": {},
    "no model": {"messages": HELLO},
    "an empty model": {"model": " ", "messages": HELLO},
    "a model that is none": {"model": 3, "messages": HELLO},
    "no question": {"model": "m"},
    "a generator of messages": {"model": "m", "messages": (each for each in HELLO)},
    "a set": {"model": "m", "messages": HELLO, "stop": {"a"}},
    "nan": {"model": "m", "messages": HELLO, "temperature": float("nan")},
    "inf": {"model": "m", "messages": HELLO, "temperature": float("inf")},
    "a path": {"model": "m", "messages": [{"role": "user", "content": Path("a.png")}]},
    "an open file": {"model": "m", "messages": [{"role": "user", "content": BytesIO(b"x")}]},
    "a function": {"model": "m", "messages": HELLO, "tools": [print]},
    "a key that is none": {"model": "m", "messages": HELLO, "logit_bias": {(1,): 2}},
    "a key twice": {"model": "m", "messages": HELLO, "logit_bias": {1: 2, "1": 3}},
    "itself": {"model": "m", "messages": itself()},
    "itself in a tool": {"model": "m", "messages": HELLO, "tools": itself()},
    "extra_body of no dict": {"model": "m", "messages": HELLO, "extra_body": [1]},
    "extra_body of no names": {"model": "m", "messages": HELLO, "extra_body": {1: 2}},
    "a dict that raises": {"model": "m", "messages": [Angry(role="user")]},
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_told_apart_is_refused(name: str) -> None:
    with pytest.raises(BadInput):
        request_id(**REFUSED[name])


@pytest.mark.parametrize("provider", ["", "OpenAI", "mistral", 3, b"openai"])
def test_a_provider_is_one_of_those_whose_defaults_are_known(provider: Any) -> None:
    with pytest.raises(BadInput, match="openai, anthropic"):
        request_id(provider, model="m", messages=HELLO)


def test_the_request_is_left_as_it_was() -> None:
    request: Request = {"model": "m", "messages": [*HELLO], "tools": [{"b": 1}, {"a": 1}]}
    before = json.dumps(request)
    request_id("openai", **request, extra_body={"x": 1})
    assert json.dumps(request) == before


def test_ids_are_frozen() -> None:
    """Whoever sees this fail changes VERSION: the answers of the old ids are asked for anew."""
    assert request_id(model="m", messages=HELLO) == GOLDEN[0]
    assert request_id("openai", model="m", messages=HELLO, n=2) == GOLDEN[1]


def test_a_large_request_takes_no_longer_than_its_bytes() -> None:
    image = base64.b64encode(bytes(8 * 2**20)).decode()
    url = f"data:image/png;base64,{image}"
    content = [{"type": "image_url", "image_url": {"url": url}}]
    started = time.process_time()
    request_id(model="m", messages=[{"role": "user", "content": content}])
    request_id(model="e", input=list(range(100_000)))
    assert time.process_time() - started < 2


async def test_it_is_the_id_of_a_value() -> None:
    async with Cache() as cache:
        acme = cache.tenant("acme")
        found = request_id(model="m", messages=HELLO)
        assert (await acme.load("agent_response", found, lambda: "hi")).value == "hi"
