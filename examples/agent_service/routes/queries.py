"""The main route: a question to an agent, answered from a collection."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi import Response as HttpResponse

from examples.agent_service.bodies import PathId, Question
from examples.agent_service.records import Response
from examples.agent_service.routes.request import Tenant

router = APIRouter(prefix="/agents/{agent_id}", tags=["queries"])


@router.post("/query")
async def query(tenant: Tenant, agent_id: PathId, body: Question, http: HttpResponse) -> Response:
    """The body depends on the data alone; where it came from stands in the header X-Cache."""
    hit = await tenant.reads.response(
        agent_id, body.collection_id, body.question, body.conversation_id
    )
    http.headers["X-Cache"] = (
        f"{hit.tier}; age={hit.age:.1f}; stale={hit.stale:d}; coalesced={hit.coalesced:d}"
    )
    return hit.value
