# ruff: noqa: RUF013, RUF059, UP006, UP035, UP045 - the document writes it so
"""The functions of document A as it prints them: a service whose author has followed the guide.

Only the imports are others (`common.cache` is `cascada`, Supabase is the test's PostgreSQL), and
where the document leaves a body out, there is one.
"""

import logging
import time
from typing import Any, Dict, Optional

from cascada import DEFAULT_TTL_MAPPING as DEFAULT_TTL_MAPPING
from cascada import (
    METRIC_CACHE_HIT,
    METRIC_CACHE_INVALIDATION,
    METRIC_CACHE_INVALIDATION_COORDINATED,
    METRIC_CACHE_MISS,
    METRIC_LATENCY,
    TTL_EXTENDED,
    TTL_SHORT,
    TTL_STANDARD,
    CacheManager,
    get_with_cache_aside,
    track_cache_metrics,
)
from tests.documented.supabase import get_supabase_client

logger = logging.getLogger("agent_service")


# --- Implementación en Agent Service ------------------------------------------------------------


# Obtener configuración de un agente
async def get_agent_config(agent_id: str, tenant_id: str) -> Dict[str, Any]:
    """Obtiene la configuración de un agente usando el patrón Cache-Aside."""

    # Función para obtener el agente de la base de datos
    async def fetch_agent_from_db(resource_id: str, tenant_id: str, **kwargs) -> Dict:
        supabase = get_supabase_client()
        result = await supabase.table("agents") \
            .select("*") \
            .eq("id", resource_id) \
            .eq("tenant_id", tenant_id) \
            .execute()  # fmt: skip

        if result.data and len(result.data) > 0:
            return result.data[0]
        return None

    # Usar el patrón Cache-Aside centralizado
    agent_config, metrics = await get_with_cache_aside(
        data_type="agent_config",
        resource_id=agent_id,
        tenant_id=tenant_id,
        fetch_from_db_func=fetch_agent_from_db,
        ttl=TTL_STANDARD,
    )

    # Registrar métricas (opcional)
    logger.debug(f"Agent config cache metrics: {metrics}")

    return agent_config


# Obtener memoria de conversación
async def get_conversation_memory(
    tenant_id: str, conversation_id: str, agent_id: str = None
) -> Dict:
    """Obtiene la memoria de conversación con el patrón Cache-Aside."""

    # Función para obtener memoria de la base de datos
    async def fetch_memory_from_db(resource_id: str, tenant_id: str, **kwargs) -> Dict:
        result = (
            await get_supabase_client()
            .table("messages")
            .select("content")
            .eq("conversation_id", resource_id)
            .eq("tenant_id", tenant_id)
            .execute()
        )
        return {"messages": [row["content"] for row in result.data]} if result.data else None

    # Función para crear memoria vacía si no existe
    async def create_empty_memory(resource_id: str, tenant_id: str, **kwargs) -> Dict:
        return {
            "messages": [],
            "metadata": {
                "tenant_id": tenant_id,
                "conversation_id": resource_id,
                "agent_id": kwargs.get("agent_id"),
                "created_at": time.time(),
            },
        }

    # Usar el patrón Cache-Aside
    memory, metrics = await get_with_cache_aside(
        data_type="conversation_memory",
        resource_id=conversation_id,
        tenant_id=tenant_id,
        fetch_from_db_func=fetch_memory_from_db,
        generate_func=create_empty_memory,
        agent_id=agent_id,
        conversation_id=conversation_id,
        ttl=TTL_EXTENDED,
    )

    return memory


# --- Tipos de Datos y TTLs ----------------------------------------------------------------------

# Mapeo de TTLs específicos del Agent Service
AGENT_SERVICE_TTL_MAPPING = {
    "agent": TTL_STANDARD,  # 1 hora
    "agent_config": TTL_STANDARD,  # 1 hora
    "agent_tools": TTL_STANDARD,  # 1 hora
    "conversation": TTL_EXTENDED,  # 24 horas
    "conversation_memory": TTL_EXTENDED,  # 24 horas
    "conversation_message": TTL_EXTENDED,  # 24 horas
    "conversation_messages_list": TTL_EXTENDED,  # 24 horas
    "agent_execution_state": TTL_SHORT,  # 5 minutos
    "collection_metadata": TTL_STANDARD,  # 1 hora
}


