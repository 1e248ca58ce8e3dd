"""The id of a call to a model: equal for calls that ask for the same, different for all others.

    request_id(model="gpt-5", messages=[{"role": "user", "content": "hello"}])

What two calls may differ in and still be one: the order of keys and of tools; who asks, and how it
is sent (`parameters.ENVELOPE`); the ids of tool calls, which are drawn anew each time and count by
their place; how the bytes of an image are written. For a provider that is named, what its
documentation says is meant where nothing is said.

Whether an answer that was drawn by chance may be given again is nothing that a request shows (an
SDK may have no `temperature` at all): that is said by the policy of the data type that answers are
stored under. What is not certain to be the same is different: then a call is made that could have
been saved. The other way round somebody would get the answer to another question.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final

import msgspec
from msgspec.msgpack import Ext

from cascada.ai.parameters import (
    ENVELOPE,
    IN_BLOCKS,
    MERGED,
    NEVER,
    PROVIDERS,
    without_defaults,
)
from cascada.model.door import arguments
from cascada.model.door.plain import number_of, text_of, whole_of
from cascada.model.errors import BadInput

VERSION: Final = "m1"
"""Begins every id. Whoever changes what an id is made of changes it, and a golden test."""

_PLACES: Final = frozenset({"tool_call_id", "tool_use_id", "call_id"})
_PLACED: Final = frozenset({
    "tool_use", "server_tool_use", "mcp_tool_use", "message", "function_call",
    "function_call_output", "custom_tool_call", "custom_tool_call_output",
})  # fmt: skip
"""Types of blocks that say all they mean beside their `id`. A `reasoning`, an `item_reference` and
what a provider's own tools did are there by their id alone: these ids stay as they are."""

_PLACE, _BYTES, _SCHEMA, _LARGE, _BROKEN = range(1, 6)
"""Codes of marks."""

_packed: Final = msgspec.msgpack.Encoder(order="sorted").encode

_OPAQUE: Final = frozenset({"arguments", "parsed_arguments", "parsed"})
"""What a tool is called with: nothing in it is ours to understand."""

_DATA_URL: Final = re.compile(r"data:([^,]*?);base64,(.*)", re.S | re.I)
_SENT_BY: Final = ("openai", "anthropic")


def request_id(provider: str | None = None, /, **request: Any) -> str:
    """The id of a call with these arguments, for `tenant.load("agent_response", request_id(...))`.

    The arguments are those that the SDK is called with (chat, completions, embeddings, responses,
    messages), or the body that it sends. provider: "openai" or "anthropic", if it is the one that
    answers, and not another that speaks its language: then what it documents as a default counts
    as said. BadInput for a call whose answer stands for no other (`parameters.NEVER`), and for
    what cannot be looked at twice, such as a generator of messages.
    """
    if provider is not None:
        provider = arguments.choice(provider, "provider", tuple(PROVIDERS))
    try:
        said = _packed([provider, _canonical(provider, request)])
        digest = blake2b(said, digest_size=16, person=b"cascada model 1")
        return f"{VERSION}-{digest.hexdigest()}"
    except BadInput:
        raise
    except RecursionError as error:
        raise BadInput("the request is nested too deeply, or holds itself") from error
    except Exception as error:
        # An object may raise anything when it is looked at.
        raise BadInput(f"the request cannot be looked at: {type(error).__name__}") from error


def _canonical(provider: str | None, request: Mapping[str, Any]) -> dict[str, Any]:
    said = {name: value for name, value in _merged(request) if not _is_unsaid(value)}
    for name in NEVER & said.keys():
        if said[name] is not None and said[name] is not False:
            raise BadInput(
                f"{name} begins or changes something at the provider: such a call's answer "
                "stands for no other; make it without the cache"
            )
    for name in ENVELOPE | NEVER:
        said.pop(name, None)
    _refuse_what_acts(said.get("tools"))
    arguments.name(said.get("model"), "model", "the name of the model that is called")
    if not said.keys() & {"messages", "input", "prompt"}:
        raise BadInput("the request asks nothing; pass its messages, its input or its prompt")
    walk = _Walk(provider)
    found = {name: walk.parameter(name, said[name]) for name in sorted(said)}
    return found if provider is None else without_defaults(provider, found)


