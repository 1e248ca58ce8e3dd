"""Executions: what an agent is doing within a conversation, and how far it has come."""

from __future__ import annotations

from fastapi import APIRouter

from examples.agent_service.bodies import (
    AgentId,
    ConversationId,
    ExecutionBody,
    ExecutionId,
    NewExecution,
)
from examples.agent_service.records import Execution
from examples.agent_service.routes.answers import CACHED, NOT_THERE, TAKEN
from examples.agent_service.routes.request import Tenant

router = APIRouter(
    prefix="/agents/{agent_id}/conversations/{conversation_id}/executions",
    tags=["executions"],
    responses=NOT_THERE,
)


@router.post("", status_code=201, summary="Begin an execution", responses=TAKEN)
async def begin(
    tenant: Tenant, agent_id: AgentId, conversation_id: ConversationId, body: NewExecution
) -> Execution:
    execution = _execution(agent_id, conversation_id, body.id, body)
    await tenant.writes.begin_execution(execution)
    return execution


@router.get("/{execution_id}", summary="How far an execution has come", responses=CACHED)
async def read(
    tenant: Tenant,
    agent_id: AgentId,
    conversation_id: ConversationId,
    execution_id: ExecutionId,
) -> Execution:
    return await tenant.told(await tenant.reads.execution(agent_id, conversation_id, execution_id))


@router.put("/{execution_id}", summary="Say how far an execution has come")
async def update(
    tenant: Tenant,
    agent_id: AgentId,
    conversation_id: ConversationId,
    execution_id: ExecutionId,
    body: ExecutionBody,
) -> Execution:
    execution = _execution(agent_id, conversation_id, execution_id, body)
    await tenant.writes.go_on_with_execution(execution)
    return execution


def _execution(
    agent_id: str, conversation_id: str, execution_id: str, body: ExecutionBody
) -> Execution:
    return Execution(
        id=execution_id,
        agent_id=agent_id,
        conversation_id=conversation_id,
        status=body.status,
        step=body.step,
        detail=body.detail,
    )
