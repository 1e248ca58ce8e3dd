"""The documents' constants: data types by name, and metrics by name.

A `CACHE_TYPE_*` is the `data_type` it stands for. The ttl constants are in `model/ttl.py`.
"""

from __future__ import annotations

from typing import Final

CACHE_TYPE_AGENT: Final = "agent"
CACHE_TYPE_AGENT_CONFIG: Final = "agent_config"
CACHE_TYPE_AGENT_EXECUTION_STATE: Final = "agent_execution_state"
CACHE_TYPE_AGENT_RESPONSE: Final = "agent_response"
CACHE_TYPE_AGENT_TOOLS: Final = "agent_tools"
CACHE_TYPE_COLLECTION_METADATA: Final = "collection_metadata"
CACHE_TYPE_CONVERSATION: Final = "conversation"
CACHE_TYPE_CONVERSATION_MEMORY: Final = "conversation_memory"
CACHE_TYPE_CONVERSATION_MESSAGE: Final = "conversation_message"
CACHE_TYPE_CONVERSATION_MESSAGES_LIST: Final = "conversation_messages_list"
CACHE_TYPE_DOCUMENT: Final = "document"
CACHE_TYPE_EMBEDDING: Final = "embedding"
CACHE_TYPE_QUERY_RESULT: Final = "query_result"
CACHE_TYPE_RETRIEVAL_CACHE: Final = "retrieval_cache"
CACHE_TYPE_SEMANTIC_INDEX: Final = "semantic_index"
CACHE_TYPE_VECTOR_STORE: Final = "vector_store"

METRIC_CACHE_HIT: Final = "cache_hit"
METRIC_CACHE_MISS: Final = "cache_miss"
METRIC_LATENCY: Final = "latency"
METRIC_CACHE_SIZE: Final = "cache_size"
METRIC_CACHE_INVALIDATION: Final = "cache_invalidation"
METRIC_CACHE_INVALIDATION_COORDINATED: Final = "cache_invalidation_coordinated"
METRIC_CACHE_INVALIDATION_FAILED: Final = "cache_invalidation_failed"
