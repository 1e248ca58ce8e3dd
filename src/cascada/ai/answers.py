"""What a model answered, and whether it ended well: only then it may stand for another call's.

A choice ended well if the model came to its own end, or asks for a tool. One that was cut off by a
limit, a filter or a refusal has ended by something that the next try may not meet. What is not
understood has not ended well: it reaches who asked, and nobody else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

Kind = Literal["chat", "completions", "embeddings", "responses", "messages"]

PATHS: Final[Mapping[str, Kind]] = {
    "/chat/completions": "chat",
    "/completions": "completions",
    "/embeddings": "embeddings",
    "/responses": "responses",
    "/v1/messages": "messages",
}
"""How the path of a call ends, the longer first where one ends as another does."""

_GOOD: Final = frozenset(
    {"stop", "tool_calls", "function_call", "end_turn", "stop_sequence", "tool_use"}
)
_LONGEST_LINE: Final = 16 * 2**20
"""Of a stream, in bytes: as much as is kept of one. Nothing else of it is held back here."""
_NOTHING: Final[tuple[object, ...]] = (None, [], {})


class Answer(msgspec.Struct, frozen=True):
    """A response as it is kept: what it says, without what was said of its transport."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def kind_of(path: str) -> Kind | None:
    """What is called there; None for what is no call to a model."""
    return next((kind for end, kind in PATHS.items() if path.endswith(end)), None)


def read(body: bytes) -> dict[str, Any] | None:
    """What a body says; None if that is not understood."""
    return _object(body)


def ended_well(kind: Kind, answer: dict[str, Any] | None, asked: Mapping[str, Any]) -> bool:
    """Whether this is a whole answer to `asked`."""
    if answer is None or answer.get("error") not in _NOTHING:
        return False
    if kind == "embeddings":
        return _vectors(answer.get("data"), asked.get("input"))
    if kind == "responses":
        return _is_complete(answer)
    if kind == "messages":
        return _is_good(answer.get("stop_reason")) and bool(answer.get("content"))
    choices = answer.get("choices")
    return (
        isinstance(choices, list)
        and 0 < len(choices) == _wanted(asked)
        and all(isinstance(each, dict) and _choice(each, "message") for each in choices)
    )


def _object(text: bytes | str) -> dict[str, Any] | None:
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _wanted(asked: Mapping[str, Any]) -> int:
    n = asked.get("n")
    prompts = asked.get("prompt")
    many = len(prompts) if isinstance(prompts, list) and _are_texts(prompts) else 1
    return (n if type(n) is int else 1) * many


def _are_texts(prompts: list[Any]) -> bool:
    return bool(prompts) and isinstance(prompts[0], str | list)


def _choice(choice: dict[str, Any], said: str) -> bool:
    message = choice.get(said)
    refused = isinstance(message, dict) and message.get("refusal") not in (None, "")
    return _is_good(choice.get("finish_reason")) and not refused


def _is_good(reason: object) -> bool:
    return isinstance(reason, str) and reason in _GOOD


def _is_complete(response: dict[str, Any]) -> bool:
    """Whether a response, of OpenAI's newer kind, came to its end, and refuses nothing."""
    if response.get("status") != "completed" or response.get("error") not in _NOTHING:
        return False
    output = response.get("output")
    if not isinstance(output, list) or not output:
        return False
    for item in output:
        content = item.get("content") if isinstance(item, dict) else None
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict) and part.get("type") == "refusal":
                return False
    return True


def _vectors(data: object, texts: object) -> bool:
    several = isinstance(texts, list) and _are_texts(texts)
    wanted = len(texts) if several and isinstance(texts, list) else 1
    return (
        isinstance(data, list)
        and len(data) == wanted
        and all(isinstance(each, dict) and bool(each.get("embedding")) for each in data)
    )


class Events:
    """A stream of server-sent events as it passes: has it come to its end mark, and ended well?

    `said`: the model and the usage, as far as they have passed, as a whole answer has them.
    """

    def __init__(self, kind: Kind, asked: Mapping[str, Any]) -> None:
        self._kind = kind
        self._wanted = _wanted(asked)
        self._line: list[bytes] = []
        self._held = 0
        self._reasons: dict[object, bool] = {}
        self._failed = False
        self.said: dict[str, Any] = {"model": None, "usage": None}
        self.ended = False
        """Whether the end mark has passed: nothing that belongs to the answer comes any more."""

    @property
    def ended_well(self) -> bool:
        if not self.ended or self._failed:
            return False
        if self._kind == "responses":
            return True
        return 0 < len(self._reasons) == self._wanted and all(self._reasons.values())

    def feed(self, chunk: bytes) -> None:
        """The next bytes, cut wherever the network cut them."""
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            whole = b"".join([*self._line, line])
            self._line.clear()
            if whole.startswith(b"data:"):
                self._data(whole[5:].strip())
            elif whole.startswith(b"event:"):
                self._failed |= whole[6:].strip() == b"error"
        self._line.append(rest)
        self._held = sum(map(len, self._line)) if lines else self._held + len(rest)
        if self._held > _LONGEST_LINE:
            self._line.clear()
            self._failed = True

    def _data(self, data: bytes) -> None:
        if data == b"[DONE]":
            # Of the others it is no part, though some servers send it behind their own mark.
            self.ended = self.ended or self._kind in ("chat", "completions")
            return
        event = _object(data)
        if event is None:
            self._failed = True
            return
        self._note(event)
        name = event.get("type")
        if event.get("error") not in _NOTHING or name == "error":
            self._failed = True
        if self._kind == "responses":
            self._of_responses(name, event.get("response"))
        elif self._kind == "messages":
            self._of_messages(name, event.get("delta"))
        else:
            self._of_choices(event.get("choices"))

    def _note(self, event: dict[str, Any]) -> None:
        """Of a number that is said again, as it grows, the last one counts."""
        for part in (event, event.get("response"), event.get("message")):
            if not isinstance(part, dict):
                continue
            if part.get("model") is not None:
                self.said["model"] = part["model"]
            if isinstance(usage := part.get("usage"), dict):
                known = {name: number for name, number in usage.items() if number is not None}
                self.said["usage"] = {**(self.said["usage"] or {}), **known}

    def _of_responses(self, name: object, response: object) -> None:
        if name == "response.completed":
            self.ended = True
            self._failed |= not isinstance(response, dict) or not _is_complete(response)
        elif name in ("response.failed", "response.incomplete"):
            self.ended = self._failed = True

    def _of_messages(self, name: object, delta: object) -> None:
        if name == "message_stop":
            self.ended = True
        elif name == "message_delta" and isinstance(delta, dict) and "stop_reason" in delta:
            self._reasons[0] = _is_good(delta["stop_reason"])

    def _of_choices(self, choices: object) -> None:
        for choice in choices if isinstance(choices, list) else ():
            if not isinstance(choice, dict):
                self._failed = True
                continue
            index = choice.get("index", 0)
            if type(index) is not int:
                self._failed = True
                continue
            delta = choice.get("delta")
            self._failed |= isinstance(delta, dict) and delta.get("refusal") not in (None, "")
            if choice.get("finish_reason") is not None:
                self._reasons[index] = _is_good(choice["finish_reason"])
            else:
                self._reasons.setdefault(index, False)
