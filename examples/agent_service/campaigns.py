"""Campaigns: changes are acknowledged at once, and reach their table by the sync of `CacheService`.

Everything else in this service is written to the database first (writes.py). A campaign goes to the
cache, whose journal outlives the process, and from there to its row: many changes in one
transaction, and later where the database is away. Others write these rows, too, and raise
`version`: a change that was made from an older one loses to the row, and the cache forgets it.

Where the cache keeps no journal (it is switched off, or in memory alone), a change is written at
once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from cascada import AlertRule, CacheService, CascadaError, Context, Mapping, Misuse
from examples.agent_service.database import Database, NotThere
from examples.agent_service.queries.campaigns import CampaignRows
from examples.agent_service.records import Campaign, Cleared

PREFIX: Final = "campaign:"
ROWS: Final = Mapping(PREFIX, "campaigns", ["name", "budget"], "version", tenant_column="tenant_id")
"""Which keys are rows of which table."""

ALERTS: Final = (AlertRule("sync_lag", 60), AlertRule("errors", 10))
"""What its log warns of: changes that do not reach their table, and failures, each for a minute."""


class NotKept(Exception):
    """The journal is full, or does not answer: nothing can be promised."""


class CampaignService:
    """The campaigns of one tenant."""

    def __init__(self, cache_service: CacheService, tenant: str, database: Database) -> None:
        self._cached = cache_service
        self._as_tenant = Context(tenant_id=tenant)
        self._rows = CampaignRows(database, tenant)

    async def get_campaign(self, campaign_id: str) -> Campaign:
        with self._as_tenant:
            cached: Campaign | None = await self._cached.get(PREFIX + campaign_id)
            if cached is not None:
                return cached
            campaign = await self._rows.get(campaign_id)
            if campaign is None:
                raise _not_there(campaign_id)
            # What follows a miss was read, and is not written back.
            await self._cached.set(PREFIX + campaign_id, campaign)
            return campaign

    async def campaigns(self) -> list[Campaign]:
        """Those that have a row, each as it was set last."""
        rows = await self._rows.all()
        with self._as_tenant:
            asked = (self._cached.get(PREFIX + row["id"], row) for row in rows)
            return [*await asyncio.gather(*asked)]

    async def add_campaign(self, campaign: Campaign) -> None:
        await self._rows.add(campaign)
        with self._as_tenant:
            await self._cached.delete(PREFIX + campaign["id"])

    async def update_campaign(self, campaign_id: str, name: str, budget: float) -> Campaign:
        # With the version that it was made from: so the sync sees what others have changed since.
        version = (await self.get_campaign(campaign_id))["version"]
        campaign = Campaign(id=campaign_id, name=name, budget=budget, version=version)
        with self._as_tenant:
            if self._cached.sync_task is not None:
                if not await self._cached.set(PREFIX + campaign_id, campaign, fetched=False):
                    raise NotKept("the change could not be kept; try again")
                return campaign
            if not await self._rows.replace(campaign):
                raise _not_there(campaign_id)
            await self._cached.delete(PREFIX + campaign_id)
        return await self.get_campaign(campaign_id)

    async def clear(self) -> Cleared:
        """Let the cache forget them, in one step: they are read as their rows are. What waits to be
        written is written."""
        with self._as_tenant:
            cleared = await self._cached.clear(f"{PREFIX}*")
        return Cleared(cleared=int(cleared), exact=cleared.exact)


@asynccontextmanager
async def syncing(cache_service: CacheService) -> AsyncIterator[None]:
    """Its sync runs meanwhile, if there is a journal; it ends with a last round."""
    if cache_service.cache.options.mode == "on":
        with suppress(Misuse):  # the cache is in memory alone
            await cache_service.start_sync()
    try:
        yield
    finally:
        await cache_service.stop_sync()


async def standing(cache_service: CacheService) -> dict[str, object]:
    """How its sync is: what operators want to know before anything else."""
    synced = cache_service.sync_task is not None
    aside: int | None = None
    with suppress(CascadaError):  # what keeps the journal is away: it is not known
        aside = len(await cache_service.sync_set_aside()) if synced else 0
    return {
        "synced": synced,
        "lag_seconds": cache_service.sync_lag,
        "last_sync": cache_service.last_sync,
        "set_aside": aside,
        "alerts": [str(each) for each in await cache_service.check_alerts()],
    }


def _not_there(campaign_id: str) -> NotThere:
    return NotThere(f"campaign {campaign_id!r} does not exist")