def _refuse_what_acts(tools: object) -> None:
    """BadInput for a tool by which the provider acts elsewhere while it answers."""
    for tool in tools if isinstance(tools, list | tuple) else ():
        if isinstance(tool, Mapping) and (tool.get("type") == "mcp" or "container" in tool):
            raise BadInput(
                f"a tool of type {tool.get('type')!r} begins or changes something at the provider, "
                "or at a server that it calls: such a call's answer stands for no other; make it "
                "without the cache"
            )


def _merged(request: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The parameters, and over them what `extra_body` says, as it is sent."""
    found = {name: value for name, value in request.items() if name not in MERGED}
    for name in sorted(MERGED & request.keys()):
        extra = request[name]
        if extra is None or _is_unsaid(extra):
            continue
        extra = arguments.mapping(extra, name, "a dict of parameters")
        for each in extra:
            arguments.text(each, f"a key of {name}")
        if name == "extra_body":
            found |= extra
        else:
            found[name] = extra
    return list(found.items())


def _is_unsaid(value: object) -> bool:
    """Whether it is what an SDK has for "not given", which it never sends."""
    kind = type(value)
    return kind.__name__ in ("NotGiven", "Omit") and kind.__module__.partition(".")[0] in _SENT_BY


class _Walk:
    """Through one request, by sorted keys, so that its places do not depend on their order.

    What comes out is packed with its keys sorted, which is another text for each other value. An
    `Ext` is a mark of our own, which nothing that is passed can look like.
    """

    def __init__(self, provider: str | None) -> None:
        self._provider = provider
        self._places: dict[str, int] = {}

    def parameter(self, name: str, value: Any) -> Any:
        if name in ("tools", "functions"):
            tools = self.plain(value)
            if isinstance(tools, list):
                tools = [_without(each, IN_BLOCKS) for each in tools]
                tools.sort(key=_packed)
            return tools
        if name in ("messages", "input", "system"):
            return self.block(value, shorthand=name == "system")
        plain = self.plain(value)
        if type(plain) is float and plain.is_integer() and abs(plain) < 2**53:
            return int(plain)  # JSON knows one kind of number: 1.0 is 1
        return plain

    def block(self, value: Any, *, shorthand: bool = False) -> Any:
        """Messages, and what they consist of."""
        if (mapping := _mapping(value)) is not None:
            return self._message(_keyed(mapping))
        if type(value) in (list, tuple):
            return [self.block(each) for each in value]
        plain = self.plain(value)
        if shorthand and type(plain) is str and self._provider == "anthropic":
            return [{"type": "text", "text": plain}]  # a string is documented to mean this
        return plain

    def _message(self, message: dict[str, Any]) -> Any:
        kind = message.get("type")
        found: dict[str, Any] = {}
        for name in sorted(message):
            value = message[name]
            unsaid = _is_unsaid(value) or (value is None and self._provider is not None)
            if unsaid or name in IN_BLOCKS:
                continue
            if name == "id" and type(kind) is str and kind in _PLACED:
                found[name] = self._place(value)
            elif name in _PLACES:
                found[name] = self._place(value, of_a_call=not _is_result(name, kind))
            elif name == "tool_calls" and type(value) in (list, tuple):
                found[name] = [self._tool_call(each) for each in value]
            elif name in _OPAQUE or (name == "input" and kind is not None):
                found[name] = self.plain(value)
            elif _holds_bytes(name, message) and text_of(value) is not None:
                found[name] = _picture(text_of(value) or "", message, name)
            else:
                found[name] = self.block(value, shorthand=name == "content" and "role" in message)
        return found

    def _tool_call(self, call: Any) -> Any:
        mapping = _mapping(call)
        if mapping is None:
            return self.plain(call)
        found = self.plain(_keyed(mapping))
        if "id" in found:
            found["id"] = self._place(found["id"])
        return found

    def _place(self, value: Any, *, of_a_call: bool = True) -> Any:
        """The place of a call. A result whose call is not in the request (but in a response before
        it, say) names it by its id alone, which stays."""
        text = text_of(value)
        if text is None or not (of_a_call or text in self._places):
            return self.plain(value)
        return Ext(_PLACE, b"%d" % self._places.setdefault(text, len(self._places)))

    def plain(self, value: Any) -> Any:
        """As JSON has it; BadInput for what it has not."""
        kind = type(value)
        if kind is str:
            return value if value.isascii() else _text(value)
        if kind is bool or value is None:
            return value
        if kind is int:
            return value if -(2**63) <= value < 2**64 else Ext(_LARGE, b"%d" % value)
        if kind is list or kind is tuple:
            return [self.plain(each) for each in value]
        if (mapping := _mapping(value)) is not None:
            keyed = _keyed(mapping)
            return {name: self.plain(each) for name, each in keyed.items() if not _is_unsaid(each)}
        return self._other(value)

    def _other(self, value: Any) -> Any:
        """What JSON has under another class, and the two that SDKs turn into JSON themselves."""
        if isinstance(value, bytes | bytearray | memoryview):
            return _bytes(None, bytes(value))
        schema = getattr(value, "model_json_schema", None) if isinstance(value, type) else None
        if callable(schema):
            return Ext(_SCHEMA, _packed([value.__name__, self.plain(schema())]))
        for plain in (text_of(value), whole_of(value), number_of(value)):
            if plain is not None:
                if isinstance(plain, float) and not math.isfinite(plain):
                    break
                return plain if isinstance(plain, float) else self.plain(plain)
        raise arguments.refused(
            "a part of the request",
            value,
            "what JSON has (finite numbers, no other objects), an SDK's message, or bytes",
        )


def _mapping(value: Any) -> Mapping[Any, Any] | None:
    """A dict, or what an SDK's own message sends of itself."""
    if isinstance(value, Mapping):
        return value
    if not isinstance(value, type) and callable(dump := getattr(value, "model_dump", None)):
        sent = dump(mode="json", by_alias=True, exclude_unset=True)
        if isinstance(sent, Mapping):
            return sent
    return None


def _keyed(value: Mapping[Any, Any]) -> dict[str, Any]:
    """With keys as JSON has them: `{50256: -100}` is sent as `{"50256": -100}`."""
    found: dict[str, Any] = {}
    for key, each in value.items():
        name = text_of(key)
        if name is None and (whole := whole_of(key)) is not None:
            name = str(whole)
        if name is None or name in found:
            raise arguments.refused("a key of the request", key, "a str, each once")
        found[name] = each
    return found


def _without(value: Any, names: frozenset[str]) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: each for name, each in value.items() if name not in names}


