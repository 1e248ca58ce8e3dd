"""The function of document S, section 3.2, as it prints it, and the write that 7.2 leaves open.

Only the imports are others (`common.cache` is `cascada`, Supabase is the test's PostgreSQL).
"""

import logging

from cascada import get_with_cache_aside
from tests.documented.supabase import get_supabase_client, get_table_name

logger = logging.getLogger("service")


async def get_document_metadata(document_id: str, tenant_id: str, ctx=None):
    # Función para buscar en Supabase
    async def fetch_from_db(resource_id, tenant_id, ctx):
        client = await get_supabase_client(tenant_id)
        table = get_table_name("documents")
        result = await client.table(table).select("*").eq("document_id", resource_id).execute()
        return result.data[0] if result.data else None

    # Función para generar el dato si no existe (opcional)
    async def generate_if_needed(resource_id, tenant_id, ctx):
        # Si no hay generación posible, retornar None
        return None

    # Usar el patrón Cache-Aside centralizado
    result, metrics = await get_with_cache_aside(
        data_type="document",
        resource_id=document_id,
        tenant_id=tenant_id,
        fetch_from_db_func=fetch_from_db,
        generate_func=generate_if_needed,  # Opcional, puede ser None
        ctx=ctx,
    )

    # Si necesitas las métricas para telemetría
    if metrics["source"] == "cache":
        logger.debug(f"Cache hit para documento {document_id}")

    return result


async def update_document_in_db(document_id: str, content: str) -> None:
    client = await get_supabase_client("tenant_abc")
    table = client.table(get_table_name("documents"))
    await table.update({"content": content}).eq("document_id", document_id).execute()
