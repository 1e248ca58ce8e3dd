"""Rows of campaigns."""

from __future__ import annotations

from typing import cast

from sqlalchemy import insert, select, update

from examples.agent_service.database import TenantRows
from examples.agent_service.records import Campaign
from examples.agent_service.schema import campaigns

_CAMPAIGN = (campaigns.c.id, campaigns.c.name, campaigns.c.budget, campaigns.c.version)


class CampaignRows(TenantRows):
    """Campaigns of one tenant. Whoever writes a row raises its version."""

    async def get(self, campaign_id: str) -> Campaign | None:
        row = await self._one(select(*_CAMPAIGN).where(self._own(campaigns, id=campaign_id)))
        return cast(Campaign | None, row)

    async def all(self) -> list[Campaign]:
        query = select(*_CAMPAIGN).where(self._own(campaigns)).order_by(campaigns.c.id)
        return [cast(Campaign, row) for row in await self._all(query)]

    async def add(self, campaign: Campaign) -> None:
        row = {"tenant_id": self._tenant, **campaign}
        await self._add(insert(campaigns).values(row), f"campaign {campaign['id']!r}")

    async def replace(self, campaign: Campaign) -> bool:
        query = update(campaigns).where(self._own(campaigns, id=campaign["id"]))
        row = {**campaign, "version": campaigns.c.version + 1}
        return bool(await self._change(query.values(row)))
