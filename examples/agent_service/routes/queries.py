"""The main route: a question to an agent, answered from a collection."""

from __future__ import annotations

from fastapi import APIRouter

from examples.agent_service.bodies import AgentId, Question
from examples.agent_service.records import Response
from examples.agent_service.routes.answers import CACHED, NO_EMBEDDING, NOT_THERE
from examples.agent_service.routes.request import Tenant

router = APIRouter(prefix="/agents/{agent_id}", tags=["queries"])


@router.post(
    "/query",
    summary="Ask an agent a question",
    responses={**CACHED, **NOT_THERE, **NO_EMBEDDING},
)
async def query(tenant: Tenant, agent_id: AgentId, body: Question) -> Response:
    """The body depends on the data alone; where it came from stands in the header Cache-Status."""
    served = await tenant.reads.response(
        agent_id, body.collection_id, body.question, body.conversation_id
    )
    return await tenant.told(served)
