"""The service under schemathesis, from its own OpenAPI document: whatever is sent, right or wrong,
it answers as it has declared, and never that it broke."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from examples.agent_service.app import create_app
from examples.agent_service.process import running_service
from examples.agent_service.settings import Settings
from tests.examples.attack import OPEN, Operation, operations
from tests.examples.furniture import AGENT, created
from tests.properties.budget import FACTOR

SEED = 20
EXAMPLES = 6 * FACTOR
"""Requests of each kind (what the document allows, what it does not) for each operation."""

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
IDS: dict[str, Any] = {
    "agent_id": "librarian",
    "tool_id": "search",
    "conversation_id": "monday",
    "execution_id": "run-1",
    "collection_id": "birds",
    "document_id": "cranes",
    "campaign_id": "spring",
    "message_id": 1,
}
DOCUMENT = schemathesis.openapi.from_dict(create_app(Settings()).openapi())


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The service in a process of its own."""
    folder = tmp_path_factory.mktemp("fuzzed")
    environment = {
        "DATABASE_URL": f"sqlite:///{folder / 'service.db'}",
        "CACHE_DATABASE_URL": f"sqlite:///{folder / 'cache.db'}",
        "AGENT_SERVICE_MODEL_LATENCY_MS": "0",
    }
    with asyncio.Runner() as runner:
        service = running_service(environment)
        yield runner.run(service.__aenter__())
        runner.run(service.__aexit__(None, None, None))


async def furnish(address: str) -> None:
    """What the ids of IDS name is there (again)."""
    async with httpx.AsyncClient(
        base_url=address, headers={"X-Tenant-ID": "acme"}, trust_env=False
    ) as client:
        await client.delete("/agents/librarian")
        await client.delete("/collections/birds")
        await created(client, "/agents", {"id": "librarian", **AGENT})
        tool = {"id": "search", "name": "search", "description": "Searches."}
        await created(client, "/agents/librarian/tools", tool)
        begun = {"id": "monday", "agent_id": "librarian", "title": "Birds"}
        await created(client, "/conversations", begun)
        made = await created(client, "/conversations/monday/messages", {"text": "Hello."})
        IDS["message_id"] = made["id"]
        path = "/agents/librarian/conversations/monday/executions"
        await created(client, path, {"id": "run-1", "step": "searching"})
        await created(client, "/collections", {"id": "birds", "name": "Birds"})
        document = {"id": "cranes", "title": "Cranes", "text": "Cranes migrate in autumn."}
        await created(client, "/collections/birds/documents", {"documents": [document]})
        await client.post("/campaigns", json={"id": "spring", "name": "Spring", "budget": 2.5})


@pytest.mark.parametrize("operation", operations(), ids=str)
def test_it_answers_as_it_has_declared(address: str, operation: Operation) -> None:
    asyncio.run(furnish(address))
    declared = DOCUMENT[operation.path][operation.method]
    allowed, wrong = (
        declared.as_strategy(generation_mode=mode)
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    )
    session = requests.Session()
    session.trust_env = False
    answered: set[int] = set()

    def send(case: schemathesis.Case[Any], known: bool) -> None:
        if known:  # what the path names is there, so that the request gets further than a 404
            parameters: dict[str, Any] = dict(case.path_parameters or {})
            case.path_parameters = {name: IDS[name] for name in parameters}
            case.headers["X-Tenant-ID"] = "acme"
        response = case.call(base_url=address, session=session, timeout=10)
        answered.add(response.status_code)
        case.validate_response(response, checks=CHECKS)

    few = settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    with session:
        seed(SEED)(few(given(case=allowed, known=st.booleans())(send)))()
        if operation.body is not None:  # what else could be wrong is no path at all
            seed(SEED)(few(given(case=wrong, known=st.booleans())(send)))()
    if operation.path not in OPEN:
        assert len(answered) > 1, f"{operation} gave nothing but {answered}"
