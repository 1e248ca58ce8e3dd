"""The public callables of the documents' faces that the walk of `doors` covers."""

from __future__ import annotations

from typing import Any, Final

from cascada import AlertRule, Mapping

MAPPING: Final = Mapping("p:", "t", ["a"], tenant="t")

DOCUMENTED: Final[dict[str, dict[str, Any]]] = {
    **{f"CacheManager.{name}": {} for name in (
        "delete", "get", "get_agent_config", "get_counter", "get_embedding", "get_instance",
        "get_query_result", "increment_counter", "invalidate", "invalidate_agent_complete",
        "invalidate_collection_complete", "llen", "lpop", "lpush", "lrange", "ltrim", "rpop",
        "rpush", "set", "set_agent_config", "set_embedding", "set_query_result", "ttl",
    )},
    "CacheManager.configure": {}, "configure": {}, "current_context": {},
    "deserialize_from_cache": {}, "serialize_for_cache": {}, "generate_resource_id_hash": {},
    "get_embeddings_batch_with_cache": {}, "get_ttl_for_data_type": {},
    "get_with_cache_aside": {}, "invalidate_agent_cache_cascade": {},
    "invalidate_conversation_cache": {}, "invalidate_conversation_cache_cascade": {},
    "invalidate_document_update": {}, "register_conversation_resolver": {},
    "track_agent_cache_metrics": {}, "track_cache_metrics": {"value": 1.0},
    "with_context": dict.fromkeys(("tenant", "agent", "conversation", "collection"), False),
    **{name: {"key": "k1"} for name in (
        "delete_cached_value", "get_cached_value", "set_cached_value",
        *(f"{kind}.{call}" for kind in ("PersonalizedCache", "StandardCache", "TaggedCache")
          for call in ("delete", "get", "set")),
        "SwrCache.delete", "SwrCache.get",
    )},
    "PersonalizedCache.delete_user_cache": {}, "TaggedCache.delete_by_tag": {},
    "AdvancedCacheManager.optimize_cache_distribution": {"max_moves": 5, "max_bytes": 1000},
    "get_cache_analytics": {},
    "CacheService": {
        "sync_interval": 60.0, "name": "n", "count": "all", "time_zone": "UTC",
        "types": {"x": str}, "database": "sqlite:///x.db", "mappings": [MAPPING],
        "conflicts": "cache_wins", "on_sync_progress": print, "warm_on_start": 9, "loader": len,
        "alerts": [AlertRule("memory", 0.9)], "on_alert": print,
    },
    **{f"CacheService.{name}": {"key": "k1", "fetched": False, "row": False}
       for name in ("delete", "get", "set")},
    "CacheService.warm": {
        "keys": ["k1"], "top": None, "loader": len, "at_once": 8, "on_progress": print,
    },
    "AlertRule": {"figure": "errors", "limit": 1.5, "lasts": 60.0, "clears": None},
    "CacheService.start_alerts": {
        "rules": [AlertRule("errors", 1)], "on_alert": print, "every": 60.0,
    },
    "CacheService.open_row": {"key": "k1", "data": b'"7"'},
    "CacheService.sync_set_aside": {"most": 9}, "CacheService.sync_retry": {"keys": ["k1"]},
    "Mapping": {
        "prefix": "p:", "table": "t", "columns": ["a"], "version_column": "v", "key_column": "k",
        "tenant_column": None, "tenant": "t", "writes": True, "on_delete": "soft",
        "deleted_column": "d", "conflicts": "cache_wins",
    },
    "CacheService.adaptive_ttl": {}, "CacheService.is_peak_hour": {"hour": 9},
    "CacheService.clear": {"pattern": "k1"}, "CacheService.get_metrics": {},
}  # fmt: skip
"""For each the plain values of its own, as in `COVERED`."""
