"""Agents: create, read, update, delete."""

from __future__ import annotations

from fastapi import APIRouter

from examples.agent_service.bodies import AgentBody, AgentId, NewAgent
from examples.agent_service.records import Agent
from examples.agent_service.routes.answers import CACHED, NOT_THERE, TAKEN
from examples.agent_service.routes.request import Tenant

router = APIRouter(prefix="/agents", tags=["agents"])


@router.post("", status_code=201, summary="Create an agent", responses=TAKEN)
async def create(tenant: Tenant, body: NewAgent) -> Agent:
    agent = _agent(body.id, body)
    await tenant.writes.add_agent(agent)
    return agent


@router.get("/{agent_id}", summary="An agent's configuration", responses={**CACHED, **NOT_THERE})
async def read(tenant: Tenant, agent_id: AgentId) -> Agent:
    return await tenant.told(await tenant.reads.agent(agent_id))


@router.put("/{agent_id}", summary="Replace an agent's configuration", responses=NOT_THERE)
async def update(tenant: Tenant, agent_id: AgentId, body: AgentBody) -> Agent:
    """Whatever was made with the old one is gone when this returns: answers, too."""
    agent = _agent(agent_id, body)
    await tenant.writes.replace_agent(agent)
    return agent


@router.delete("/{agent_id}", status_code=204, summary="Delete an agent", responses=NOT_THERE)
async def delete(tenant: Tenant, agent_id: AgentId) -> None:
    """Its tools, conversations and executions go with it."""
    await tenant.writes.remove_agent(agent_id)


def _agent(agent_id: str, body: AgentBody) -> Agent:
    return Agent(
        id=agent_id,
        name=body.name,
        instructions=body.instructions,
        max_words=body.max_words,
    )
