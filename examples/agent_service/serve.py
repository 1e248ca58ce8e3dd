"""`python -m examples.agent_service.serve`: the service, left running, with something in it.

It seeds a tenant named demo with an agent and real documents, and prints what to try. With
`--bare` it prints its address alone and seeds nothing (that is how the demo starts it).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shlex
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from socket import socket
from typing import Final

import uvicorn

from cascada import CascadaError
from examples.agent_service.app import create_app
from examples.agent_service.callers import caller_header
from examples.agent_service.corpus import standard_library
from examples.agent_service.database import AlreadyThere
from examples.agent_service.records import Agent, Document
from examples.agent_service.routes.pages import Try
from examples.agent_service.service import Service
from examples.agent_service.settings import Settings, WrongSetting

TENANT: Final = "demo"
_AGENT: Final = "librarian"
_COLLECTION: Final = "stdlib"
_TEXTS: Final = 500
_QUESTIONS: Final = 12  # that the landing page proposes


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.agent_service.serve")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    parser.add_argument("--bare", action="store_true", help="print the address alone, seed nothing")
    chosen = parser.parse_args(arguments)
    try:
        settings = Settings.from_env()
        _serve(settings, chosen.host, chosen.port, bare=chosen.bare)
    except (WrongSetting, CascadaError) as error:
        print(f"serve: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nserve: stopped")
    return 0


def _serve(settings: Settings, host: str, port: int, *, bare: bool) -> None:
    app = create_app(settings)
    # uvicorn takes uvloop and httptools where they are installed: the loop, too, if it runs it.
    config = uvicorn.Config(app, host=host, port=port, log_level="warning", access_log=False)

    async def announce(address: str) -> None:
        if bare:
            print(address, flush=True)
        else:
            questions = await _seed(app.state.service)
            tenant = TENANT if settings.jwt_secret is None else None
            app.state.to_try = Try(tenant, _AGENT, _COLLECTION, questions)
            caller = caller_header(settings, TENANT)
            print(_welcome(address, _runs_on(config), caller, questions[0]), flush=True)

    Server(config, announce).run()


class Server(uvicorn.Server):
    """uvicorn, which says where it listens as soon as it does.

    It opens the socket itself: on one that is handed to it, asyncio leaves Nagle's algorithm on,
    and every answer is 40 ms late.
    """

    def __init__(self, config: uvicorn.Config, announce: Callable[[str], Awaitable[None]]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            port = self.servers[0].sockets[0].getsockname()[1]
            await self._announce(f"http://{self.config.host}:{port}")


async def _seed(service: Service) -> list[str]:
    """An agent and a collection of real texts, unless they are there; questions to ask."""
    texts = [text for text in standard_library(_TEXTS) if text.question]
    tenant = service.tenant(TENANT)
    with suppress(AlreadyThere):
        await tenant.writes.add_agent(
            Agent(
                id=_AGENT,
                name="Librarian",
                instructions="Answer from the passages.",
                max_words=120,
            )
        )
    with suppress(AlreadyThere):
        await tenant.writes.add_collection(_COLLECTION, "Python's standard library")
        documents = [
            Document(id=text.name, collection_id=_COLLECTION, title=text.name, text=text.text)
            for text in texts
        ]
        await tenant.writes.put_documents(_COLLECTION, documents)
    asked = [text.question for text in texts if text.question]
    return asked[:_QUESTIONS] or ["What is this?"]


def _runs_on(config: uvicorn.Config) -> str:
    """The event loop and the HTTP parser that are really used."""
    loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
    parser = config.http_protocol_class.__module__.rpartition(".")[2].removesuffix("_impl")
    slow = [each for each in (loop, parser) if each in ("asyncio", "h11")]
    faster = " (faster with `pip install uvloop httptools`)" if slow else ""
    return f"{loop} and {parser}{faster}"


def _welcome(address: str, runs_on: str, caller: str, question: str) -> str:
    body = shlex.quote(json.dumps({"collection_id": _COLLECTION, "question": question}))
    return f"""serve: the agent service is at {address}, on {runs_on}
  ask a question {address}/
  API            {address}/docs
  statistics     {address}/stats
  metrics        {address}/metrics
Ask the demo tenant twice, and look at the header Cache-Status (the first answer comes from
the local stand-in for a hosted model, the second from memory):
  curl -i {address}/agents/{_AGENT}/query -H '{caller}' \\
    -H 'Content-Type: application/json' -d {body}
Ctrl-C stops it."""


if __name__ == "__main__":
    sys.exit(main())
