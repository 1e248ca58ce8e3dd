"""LangChain's cache: what is the same call, and that nothing is made of what is stored."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from langchain_core.load import dumps
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.prompts import PromptTemplate

from cascada import Cache
from cascada.integrations.langchain import DATA_TYPE, CascadaCache
from cascada.testing.inside import inside
from tests.integrations.chat import Chat


def prompt(*messages: Any) -> str:
    return dumps(list(messages))


def step(called: str, **said_of_it: Any) -> str:
    """What an agent asks after a tool has answered."""
    call = {"name": "look", "args": {"id": "call_1"}, "id": called, "type": "tool_call"}
    return prompt(
        HumanMessage("hi"),
        AIMessage(content=[{"type": "tool_use", "id": called}], tool_calls=[call], **said_of_it),
        ToolMessage("found", tool_call_id=called),
    )


SAME = {
    "ids of tool calls": (step("call_1"), step("call_2")),
    "what a provider says of an answer": (
        step("c", id="run-1", response_metadata={"id": "chatcmpl-1"}),
        step("c", id="run-2", response_metadata={"id": "chatcmpl-2"}),
    ),
    "what a kept answer costs": (
        step("c", usage_metadata={"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}),
        step("c"),
    ),
}
OTHER = {
    "text": (prompt(HumanMessage("a")), prompt(HumanMessage("b"))),
    "who says it": (prompt(HumanMessage("a")), prompt(SystemMessage("a"))),
    "order": (
        prompt(HumanMessage("a"), HumanMessage("b")),
        prompt(HumanMessage("b"), HumanMessage("a")),
    ),
    "a tool's arguments": (step("c"), step("c").replace('"call_1"', '"call_2"')),
    "plain prompts": ("a", "b"),
    "a text like an id": (
        prompt(HumanMessage("call_1"), *[]),
        prompt(HumanMessage("call_2"), *[]),
    ),
    "a dict of the caller's own that looks like a message": (
        prompt(HumanMessage([{"lc": 1, "kwargs": {"id": "1"}}])),
        prompt(HumanMessage([{"lc": 1, "kwargs": {"id": "2"}}])),
    ),
    "what is no JSON": ("[1", "[2"),
    "lone surrogates": ("\ud800", "\ud801"),
    "depth": ("[" * 100_000, "[" * 100_001),
}


@pytest.mark.parametrize(("one", "other"), SAME.values(), ids=SAME)
def test_the_same_call(one: str, other: str) -> None:
    of_langchain = CascadaCache(Cache(), tenant="acme")
    of_langchain.update(one, "l", [Generation(text="a")])
    assert of_langchain.lookup(other, "l") == [Generation(text="a")]
    assert of_langchain.lookup(other, "m") is None


@pytest.mark.parametrize(("one", "other"), OTHER.values(), ids=OTHER)
def test_another_call(one: str, other: str) -> None:
    of_langchain = CascadaCache(Cache(), tenant="acme")
    of_langchain.update(one, "l", [Generation(text="a")])
    assert of_langchain.lookup(one, "l") == [Generation(text="a")]
    assert of_langchain.lookup(other, "l") is None


def test_what_a_provider_goes_on_from_is_another_call() -> None:
    of_langchain = CascadaCache(Cache(), tenant="acme")
    one, other = SAME["what a provider says of an answer"]
    of_langchain.update(one, "use_previous_response_id=True", [Generation(text="a")])
    assert of_langchain.lookup(other, "use_previous_response_id=True") is None


def test_ids_are_the_same_for_ever() -> None:
    """All that is kept is found under them: whoever changes one changes VERSION, too."""
    one = json.dumps([{
        "lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", "HumanMessage"],
        "kwargs": {"content": "hi", "type": "human"},
    }])  # fmt: skip
    assert id_of(one, "[('model', 'm')]") == "c1-fa1d2527d727285e2b607a6d3f366081"
    assert id_of("plain", "l") == "c1-9808887b10abac5fabd614075856f73e"


def id_of(prompt: str, llm_string: str) -> str:
    cache = Cache()
    CascadaCache(cache, tenant="acme").update(prompt, llm_string, [Generation(text="a")])
    (record,) = inside(cache).memory.records
    return record.resource_id


def test_prompt_and_model_are_not_one_text() -> None:
    of_langchain = CascadaCache(Cache(), tenant="acme")
    of_langchain.update("ab", "c", [Generation(text="a")])
    assert of_langchain.lookup("a", "bc") is None


def test_what_is_named_by_its_address_is_nothing_that_can_be_kept() -> None:
    of_langchain = CascadaCache(Cache(), tenant="acme")
    said = "[('tools', <function look at 0x7f3a5c1d2e50>)]"
    of_langchain.update("p", said, [Generation(text="a")])
    assert of_langchain.lookup("p", said) is None


async def test_keys_hold_no_secret(cache: Cache) -> None:
    chat = Chat(cache=CascadaCache(cache, tenant="acme"))
    secret = "sk-" + 20 * "7"
    await chat.bind(api_key=secret).ainvoke(f"my key is {secret}")
    (record,) = inside(cache).memory.records
    assert record.partition.prefix[1] == DATA_TYPE
    assert secret not in record.resource_id + str(record.names)


# --- what is stored is never made into anything else --------------------------------------------


def written(module: str, name: str, **how: Any) -> str:
    identity = [*module.split("."), name]
    return json.dumps({"lc": 1, "type": "constructor", "id": identity, "kwargs": how})


EVAL = written("builtins", "eval", source="1")
GENERATION = written("langchain.schema.output", "Generation", text="a", generation_info={"x": 0})
TRAPS = {
    "a class of LangChain": written("langchain_core.prompts.prompt", "PromptTemplate", template=""),
    "a class of Python": written("subprocess", "Popen", args=["true"]),
    "inside an answer": GENERATION.replace("0", EVAL),
    "a secret of the environment": json.dumps({"lc": 1, "type": "secret", "id": ["PATH"]}),
    "no answer": json.dumps({"a": 1}),
    "a message": dumps(AIMessage("a")),
    "no JSON": "x",
    "deep": "[" * 5000 + "]" * 5000,
}


@pytest.mark.parametrize("stored", TRAPS.values(), ids=TRAPS)
async def test_nothing_else_is_made_of_what_is_stored(
    cache: Cache, stored: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []
    monkeypatch.setattr(PromptTemplate, "__init__", lambda self, **how: made.append(how))
    monkeypatch.setattr(subprocess.Popen, "__init__", lambda self, **how: made.append(how))
    of_langchain = CascadaCache(cache, tenant="acme")
    await of_langchain.aupdate("p", "l", [ChatGeneration(message=AIMessage("good"))])
    (record,) = inside(cache).memory.records
    await cache.tenant("acme").set(DATA_TYPE, record.resource_id, [stored])
    assert await of_langchain.alookup("p", "l") is None
    assert made == []
    await cache.tenant("acme").set(DATA_TYPE, record.resource_id, {"not": "a list"})
    assert await of_langchain.alookup("p", "l") is None


def test_nothing_is_pickled() -> None:
    import cascada.integrations.asked
    import cascada.integrations.langchain
    import cascada.integrations.langgraph

    for module in (
        cascada.integrations.asked,
        cascada.integrations.langchain,
        cascada.integrations.langgraph,
    ):
        assert not hasattr(module, "pickle")
