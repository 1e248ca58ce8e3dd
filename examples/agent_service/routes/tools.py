"""The tools of an agent: list, add, remove."""

from __future__ import annotations

from fastapi import APIRouter

from examples.agent_service.bodies import AgentId, NewTool, ToolId
from examples.agent_service.records import Tool
from examples.agent_service.routes.answers import CACHED, NOT_THERE, TAKEN, UNCHANGED
from examples.agent_service.routes.kept import kept
from examples.agent_service.routes.request import Tenant

router = APIRouter(prefix="/agents/{agent_id}/tools", tags=["tools"], responses=NOT_THERE)


@router.post("", status_code=201, summary="Give an agent a tool", responses=TAKEN)
async def add(tenant: Tenant, agent_id: AgentId, body: NewTool) -> Tool:
    tool = Tool(id=body.id, agent_id=agent_id, name=body.name, description=body.description)
    await tenant.writes.add_tool(tool)
    return tool


@router.get("", summary="An agent's tools", responses={**CACHED, **UNCHANGED})
@kept("tools_page", "agent_tools")
async def read(tenant: Tenant, agent_id: AgentId) -> list[Tool]:
    return await tenant.told(await tenant.reads.tools(agent_id))


@router.delete("/{tool_id}", status_code=204, summary="Take a tool away")
async def remove(tenant: Tenant, agent_id: AgentId, tool_id: ToolId) -> None:
    await tenant.writes.remove_tool(agent_id, tool_id)
