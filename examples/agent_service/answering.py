"""The local stand-in for a hosted model: it answers without a model, as slowly as one.

Its answer is put together from the agent's configuration, the passages and the question, so it
changes when one of them does and is the same when none does. Its latency is drawn from the
question alone (lognormal, bounded), so that two runs of one workload wait alike.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from examples.agent_service.records import Agent, Message, Passage, Tool

DOLLARS_IN: Final = 2.5
DOLLARS_OUT: Final = 10.0
"""For a million tokens that go in, and that come out: as hosted models of the middle class cost."""

_SPREAD: Final = 0.3  # sigma of the lognormal
_BOUNDS: Final = (0.5, 2.5)  # times the median: no single question makes a run slow
_HISTORY: Final = 6  # messages of the conversation that the prompt holds
_CHARACTERS_PER_TOKEN: Final = 4
_WORD: Final = re.compile(r"\w{4,}")


@dataclass(frozen=True, slots=True)
class Prompt:
    """All that an answer depends on."""

    agent: Agent
    tools: Sequence[Tool]
    history: Sequence[Message]
    passages: Sequence[Passage]
    question: str

    @property
    def text(self) -> str:
        return "\n".join(
            [
                f"You are {self.agent['name']}. {self.agent['instructions']}",
                *(f"Tool {tool['name']}: {tool['description']}" for tool in self.tools),
                *(f"Passage: {passage['text']}" for passage in self.passages),
                *(f"{said['role']}: {said['text']}" for said in self.history[-_HISTORY:]),
                f"Question: {self.question}",
            ]
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said, and what it would have been charged for."""

    text: str
    tokens_in: int
    tokens_out: int

    @property
    def tokens(self) -> int:
        return self.tokens_in + self.tokens_out


class LocalStandIn:
    """Counts its calls, and the tokens and dollars that a hosted model would have charged."""

    name = "local stand-in for a hosted model"

    def __init__(self, median_ms: float) -> None:
        self.calls = 0
        self.tokens_in = 0
        self.tokens_out = 0
        self._median = median_ms / 1000

    async def answer(self, prompt: Prompt) -> Answer:
        self.calls += 1
        await asyncio.sleep(self._median * _slowness(prompt.question))
        text = _compose(prompt)
        answer = Answer(text, _tokens(prompt.text), _tokens(text))
        self.tokens_in += answer.tokens_in
        self.tokens_out += answer.tokens_out
        return answer

    @property
    def tokens(self) -> int:
        return self.tokens_in + self.tokens_out

    @property
    def dollars(self) -> float:
        into, out = self.tokens_in * DOLLARS_IN, self.tokens_out * DOLLARS_OUT
        return (into + out) / 1_000_000


def _tokens(text: str) -> int:
    return math.ceil(len(text) / _CHARACTERS_PER_TOKEN)


def _slowness(question: str) -> float:
    low, high = _BOUNDS
    return min(max(Random(question).lognormvariate(0.0, _SPREAD), low), high)


def _compose(prompt: Prompt) -> str:
    """Everything that the answer was made with shows in it; only the passages are cut short."""
    asked = set(_WORD.findall(prompt.question.lower()))
    head = [f"{prompt.agent['name']} ({prompt.agent['instructions']}):"]
    if prompt.tools:
        head.append(f"Using {', '.join(tool['name'] for tool in prompt.tools)}.")
    if prompt.history:
        head.append(f"You said: {prompt.history[-1]['text']}")
    said = " ".join(_best_sentence(passage["text"], asked) for passage in prompt.passages)
    body = said.split()[: prompt.agent["max_words"]]
    return " ".join([*head, *(body or ["The documents say nothing about this."])])


def _best_sentence(text: str, asked: set[str]) -> str:
    """The sentence that shares most words with the question, the first of equals."""
    sentences = re.split(r"(?<=[.!?])\s+", text)
    return max(sentences, key=lambda sentence: len(asked & set(_WORD.findall(sentence.lower()))))
