"""How long a value may be served: durations, and the documented tables of types.

A ttl is seconds (int or float) or a timedelta; `FOREVER` is never. In the documents' faces 0 means
never as well (`TTL_PERMANENT`); the modern face says FOREVER.
"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Final

from cascada.model.door import arguments

Duration = int | float | timedelta

FOREVER: Final = math.inf
"""The ttl of what never expires."""

TTL_SHORT: Final = 300
TTL_STANDARD: Final = 3600
TTL_EXTENDED: Final = 86400
TTL_PERMANENT: Final = 0

TTL_STATIC: Final = 7200
TTL_DYNAMIC: Final = 300
TTL_PERSONAL: Final = 3600

DEFAULT_TTL_MAPPING: Final = {
    "embedding": TTL_EXTENDED,
    "vector_store": TTL_STANDARD,
    "agent_config": TTL_STANDARD,
    "semantic_index": TTL_STANDARD,
    "query_result": TTL_SHORT,
    "agent_response": TTL_SHORT,
    "retrieval_cache": TTL_SHORT,
}

AGENT_SERVICE_TTL_MAPPING: Final = {
    "agent": TTL_STANDARD,
    "agent_config": TTL_STANDARD,
    "agent_tools": TTL_STANDARD,
    "collection_metadata": TTL_STANDARD,
    "conversation": TTL_EXTENDED,
    "conversation_memory": TTL_EXTENDED,
    "conversation_message": TTL_EXTENDED,
    "conversation_messages_list": TTL_EXTENDED,
    "agent_execution_state": TTL_SHORT,
}


def get_ttl_for_data_type(data_type: str) -> int:
    """Seconds for a documented type: the service's table, then the default one, then STANDARD."""
    data_type = arguments.data_type(data_type)
    return AGENT_SERVICE_TTL_MAPPING.get(
        data_type, DEFAULT_TTL_MAPPING.get(data_type, TTL_STANDARD)
    )


def seconds(length: Duration) -> float:
    """A duration that was let in at the door, in seconds; FOREVER is `inf`."""
    return length.total_seconds() if isinstance(length, timedelta) else float(length)
