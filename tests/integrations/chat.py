"""A chat model that counts its calls, and does what a test says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import Field


class Busy(Exception):
    """A provider's 429."""


class Chat(BaseChatModel):
    """`behave` gets the number of the call, and returns what is said or raises."""

    behave: Callable[[int], str] = lambda number: f"answer {number}"
    pause: float = 0.05
    calls: list[str] = Field(default_factory=list)
    more: dict[str, Any] = Field(default_factory=dict)

    @property
    def _llm_type(self) -> str:
        return "chat"

    def _called(self, messages: list[BaseMessage]) -> int:
        self.calls.append(str(messages[-1].content))
        return len(self.calls)

    def _result(self, number: int) -> ChatResult:
        message = AIMessage(content=self.behave(number), **self.more)
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(self, messages: list[BaseMessage], *args: Any, **more: Any) -> ChatResult:
        number = self._called(messages)
        await asyncio.sleep(self.pause)
        return self._result(number)

    def _generate(self, messages: list[BaseMessage], *args: Any, **more: Any) -> ChatResult:
        number = self._called(messages)
        time.sleep(self.pause)
        return self._result(number)
