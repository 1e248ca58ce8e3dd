"""The Spanish guide's table of the documents' names is whole, and says of each if it is there."""

import re
from pathlib import Path

import cascada

GUIDE = Path(__file__).parents[2] / "docs/es/guia.md"
NOT_YET = "todavía no"
ROW = re.compile(r"^\| (`.+?) \| (.+) \|$", re.M)

DOCUMENTED = """
    CacheManager CacheManager.get_instance CacheManager.get CacheManager.set CacheManager.delete
    CacheManager.invalidate CacheManager.ttl CacheManager.rpush CacheManager.lpop
    CacheManager.lrange CacheManager.get_embedding CacheManager.set_embedding
    CacheManager.get_query_result CacheManager.set_query_result CacheManager.get_agent_config
    CacheManager.set_agent_config CacheManager.increment_counter CacheManager.get_counter
    CacheManager.invalidate_agent_complete CacheManager.invalidate_collection_complete
    get_with_cache_aside get_embeddings_batch_with_cache serialize_for_cache
    deserialize_from_cache generate_resource_id_hash get_ttl_for_data_type
    TTL_SHORT TTL_STANDARD TTL_EXTENDED TTL_PERMANENT DEFAULT_TTL_MAPPING AGENT_SERVICE_TTL_MAPPING
    CACHE_TYPE_AGENT CACHE_TYPE_AGENT_CONFIG CACHE_TYPE_CONVERSATION_MEMORY
    METRIC_CACHE_HIT METRIC_CACHE_MISS METRIC_LATENCY METRIC_CACHE_SIZE METRIC_CACHE_INVALIDATION
    METRIC_CACHE_INVALIDATION_COORDINATED track_cache_metrics track_agent_cache_metrics
    Context Context.get_tenant_id Context.get_agent_id with_context
    invalidate_document_update invalidate_conversation_cache invalidate_agent_cache_cascade
    invalidate_conversation_cache_cascade
    get_cached_value set_cached_value get_cache_analytics cached CachePriority standard_cache
    swr_cache tagged_cache personalized_cache advanced_cache_manager
    TTL_STATIC TTL_DYNAMIC TTL_PERSONAL CacheService CacheMetrics
"""
"""The Python names of the five documents."""


def rows() -> list[tuple[list[str], str]]:
    """The documents' names of each row, and what the guide says of them."""
    text = GUIDE.read_text("utf-8")
    return [(re.findall(r"`([\w.]+)`", names), says) for names, says in ROW.findall(text)]


def is_there(name: str) -> bool:
    found: object = cascada
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is not None


def test_a_name_is_there_unless_the_guide_says_not_yet() -> None:
    wrong = {
        name: says
        for names, says in rows()
        for name in names
        if is_there(name) == says.startswith(NOT_YET)
    }
    assert not wrong


def test_every_name_of_the_documents_is_in_the_guide() -> None:
    assert not {*DOCUMENTED.split()} - {name for names, _ in rows() for name in names}
