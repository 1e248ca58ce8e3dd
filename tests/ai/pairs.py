"""A hundred pairs of requests: what they differ in, and whether they ask for the same.

Each is a change of an ordinary request; `SAME` and `OTHER` hold the two sides as they are passed.
A pair whose name ends in a provider is asked of that provider, whose documented defaults count.
"""

from __future__ import annotations

import base64
from enum import StrEnum
from typing import Any

import numpy
from openai import NOT_GIVEN, omit
from openai.types.chat import ChatCompletionMessage
from pydantic import BaseModel

Request = dict[str, Any]
Pairs = dict[str, tuple[Request, Request]]


class Model(StrEnum):
    SMALL = "m"


class Verdict(BaseModel):
    good: bool


class Verdict2(BaseModel):
    good: int


PNG = bytes(range(256)) * 3
B64 = base64.b64encode(PNG).decode()
HELLO = [{"role": "user", "content": "hello"}]


def ask(**more: Any) -> Request:
    return {"model": "m", "messages": HELLO, **more}


def said(*messages: Any, **more: Any) -> Request:
    return {"model": "m", "messages": [*HELLO, *messages], **more}


def tool(name: str, **more: Any) -> Request:
    return {"type": "function", "function": {"name": name, "parameters": more}}


def called(*ids: str, arguments: str = "{}") -> Request:
    calls = [
        {"id": each, "type": "function", "function": {"name": f"f{n}", "arguments": arguments}}
        for n, each in enumerate(ids)
    ]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def result(of: str, text: str = "42") -> Request:
    return {"role": "tool", "tool_call_id": of, "content": text}


def block(*content: Any, role: str = "user") -> Request:
    return {"model": "m", "messages": [{"role": role, "content": list(content)}]}


def text(of: str, **more: Any) -> Request:
    return {"type": "text", "text": of, **more}


def picture(url: str, **more: Any) -> Request:
    return block({"type": "image_url", "image_url": {"url": url, **more}})


def source(data: str, media: str = "image/png") -> Request:
    whole = {"type": "base64", "media_type": media, "data": data}
    return block({"type": "image", "source": whole})


def document(data: str) -> Request:
    plain = {"type": "text", "media_type": "text/plain", "data": data}
    return block({"type": "document", "source": plain})


def sound(data: str, kind: str = "wav") -> Request:
    return block({"type": "input_audio", "input_audio": {"data": data, "format": kind}})


def use(of: str, **arguments: Any) -> Request:
    return {"type": "tool_use", "id": of, "name": "f", "input": arguments}


def used(of: str, content: Any = "42") -> Request:
    return {"type": "tool_result", "tool_use_id": of, "content": content}


def steps(*blocks: Any) -> Request:
    return {
        "model": "m",
        "max_tokens": 9,
        "messages": [
            {"role": "assistant" if one["type"] == "tool_use" else "user", "content": [one]}
            for one in blocks
        ],
    }


def items(*each: Any, **more: Any) -> Request:
    return {"model": "m", "input": list(each), **more}


def function_call(of: str, item: str = "fc_1") -> Request:
    return {"type": "function_call", "id": item, "call_id": of, "name": "f", "arguments": "{}"}


def output(of: str, text: str = "42") -> Request:
    return {"type": "function_call_output", "call_id": of, "output": text}


def backwards(request: Request) -> Request:
    return dict(reversed(request.items()))


MESSAGE = ChatCompletionMessage(role="assistant", content="hi")
CACHED = {"cache_control": {"type": "ephemeral"}}
A, B = tool("a", x={"type": "string"}, y={"type": "number"}), tool("b")
SCHEMA = {"type": "object", "properties": {"cache_control": {"type": "string"}}}

