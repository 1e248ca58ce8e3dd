"""Every route of the service as an attacker finds it: from the OpenAPI document, nothing listed.

A new route is attacked by itself. Its bodies are made from its schema; of an id whose name is not
known here the attack asks what it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from examples.agent_service.app import create_app
from examples.agent_service.settings import Settings
from tests.examples.furniture import AGENT, created

OPEN = {"/health", "/stats", "/metrics"}

Ids = dict[str, str]
"""What stands for `agent_id` and the like, in paths and in bodies."""


@dataclass(frozen=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    body: dict[str, Any] | None = field(compare=False)
    schemas: dict[str, Any] = field(compare=False)
    creates: bool = False
    unchanged: bool = False
    """Whether it may answer 304: its response is kept whole."""
    told: bool = False
    """Whether it says where its answer came from, in the header Cache-Status."""

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def ids(self) -> list[str]:
        """The ids that it takes of things that are there, in its path and in its body."""
        in_path = [part[1:-1] for part in self.path.split("/") if part.startswith("{")]
        if self.creates:
            in_path.pop()  # what a PUT would create need not be there
        in_body = [] if self.body is None else self._properties(self.body)
        return list(dict.fromkeys([*in_path, *(n for n in in_body if n.endswith("_id"))]))

    def request(self, ids: Ids) -> tuple[str, str, Any]:
        """Method, path and a body that is right for it, with these ids."""
        body = None if self.body is None else self._value("body", self.body, ids)
        return self.method, self.path.format(**ids), body

    def _properties(self, schema: dict[str, Any]) -> Iterator[str]:
        for name, declared in self._resolved(schema).get("properties", {}).items():
            yield name
            yield from self._properties(declared.get("items", declared))

    def _resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        if "$ref" in schema:
            schema = self.schemas[schema["$ref"].rpartition("/")[2]]
        for choice in schema.get("anyOf", []):
            return self._resolved(choice)
        return schema

    def _value(self, name: str, schema: dict[str, Any], ids: Ids) -> Any:
        schema = self._resolved(schema)
        if name.endswith("_id"):
            assert name in ids, f"{self}: say in the test what the attacker sends as {name}"
            return ids[name]
        if "enum" in schema:
            return schema["enum"][0]
        match schema.get("type"):
            case "object":
                declared = schema.get("properties", {}).items()
                return {each: self._value(each, of, ids) for each, of in declared}
            case "array":
                return [self._value(name, schema["items"], ids)]
            case "integer" | "number":
                return schema.get("minimum", 1)
            case "boolean":
                return True
            case _:
                return "intruder"


def operations() -> list[Operation]:
    """Everything that the application routes and the document tells."""
    document = create_app(Settings()).openapi()
    schemas = document.get("components", {}).get("schemas", {})
    found = []
    for path, methods in sorted(document["paths"].items()):
        for method, declared in methods.items():
            content = declared.get("requestBody", {}).get("content", {})
            body = content.get("application/json", {}).get("schema")
            creates = method == "put" and "201" in declared["responses"]
            unchanged = "304" in declared["responses"]
            told = "headers" in declared["responses"].get("200", {})
            found.append(Operation(method.upper(), path, body, schemas, creates, unchanged, told))
    return found


OF_A_TENANT = [each for each in operations() if each.path not in OPEN]
OF_A_RESOURCE = [each for each in OF_A_TENANT if each.ids]


def ids_of(owner: str) -> Ids:
    """One of everything, under ids that only this owner has."""
    kinds = ("agent", "tool", "conversation", "collection", "document", "execution", "campaign")
    return {f"{kind}_id": f"{owner}-{kind}" for kind in kinds}


async def furnish(client: httpx.AsyncClient, ids: Ids, text: str) -> Ids:
    """One of everything for a tenant, with `text` in all of it; its ids, the message's as well."""
    agent, talk, books = ids["agent_id"], ids["conversation_id"], ids["collection_id"]
    await created(client, "/agents", {**AGENT, "id": agent, "name": text, "instructions": text})
    tool = {"id": ids["tool_id"], "name": text, "description": text}
    await created(client, f"/agents/{agent}/tools", tool)
    begun = {"id": talk, "agent_id": agent, "title": text}
    await created(client, "/conversations", begun)
    message = await created(client, f"/conversations/{talk}/messages", {"text": text})
    path = f"/agents/{agent}/conversations/{talk}/executions"
    await created(client, path, {"id": ids["execution_id"], "step": text})
    await created(client, "/collections", {"id": books, "name": text})
    document = {"id": ids["document_id"], "title": text, "text": f"{text} things are {text}."}
    await created(client, f"/collections/{books}/documents", {"documents": [document]})
    await created(client, "/campaigns", {"id": ids["campaign_id"], "name": text, "budget": 1})
    return {**ids, "message_id": str(message["id"])}


async def send(client: httpx.AsyncClient, operation: Operation, ids: Ids) -> httpx.Response:
    method, path, body = operation.request(ids)
    return await client.request(method, path, json=body)
