"""What the routes work with: the parts of the service, opened together and closed together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from cascada import Cache, CacheService, Price, Tenant, configure, register_conversation_resolver
from examples.agent_service.answering import DOLLARS_IN, DOLLARS_OUT, LocalStandIn
from examples.agent_service.caching import POLICIES, CachedReads
from examples.agent_service.campaigns import ALERTS, ROWS, CampaignService, syncing
from examples.agent_service.database import Database
from examples.agent_service.embedding import Embedder, embedder_of
from examples.agent_service.queries.conversations import ConversationRows
from examples.agent_service.settings import Settings
from examples.agent_service.writes import Writes

_PRICES: Final = {LocalStandIn.name: Price(input=DOLLARS_IN, output=DOLLARS_OUT)}


@dataclass(frozen=True, slots=True)
class Service:
    """One running service."""

    settings: Settings
    database: Database
    cache: Cache
    embedder: Embedder
    model: LocalStandIn
    campaigns: CacheService

    @property
    def cached(self) -> bool:
        """Whether reads are answered from the cache (not in the modes off and observe)."""
        return self.cache.options.mode == "on"

    def tenant(self, tenant: str) -> TenantService:
        return TenantService(self, tenant)


@dataclass(frozen=True, slots=True)
class TenantService:
    """The service as one tenant sees it: a request never gets at anything else.

    One is made for each request, which mostly reads or writes: so either is made when it is wanted.
    """

    _service: Service
    tenant: str

    @property
    def cached(self) -> bool:
        return self._service.cached

    @property
    def reads(self) -> CachedReads:
        of = self._service
        return CachedReads(of.cache, self.tenant, of.database, of.embedder, of.model)

    @property
    def handle(self) -> Tenant:
        return self._service.cache.tenant(self.tenant)

    @property
    def writes(self) -> Writes:
        of = self._service
        return Writes(of.cache, self.tenant, of.database, of.embedder)

    @property
    def campaigns(self) -> CampaignService:
        of = self._service
        return CampaignService(of.campaigns, self.tenant, of.database)


@asynccontextmanager
async def open_service(settings: Settings, cache: Cache) -> AsyncIterator[Service]:
    """Open all parts, and close them, the cache as well, when the block ends.

    Meanwhile the documents' functions (cascades, tracked metrics) act on this cache.
    """
    database = Database(settings.database_url)
    embedder = embedder_of(settings)
    campaigns = CacheService(
        name="campaigns",
        cache=cache,
        database=settings.database_url,
        mappings=[ROWS],
        alerts=ALERTS,
    )

    async def conversations_of(tenant_id: str, agent_id: str) -> list[str]:
        return await ConversationRows(database, tenant_id).ids_of(agent_id)

    try:
        await database.create_tables()
        configure(cache)
        register_conversation_resolver(conversations_of)
        async with cache, syncing(campaigns):
            model = LocalStandIn(settings.model_latency_ms)
            yield Service(settings, database, cache, embedder, model, campaigns)
    finally:
        register_conversation_resolver(None)
        configure(None)
        await embedder.aclose()
        await database.aclose()


def make_cache(settings: Settings) -> Cache:
    """The cache that the environment describes; switched off, loads go straight to the source."""
    if settings.cache:
        return Cache.from_env(policies=POLICIES, prices=_PRICES)
    return Cache(policies=POLICIES, mode="off")