SAME: Pairs = {
    "the same": (ask(), ask()),
    "order of keys": (ask(n=2, seed=1), backwards(ask(n=2, seed=1))),
    "order of keys in a message": (ask(), {"model": "m", "messages": [backwards(HELLO[0])]}),
    "order of keys in a schema": (
        ask(tools=[tool("a", x={"a": 1, "b": 2})]),
        ask(tools=[tool("a", x={"b": 2, "a": 1})]),
    ),
    "order of tools": (ask(tools=[A, B]), ask(tools=[B, A])),
    "order of functions": (ask(functions=[A, B]), ask(functions=[B, A])),
    "a tuple for a list": (ask(), {"model": "m", "messages": tuple(HELLO)}),
    "user": (ask(user="ann"), ask(user="bob")),
    "no user": (ask(user="ann"), ask()),
    "metadata": (ask(metadata={"run": "1"}), ask(metadata={"run": "2"})),
    "safety_identifier": (ask(safety_identifier="x"), ask()),
    "user_profile_id": (ask(user_profile_id="x"), ask()),
    "service_tier": (ask(service_tier="flex"), ask(service_tier="priority")),
    "prompt_cache_key": (ask(prompt_cache_key="x"), ask()),
    "prompt_cache_retention": (ask(prompt_cache_retention="24h"), ask()),
    "stream": (ask(stream=True), ask()),
    "stream_options": (ask(stream=True, stream_options={"include_usage": True}), ask()),
    "timeout": (ask(timeout=3), ask(timeout=4.5)),
    "extra_headers": (ask(extra_headers={"x-trace": "1"}), ask()),
    "extra_body says it": (ask(extra_body={"top_k": 3}), ask(top_k=3)),
    "extra_body says it last": (
        ask(temperature=1, extra_body={"temperature": 0}),
        ask(temperature=0),
    ),
    "empty extra_body": (ask(extra_body={}), ask(extra_body=None)),
    "not given": (ask(temperature=NOT_GIVEN), ask()),
    "omitted": (ask(temperature=omit), ask()),
    "an enum of str": (ask(), {"model": Model.SMALL, "messages": HELLO}),
    "an int for a float": (ask(temperature=1), ask(temperature=1.0)),
    "NumPy's float": (ask(temperature=0.5), ask(temperature=numpy.float64(0.5))),
    "NumPy's int": (ask(seed=7), ask(seed=numpy.int64(7))),
    "minus zero": (ask(temperature=0), ask(temperature=-0.0)),
    "an int as key": (ask(logit_bias={50256: -100}), ask(logit_bias={"50256": -100})),
    "background=False": (ask(background=False), ask()),
    "no conversation": (ask(conversation=None), ask()),
    "ids of a call": (said(called("c1"), result("c1")), said(called("xyz"), result("xyz"))),
    "ids of two calls": (
        said(called("c1", "c2"), result("c1"), result("c2")),
        said(called("c2", "c1"), result("c2"), result("c1")),
    ),
    "ids of two steps": (
        said(called("c1"), result("c1"), called("c2"), result("c2")),
        said(called("q"), result("q"), called("p"), result("p")),
    ),
    "ids of Anthropic's": (steps(use("t1"), used("t1")), steps(use("t9"), used("t9"))),
    "ids of responses": (
        items(function_call("c1", "fc_1"), output("c1")),
        items(function_call("c2", "fc_2"), output("c2")),
    ),
    "the id of a message": (
        items({"type": "message", "id": "msg_1", "role": "assistant", "content": "x"}),
        items({"type": "message", "id": "msg_2", "role": "assistant", "content": "x"}),
    ),
    "an SDK's message": (said(MESSAGE), said({"role": "assistant", "content": "hi"})),
    "base64 in lines": (
        picture(f"data:image/png;base64,{B64}"),
        picture(f"data:image/png;base64,{base64.encodebytes(PNG).decode()}"),
    ),
    "case of a data URL": (
        picture(f"data:image/png;base64,{B64}"),
        picture(f"DATA:image/PNG;BASE64,{B64}"),
    ),
    "Anthropic's base64 in lines": (source(B64), source(base64.encodebytes(PNG).decode())),
    "a sound in lines": (sound(B64), sound(base64.encodebytes(PNG).decode())),
    "cache_control of a block": (block(text("x", **CACHED)), block(text("x"))),
    "cache_control of a tool": (ask(tools=[{**B, **CACHED}]), ask(tools=[B])),
    "cache_control of all": (ask(**CACHED), ask()),
    "the temperature's default, openai": (ask(temperature=1), ask()),
    "n=1, openai": (ask(n=1), ask()),
    "None for what may be null, openai": (ask(stop=None, temperature=None), ask()),
    "one stop, openai": (ask(stop="x"), ask(stop=["x"])),
    "tool_choice with tools, openai": (ask(tools=[B], tool_choice="auto"), ask(tools=[B])),
    "tool_choice without tools, openai": (ask(tool_choice="none"), ask()),
    "text is the format, openai": (ask(response_format={"type": "text"}), ask()),
    "store of a chat, openai": (ask(store=False), ask()),
    "store of a response, openai": (items(store=True), items()),
    "floats of an embedding, openai": (
        {"model": "e", "input": "x", "encoding_format": "float"},
        {"model": "e", "input": "x"},
    ),
    "no name, openai": (
        said({"role": "user", "content": "x", "name": None}),
        said({"role": "user", "content": "x"}),
    ),
    "a string for a block, anthropic": (ask(), block(text("hello"))),
    "a string for a system, anthropic": (ask(system="be kind"), ask(system=[text("be kind")])),
    "tool_choice with tools, anthropic": (
        ask(tools=[B], tool_choice={"type": "auto"}),
        ask(tools=[B]),
    ),
    "no stop_sequences, anthropic": (ask(stop_sequences=[]), ask()),
}  # fmt: skip

