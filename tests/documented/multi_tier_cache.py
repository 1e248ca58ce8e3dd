# ruff: noqa: T201 - the document prints
"""The code of document N as it prints it: flat keys, the ready strategies, a router.

Only the imports are others (`core.advanced_cache_manager` and `core.cache_strategies` are
`cascada`), and what the document calls and leaves out is handed in.
"""

import logging
from typing import Any

from fastapi import APIRouter

from cascada import (
    CachePriority,
    advanced_cache_manager,
    cached,
    get_cache_analytics,
    get_cached_value,
    personalized_cache,
    set_cached_value,
    standard_cache,
    swr_cache,
    tagged_cache,
)

logger = logging.getLogger("genesis")

computed: list[str] = []
"""What `expensive_computation` was asked."""


def expensive_computation(param: str) -> dict:
    computed.append(param)
    return {"param": param}


class Agent:
    """What the document calls `agent`, and the API that has the latest data."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def process(self, prompt: str) -> str:
        self.asked.append(prompt)
        return f"answer to {prompt}"

    async def get_latest_data(self) -> dict:
        self.asked.append("latest")
        return {"n": len(self.asked)}


agent = api = Agent()


class Database:
    def __init__(self) -> None:
        self.asked: list[str] = []

    async def get_agent(self, agent_id: str) -> dict | None:
        self.asked.append(agent_id)
        return {"id": agent_id}


db = Database()


# --- Uso Básico ---------------------------------------------------------------------------------


async def guardar_y_obtener() -> Any:
    # Guardar en caché
    await set_cached_value(
        key="user:123:profile",
        value={"name": "John", "age": 30},
        ttl=3600,  # 1 hora
        priority=CachePriority.HIGH,
    )

    # Obtener del caché
    profile = await get_cached_value("user:123:profile")
    return profile


@cached(ttl=1800, key_prefix="agent_response")
async def get_expensive_data(param: str) -> dict:
    # Esta función solo se ejecuta en cache miss
    return expensive_computation(param)


# --- Estrategias de Caché -----------------------------------------------------------------------


async def standard() -> Any:
    await standard_cache.set("key", "value", ttl=3600)
    value = await standard_cache.get("key")
    return value


async def fetch_fresh_data():
    return await api.get_latest_data()


async def swr() -> Any:
    data = await swr_cache.get("metrics", revalidate_func=fetch_fresh_data)
    return data


async def tagged(article_data: dict) -> Any:
    # Guardar con tags
    await tagged_cache.set("article:1", article_data, tags=["sports", "nutrition"])

    # Invalidar todos los artículos de nutrición
    return await tagged_cache.delete_by_tag("nutrition")


async def personalized(user_prefs: dict, recs: list) -> None:
    # Cache por usuario
    await personalized_cache.set("preferences", user_prefs, user_id="user_123")

    # Cache por segmento
    await personalized_cache.set("recommendations", recs, segment="premium_users")


# --- Métricas y Analíticas ----------------------------------------------------------------------


async def estadisticas() -> None:
    stats = await get_cache_analytics()

    # Estadísticas globales
    print(f"Hit ratio: {stats['global_statistics']['global_hit_ratio']:.2%}")
    print(f"Response time: {stats['global_statistics']['average_response_time_ms']}ms")

    # Por capa
    for layer, data in stats["layer_statistics"].items():
        print(f"{layer}: {data['hit_ratio']:.2%} hit ratio")


async def optimizacion() -> Any:
    # El sistema optimiza automáticamente la distribución
    result = await advanced_cache_manager.optimize_cache_distribution()
    return result


# --- Integración con FastAPI --------------------------------------------------------------------

router = APIRouter()


@router.get("/api/v1/agents/{agent_id}")
async def get_agent_info(agent_id: str):
    # Check cache first
    cache_key = f"agent:{agent_id}:info"
    cached = await get_cached_value(cache_key)

    if cached:
        return {"data": cached, "cached": True}

    # Get from database
    agent_info = await db.get_agent(agent_id)

    # Store in cache
    await set_cached_value(cache_key, agent_info, ttl=3600, priority=CachePriority.NORMAL)

    return {"data": agent_info, "cached": False}


# --- Casos de Uso Recomendados ------------------------------------------------------------------


@cached(ttl=1800, key_prefix="agent")
async def get_agent_response(agent_id: str, prompt: str):
    return await agent.process(prompt)


async def perfil(user_id: str, profile: dict) -> None:
    cache_key = f"user:{user_id}:full_profile"
    await set_cached_value(cache_key, profile, ttl=3600, priority=CachePriority.HIGH)


async def dashboard(calculate_metrics) -> Any:
    # Usar SWR para métricas
    metrics = await swr_cache.get("dashboard:metrics", revalidate_func=calculate_metrics)
    return metrics


async def configuraciones(settings: dict) -> None:
    # Cachear indefinidamente configuraciones
    await set_cached_value(
        "config:app_settings",
        settings,
        ttl=None,  # Sin expiración
        priority=CachePriority.CRITICAL,
    )


# --- Consideraciones de Seguridad ---------------------------------------------------------------


async def logout(user_id: str) -> None:
    # Limpiar caché de usuario en logout
    await personalized_cache.delete_user_cache(user_id)