def get_ttl_for_data_type(data_type: str) -> int:
    """
    Obtiene el TTL apropiado según el tipo de datos.
    Primero busca en el mapeo específico del servicio, luego en el global.
    """
    # Verificar en mapeo específico
    if data_type in AGENT_SERVICE_TTL_MAPPING:
        return AGENT_SERVICE_TTL_MAPPING[data_type]

    # Verificar en mapeo global
    if data_type in DEFAULT_TTL_MAPPING:
        return DEFAULT_TTL_MAPPING[data_type]

    # Valor por defecto
    return TTL_STANDARD


# --- Métricas y Monitoreo -----------------------------------------------------------------------


# Registrar métricas de caché
async def track_agent_cache_metrics(
    tenant_id: str,
    data_type: str,
    operation: str,
    cache_hit: bool,
    latency_ms: float,
    agent_id: Optional[str] = None,
):
    """Registra métricas específicas del Agent Service para caché."""
    metric_type = METRIC_CACHE_HIT if cache_hit else METRIC_CACHE_MISS

    await track_cache_metrics(
        data_type=data_type,
        tenant_id=tenant_id,
        metric_type=metric_type,
        value=1,
        agent_id=agent_id,
        metadata={"operation": operation, "latency_ms": latency_ms, "service": "agent"},
    )

    # Registrar latencia también
    await track_cache_metrics(
        data_type=data_type,
        tenant_id=tenant_id,
        metric_type=METRIC_LATENCY,
        value=latency_ms,
        agent_id=agent_id,
        metadata={"operation": operation, "service": "agent"},
    )


# --- Invalidación de Caché ----------------------------------------------------------------------


async def invalidate_agent_cache_cascade(
    tenant_id: str, agent_id: str, invalidate_conversations: bool = False
) -> Dict[str, int]:
    """Invalida en cascada todas las cachés relacionadas con un agente."""

    invalidation_results = {"agent": 0, "agent_config": 0, "agent_tools": 0, "conversations": 0}

    # 1. Invalidar configuración del agente
    agent_keys = await CacheManager.invalidate(
        tenant_id=tenant_id, data_type="agent", resource_id=agent_id
    )
    invalidation_results["agent"] = agent_keys

    # 2. Invalidar configuración de herramientas
    config_keys = await CacheManager.invalidate(
        tenant_id=tenant_id, data_type="agent_config", resource_id=agent_id
    )
    invalidation_results["agent_config"] = config_keys

    # 3. Invalidar herramientas
    tools_keys = await CacheManager.invalidate(
        tenant_id=tenant_id, data_type="agent_tools", resource_id=agent_id
    )
    invalidation_results["agent_tools"] = tools_keys

    # 4. Si se solicita, invalidar conversaciones relacionadas
    if invalidate_conversations:
        # Obtener conversaciones relacionadas desde BD
        supabase = get_supabase_client()
        result = await supabase.table("conversations") \
            .select("id") \
            .eq("agent_id", agent_id) \
            .eq("tenant_id", tenant_id) \
            .execute()  # fmt: skip

        if result.data:
            for conv in result.data:
                await invalidate_conversation_cache(
                    tenant_id=tenant_id, conversation_id=conv["id"], agent_id=agent_id
                )
                invalidation_results["conversations"] += 1

    # Registrar métrica de invalidación coordinada
    await track_cache_metrics(
        data_type="agent_cascade",
        tenant_id=tenant_id,
        metric_type=METRIC_CACHE_INVALIDATION_COORDINATED,
        value=sum(invalidation_results.values()),
        agent_id=agent_id,
        metadata=invalidation_results,
    )

    return invalidation_results


async def invalidate_conversation_cache(
    tenant_id: str, conversation_id: str, agent_id: Optional[str] = None
) -> int:
    """Invalida la caché relacionada con una conversación."""

    # Invalidar memoria de conversación
    memory_keys = await CacheManager.invalidate(
        tenant_id=tenant_id,
        data_type="conversation_memory",
        resource_id=conversation_id,
        agent_id=agent_id,
    )

    # Invalidar mensajes de la conversación
    message_keys = await CacheManager.invalidate(
        tenant_id=tenant_id,
        data_type="conversation_message",
        resource_id="*",  # Wildcard para todos los mensajes
        agent_id=agent_id,
        conversation_id=conversation_id,
    )

    # Registrar métrica
    total_keys = memory_keys + message_keys
    await track_cache_metrics(
        data_type="conversation",
        tenant_id=tenant_id,
        metric_type=METRIC_CACHE_INVALIDATION,
        value=total_keys,
        agent_id=agent_id,
        conversation_id=conversation_id,
    )

    return total_keys
