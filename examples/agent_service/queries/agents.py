"""Rows of agents and their tools."""

from __future__ import annotations

from typing import cast

from sqlalchemy import delete, insert, select, update

from examples.agent_service.database import TenantRows
from examples.agent_service.records import Agent, Tool
from examples.agent_service.schema import agents, tools

_AGENT = (agents.c.id, agents.c.name, agents.c.instructions, agents.c.max_words)
_TOOL = (tools.c.id, tools.c.agent_id, tools.c.name, tools.c.description)


class AgentRows(TenantRows):
    """Agents of one tenant."""

    async def get(self, agent_id: str) -> Agent | None:
        row = await self._one(select(*_AGENT).where(self._own(agents, id=agent_id)))
        return cast(Agent | None, row)

    async def add(self, agent: Agent) -> None:
        row = {"tenant_id": self._tenant, **agent}
        await self._add(insert(agents).values(row), f"agent {agent['id']!r}")

    async def replace(self, agent: Agent) -> bool:
        query = update(agents).where(self._own(agents, id=agent["id"]))
        return bool(await self._change(query.values(**agent)))

    async def remove(self, agent_id: str) -> bool:
        return bool(await self._change(delete(agents).where(self._own(agents, id=agent_id))))

    async def tools(self, agent_id: str) -> list[Tool] | None:
        """None if there is no such agent: it has no list, not an empty one."""
        theirs = agents.outerjoin(tools, self._own(tools, agent_id=agent_id))
        query = select(*_TOOL).select_from(theirs).where(self._own(agents, id=agent_id))
        rows = await self._all(query.order_by(tools.c.id))
        if not rows:
            return None
        return [cast(Tool, row) for row in rows if row["id"] is not None]

    async def add_tool(self, tool: Tool) -> None:
        row = {"tenant_id": self._tenant, **tool}
        await self._add(
            insert(tools).values(row), f"tool {tool['id']!r}", f"agent {tool['agent_id']!r}"
        )

    async def remove_tool(self, agent_id: str, tool_id: str) -> bool:
        query = delete(tools).where(self._own(tools, agent_id=agent_id, id=tool_id))
        return bool(await self._change(query))
