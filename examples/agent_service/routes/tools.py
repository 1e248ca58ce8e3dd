"""The tools of an agent: list, add, remove."""

from __future__ import annotations

from fastapi import APIRouter

from examples.agent_service.bodies import NewTool, PathId
from examples.agent_service.records import Tool
from examples.agent_service.routes.request import Tenant

router = APIRouter(prefix="/agents/{agent_id}/tools", tags=["tools"])


@router.post("", status_code=201)
async def add(tenant: Tenant, agent_id: PathId, body: NewTool) -> Tool:
    tool = Tool(id=body.id, agent_id=agent_id, name=body.name, description=body.description)
    await tenant.writes.add_tool(tool)
    return tool


@router.get("")
async def read(tenant: Tenant, agent_id: PathId) -> list[Tool]:
    await tenant.reads.agent(agent_id)  # an agent that is not there has no list, not an empty one
    return await tenant.reads.tools(agent_id)


@router.delete("/{tool_id}", status_code=204)
async def remove(tenant: Tenant, agent_id: PathId, tool_id: PathId) -> None:
    await tenant.writes.remove_tool(agent_id, tool_id)
