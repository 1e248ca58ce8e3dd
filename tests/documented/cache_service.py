"""The code of document V as it prints it: the service of campaigns, and the application's events.

Only the imports are others (`app.services.cache_service` is `cascada`), and what the document calls
and leaves out is handed in: its Supabase client, here a table of SQLite.
"""

import sqlite3
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

from cascada import CacheService


class Campaign(BaseModel):
    id: str
    name: str
    budget: float = 0.0


@dataclass
class Result:
    data: list[dict[str, Any]]


@dataclass
class Supabase:
    """As much of the client's dialect as the document speaks; `asked` are the ids."""

    connection: sqlite3.Connection = field(default_factory=lambda: sqlite3.connect(":memory:"))
    asked: list[str] = field(default_factory=list)
    wanted: str = ""

    def __post_init__(self) -> None:
        self.connection.row_factory = sqlite3.Row
        self.connection.execute("CREATE TABLE campaigns (id, name, budget)")

    def insert(self, *row: object) -> None:
        self.connection.execute("INSERT INTO campaigns VALUES (?, ?, ?)", row)

    def from_table(self, name: str) -> "Supabase":
        assert name == "campaigns"
        return self

    def select(self, columns: str) -> "Supabase":
        assert columns == "*"
        return self

    def eq(self, column: str, value: str) -> "Supabase":
        assert column == "id"
        self.wanted = value
        return self

    def execute(self) -> Result:
        self.asked.append(self.wanted)
        found = self.connection.execute("SELECT * FROM campaigns WHERE id = ?", (self.wanted,))
        return Result([dict(row) for row in found])


# --- Inicialización -----------------------------------------------------------------------------

# En app/main.py
cache_service = CacheService()


def with_events(app: FastAPI) -> FastAPI:
    @app.on_event("startup")
    async def startup_event():
        # Iniciar sincronización de caché
        await cache_service.start_sync()

    @app.on_event("shutdown")
    async def shutdown_event():
        # Detener sincronización de caché
        await cache_service.stop_sync()

    return app


# --- Uso en Servicios ---------------------------------------------------------------------------


class CampaignService:
    def __init__(self, supabase_client, cache_service: CacheService):
        self.supabase = supabase_client
        self.cache_service = cache_service
        self.cache_prefix = "campaign:"

    async def get_campaign(self, campaign_id: str) -> Campaign:
        # Intentar obtener de caché primero
        cache_key = f"{self.cache_prefix}{campaign_id}"
        cached_data = await self.cache_service.get(cache_key)

        if cached_data:
            return Campaign(**cached_data)

        # Si no está en caché, obtener de base de datos
        result = self.supabase.from_table("campaigns").select("*").eq("id", campaign_id).execute()

        if not result.data:
            raise HTTPException(status_code=404, detail="Campaign not found")

        campaign = Campaign(**result.data[0])

        # Almacenar en caché para futuras consultas
        await self.cache_service.set(cache_key, campaign.dict())

        return campaign
