"""Agents: create, read, update, delete."""

from __future__ import annotations

from fastapi import APIRouter

from examples.agent_service.bodies import AgentBody, NewAgent, PathId
from examples.agent_service.records import Agent
from examples.agent_service.routes.request import Tenant

router = APIRouter(prefix="/agents", tags=["agents"])


@router.post("", status_code=201)
async def create(tenant: Tenant, body: NewAgent) -> Agent:
    agent = _agent(body.id, body)
    await tenant.writes.add_agent(agent)
    return agent


@router.get("/{agent_id}")
async def read(tenant: Tenant, agent_id: PathId) -> Agent:
    return await tenant.reads.agent(agent_id)


@router.put("/{agent_id}")
async def update(tenant: Tenant, agent_id: PathId, body: AgentBody) -> Agent:
    agent = _agent(agent_id, body)
    await tenant.writes.replace_agent(agent)
    return agent


@router.delete("/{agent_id}", status_code=204)
async def delete(tenant: Tenant, agent_id: PathId) -> None:
    await tenant.writes.remove_agent(agent_id)


def _agent(agent_id: str, body: AgentBody) -> Agent:
    return Agent(
        id=agent_id,
        name=body.name,
        instructions=body.instructions,
        max_words=body.max_words,
    )
