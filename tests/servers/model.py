"""A provider of models on a real socket: it answers as OpenAI and Anthropic do, and counts.

It runs on a thread with a loop of its own, so that plain clients may wait for it. What it is to do
otherwise is said by `behave`, a function of the body asked for.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

Body = dict[str, Any]


@dataclass
class Reply:
    """What is sent. `chunks` are sent one by one, `pause` seconds apart; without `ends` the
    connection is broken off behind them, and with `held` it stays open and says nothing more."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    chunks: list[bytes] = field(default_factory=list)
    pause: float = 0.0
    ends: bool = True
    held: bool = False


def events(*each: Any) -> list[bytes]:
    return [b"data: " + json.dumps(one).encode() + b"\n\n" for one in each]


def streaming(chunks: list[bytes], **how: Any) -> Reply:
    return Reply(headers={"content-type": "text/event-stream"}, chunks=chunks, **how)


def whole(answer: Any, status: int = 200, **headers: str) -> Reply:
    said = {"content-type": "application/json", **headers}
    return Reply(status, said, [json.dumps(answer).encode()])


def choice(index: int, text: str, reason: str | None = "stop") -> Body:
    message = {"role": "assistant", "content": text, "refusal": None}
    return {"index": index, "message": message, "finish_reason": reason}


def chat(body: Body, text: str, reason: str | None = "stop") -> Body:
    choices = [choice(index, text, reason) for index in range(body.get("n", 1))]
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": choices,
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }


def pieces(body: Body, words: list[str], reason: str = "stop") -> list[bytes]:
    def piece(index: int, delta: Body, ended: str | None) -> Body:
        choices = [{"index": index, "delta": delta, "finish_reason": ended}]
        kind = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1}
        return {**kind, "model": body["model"], "choices": choices}

    found = []
    for index in range(body.get("n", 1)):
        found += [piece(index, {"content": word}, None) for word in words]
        found.append(piece(index, {}, reason))
    return [*events(*found), b"data: [DONE]\n\n"]


def message(body: Body, text: str, reason: str = "end_turn") -> Body:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": [{"type": "text", "text": text}],
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 7, "output_tokens": 3},
    }


def message_pieces(body: Body, words: list[str], reason: str = "end_turn") -> list[bytes]:
    begun = {**message(body, "", reason), "content": [], "stop_reason": None}
    each: list[Body] = [
        {"type": "message_start", "message": begun},
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "text", "text": ""},
        },
        *(
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": word},
            }
            for word in words
        ),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": reason, "stop_sequence": None},
            "usage": {"output_tokens": 3},
        },
        {"type": "message_stop"},
    ]
    named = zip(each, events(*each), strict=True)
    return [f"event: {one['type']}\n".encode() + sent for one, sent in named]


def response(body: Body, text: str, status: str = "completed") -> Body:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": body["model"],
        "status": status,
        "output": [
            {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "status": "completed",
                "content": content,
            }
        ],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "error": None,
    }


def ordinary(path: str, body: Body) -> Reply:
    """What a provider answers on a good day."""
    streamed, words = body.get("stream") is True, ["a", " good", " answer"]
    if path.endswith("/chat/completions"):
        return streaming(pieces(body, words)) if streamed else whole(chat(body, "".join(words)))
    if path.endswith("/messages"):
        said = message_pieces(body, words)
        return streaming(said) if streamed else whole(message(body, "".join(words)))
    if path.endswith("/responses"):
        done = response(body, "".join(words))
        completed = {"type": "response.completed", "response": done, "sequence_number": 1}
        return streaming(events(completed)) if streamed else whole(done)
    if path.endswith("/embeddings"):
        texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
        data = [
            {"object": "embedding", "index": index, "embedding": [float(len(text)), 0.5]}
            for index, text in enumerate(texts)
        ]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return whole({"object": "list", "data": data, "model": body["model"], "usage": usage})
    return whole({"object": "list", "data": []})


class ModelServer:
    """`url`; `calls`: path and body of each request, in order; `left`: who went before the end."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Body]] = []
        self.left = 0
        self.before = 0.0
        self.behave: Callable[[str, Body], Reply] = ordinary
        self.url = ""

    def reset(self) -> None:
        self.calls.clear()
        self.left, self.before, self.behave = 0, 0.0, ordinary

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *rest = head.decode().split("\r\n")
                headers = {
                    name.lower(): value for name, _, value in (x.partition(": ") for x in rest)
                }
                sent = await reader.readexactly(int(headers.get("content-length", 0)))
                path = first.split(" ")[1].partition("?")[0]
                body = json.loads(sent) if sent else {}
                self.calls.append((path, body))
                reply = self.behave(path, body)
                await asyncio.sleep(self.before)
                await self.send(reply, writer)
                if not reply.ends:
                    break
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def send(self, reply: Reply, writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {reply.status} x", "transfer-encoding: chunked"]
        lines += [f"{name}: {value}" for name, value in reply.headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        try:
            for chunk in filter(None, reply.chunks):
                writer.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                await writer.drain()
                await asyncio.sleep(reply.pause)
                if writer.transport.is_closing():
                    raise ConnectionResetError
            if reply.held:
                await asyncio.sleep(60)
            if reply.ends:
                writer.write(b"0\r\n\r\n")
                await writer.drain()
        except OSError:
            self.left += 1
            raise


@contextmanager
def model_server() -> Iterator[ModelServer]:
    server, loop = ModelServer(), asyncio.new_event_loop()
    started: threading.Event = threading.Event()
    stop = asyncio.Event()

    async def serve() -> None:
        listening = await asyncio.start_server(server.talk, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        server.url = f"http://127.0.0.1:{port}/v1"
        started.set()
        await stop.wait()
        listening.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    started.wait(10)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()