def _is_result(name: str, kind: object) -> bool:
    """Whether it says whose result it is; else it is the call's own."""
    return name != "call_id" or (isinstance(kind, str) and kind.endswith("_output"))


def _holds_bytes(name: str, beside: Mapping[str, Any]) -> bool:
    """Whether text there may be bytes in base64. A document may be plain text, too."""
    if name == "data":
        return beside.get("type") == "base64" or "format" in beside
    return name in ("url", "image_url", "file_data")


def _picture(text: str, beside: Mapping[str, Any], name: str) -> Any:
    """Bytes of an image, a sound or a file by their hash; a URL as it is, and what is no base64."""
    media: object = beside.get("media_type", beside.get("format"))
    if (found := _DATA_URL.fullmatch(text)) is not None:
        media, text = found[1].lower(), found[2]
    elif name in ("url", "image_url"):
        return _text(text)
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return _text(text if found is None else found[0])
    return _bytes(media, data)


def _bytes(media: object, data: bytes) -> Ext:
    kind = media if type(media) is str else ""
    return Ext(_BYTES, blake2b(data, digest_size=32).digest() + _text_bytes(kind))


def _text(text: str) -> str | Ext:
    """The text; one with a lone surrogate, which no packer takes, by its bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return Ext(_BROKEN, _text_bytes(text))
    return text


def _text_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