OTHER: Pairs = {
    "model": (ask(), {"model": "m2", "messages": HELLO}),
    "text": (ask(), said({"role": "user", "content": "x"})),
    "case of a text": (block(text("Hello")), block(text("hello"))),
    "space in a text": (block(text("a b")), block(text("a  b"))),
    "Unicode's other form": (block(text("\u00e9")), block(text("e\u0301"))),
    "role": (block(text("x")), block(text("x"), role="assistant")),
    "order of messages": (said(MESSAGE, HELLO[0]), said(HELLO[0], MESSAGE)),
    "one text or two": (block(text("ab")), block(text("a"), text("b"))),
    "name": (
        said({"role": "user", "content": "x", "name": "ann"}),
        said({"role": "user", "content": "x", "name": "bob"}),
    ),
    "temperature": (ask(temperature=0), ask(temperature=0.1)),
    "True is not 1": (ask(logprobs=True), ask(logprobs=1)),
    "a number is not a text": (ask(seed=1), ask(seed="1")),
    "seed": (ask(seed=1), ask(seed=2)),
    "large seeds": (ask(seed=2**63 + 1), ask(seed=2**63 + 2)),
    "n": (ask(n=1), ask(n=2)),
    "max_tokens": (ask(max_tokens=10), ask(max_tokens=11)),
    "which limit": (ask(max_tokens=10), ask(max_completion_tokens=10)),
    "stop": (ask(stop=["a"]), ask(stop=["b"])),
    "reasoning_effort": (ask(reasoning_effort="low"), ask(reasoning_effort="high")),
    "thinking": (ask(thinking={"type": "disabled"}), ask()),
    "verbosity": (ask(verbosity="low"), ask(verbosity="high")),
    "a tool more": (ask(tools=[A]), ask(tools=[A, B])),
    "the same tool twice": (ask(tools=[B]), ask(tools=[B, B])),
    "a tool's description": (ask(tools=[tool("a", x=1)]), ask(tools=[tool("a", x=2)])),
    "a property called cache_control": (
        ask(tools=[tool("a", **SCHEMA)]),
        ask(tools=[tool("a", type="object", properties={})]),
    ),
    "tool_choice": (ask(tools=[A], tool_choice="auto"), ask(tools=[A], tool_choice="required")),
    "what a tool was called with": (
        said(called("c", arguments="{}")),
        said(called("c", arguments="[]")),
    ),
    "what a tool was called with, by id": (steps(use("t", id="x")), steps(use("t", id="y"))),
    "what a tool said": (said(called("c"), result("c", "1")), said(called("c"), result("c", "2"))),
    "whose result it is": (
        said(called("c1", "c2"), result("c1", "x"), result("c2", "y")),
        said(called("c1", "c2"), result("c2", "x"), result("c1", "y")),
    ),
    "a result of another call": (said(called("c"), result("c")), said(called("c"), result("d"))),
    "results of calls that only their ids name": (
        items(output("c1"), output("c2", "x"), previous_response_id="r"),
        items(output("c2"), output("c1", "x"), previous_response_id="r"),
    ),
    "a result of a call that is only referred to": (
        items({"type": "item_reference", "id": "fc_1"}, output("c1")),
        items({"type": "item_reference", "id": "fc_1"}, output("c2")),
    ),
    "what only its id names": (
        items({"type": "item_reference", "id": "msg_1"}),
        items({"type": "item_reference", "id": "msg_2"}),
    ),
    "reasoning that its id names": (
        items({"type": "reasoning", "id": "rs_1", "summary": []}),
        items({"type": "reasoning", "id": "rs_2", "summary": []}),
    ),
    "an id that looks like a place": (
        block(text("place")),
        block({"type": "text", "text": ["place", 0]}),
    ),
    "image": (picture(f"data:image/png;base64,{B64}"), picture("data:image/png;base64,AAAA")),
    "an image's kind": (source(B64), source(B64, "image/jpeg")),
    "an image's URL": (picture("https://a/1.png"), picture("https://a/2.png")),
    "an image's detail": (picture("https://a", detail="low"), picture("https://a", detail="high")),
    "a text that looks like an image": (
        block(text(f"data:image/png;base64,{B64}")),
        block(text(f"data:image/png;base64,{B64}\n")),
    ),
    "sound": (sound(B64), sound("AAAA")),
    "a document of plain text": (document("abcd efgh"), document("abcdefgh")),
    "metadata of a message": (said({**HELLO[0], "metadata": 1}), said({**HELLO[0], "metadata": 2})),
    "a user in a message": (said({**HELLO[0], "user": 1}), said({**HELLO[0], "user": 2})),
    "what nobody knows": (ask(top_q=1), ask(top_q=2)),
    "extra_query": (ask(extra_query={"api-version": "1"}), ask(extra_query={"api-version": "2"})),
    "a schema's class": (ask(response_format=Verdict), ask(response_format=Verdict2)),
    "defaults of nobody": (ask(temperature=1), ask()),
    "a string for a block, of nobody": (ask(), block(text("hello"))),
    "None of nobody": (ask(temperature=None), ask()),
    "input or messages": ({"model": "m", "input": HELLO}, ask()),
    "texts of an embedding": ({"model": "e", "input": ["ab"]}, {"model": "e", "input": ["a", "b"]}),
    "order of texts": ({"model": "e", "input": ["a", "b"]}, {"model": "e", "input": ["b", "a"]}),
    "tokens of an embedding": ({"model": "e", "input": [1, 2]}, {"model": "e", "input": [[1, 2]]}),
    "dimensions": ({"model": "e", "input": "x", "dimensions": 2}, {"model": "e", "input": "x"}),
    "previous_response_id": (items(previous_response_id="a"), items(previous_response_id="b")),
    "True is no default, openai": (ask(n=True), ask()),
    "store of a chat, for once, openai": (ask(store=True), ask()),
    "tool_choice none with tools, openai": (ask(tools=[A], tool_choice="none"), ask(tools=[A])),
    "temperature, anthropic": (ask(temperature=0), ask()),
}  # fmt: skip
