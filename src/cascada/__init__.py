"""cascada: a multi-tenant cache in tiers, coherent across processes, for AI-agent services.

The names in `__all__` are the modern face, and all that `dir` shows. The documents' names
(`CacheManager`, `get_with_cache_aside`, the constants, the errors, ...) are importable from here as
well. Each name is loaded when it is first asked for, so `import cascada` costs next to nothing.
Type checkers read the imports, programs the table below them; a test holds the two together.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cascada.api.cache import Cache as Cache
    from cascada.api.cached.decorator import cached as cached
    from cascada.api.context import Context as Context
    from cascada.api.context import current_context as current_context
    from cascada.api.default import configure as configure
    from cascada.api.default import reset as reset
    from cascada.api.documents.analytics import get_cache_analytics as get_cache_analytics
    from cascada.api.documents.cache_aside import get_with_cache_aside as get_with_cache_aside
    from cascada.api.documents.cascades import (
        invalidate_agent_cache_cascade as invalidate_agent_cache_cascade,
    )
    from cascada.api.documents.cascades import (
        invalidate_conversation_cache as invalidate_conversation_cache,
    )
    from cascada.api.documents.cascades import (
        invalidate_conversation_cache_cascade as invalidate_conversation_cache_cascade,
    )
    from cascada.api.documents.cascades import (
        invalidate_document_update as invalidate_document_update,
    )
    from cascada.api.documents.cascades import (
        register_conversation_resolver as register_conversation_resolver,
    )
    from cascada.api.documents.constants import *  # noqa: F403 - all its names are public
    from cascada.api.documents.layers import delete_cached_value as delete_cached_value
    from cascada.api.documents.layers import get_cached_value as get_cached_value
    from cascada.api.documents.layers import set_cached_value as set_cached_value
    from cascada.api.documents.layers import standard_cache as standard_cache
    from cascada.api.documents.layers import swr_cache as swr_cache
    from cascada.api.documents.layers import tagged_cache as tagged_cache
    from cascada.api.documents.manager import CacheManager as CacheManager
    from cascada.api.documents.optimizer import advanced_cache_manager as advanced_cache_manager
    from cascada.api.documents.personalized import personalized_cache as personalized_cache
    from cascada.api.documents.tracking import (
        track_agent_cache_metrics as track_agent_cache_metrics,
    )
    from cascada.api.documents.tracking import track_cache_metrics as track_cache_metrics
    from cascada.api.embeddings import Embeddings as Embeddings
    from cascada.api.embeddings import (
        get_embeddings_batch_with_cache as get_embeddings_batch_with_cache,
    )
    from cascada.api.sync.faces import SyncCache as SyncCache
    from cascada.api.sync.faces import SyncList as SyncList
    from cascada.api.sync.faces import SyncTenant as SyncTenant
    from cascada.api.tenant.data import TenantList as TenantList
    from cascada.api.tenant.handle import Tenant as Tenant
    from cascada.api.with_context import with_context as with_context
    from cascada.codecs.digest import generate_resource_id_hash as generate_resource_id_hash
    from cascada.codecs.public import deserialize_from_cache as deserialize_from_cache
    from cascada.codecs.public import serialize_for_cache as serialize_for_cache
    from cascada.engine.writing.cascade import Cascade as Cascade
    from cascada.model.bills.bill import Bill as Bill
    from cascada.model.bills.cost import Cost as Cost
    from cascada.model.bills.cost import Price as Price
    from cascada.model.dependencies import Dependent as Dependent
    from cascada.model.entry import Hit as Hit
    from cascada.model.entry import Invalidated as Invalidated
    from cascada.model.entry import Miss as Miss
    from cascada.model.errors import *  # noqa: F403 - all its names are public
    from cascada.model.errors import CascadaError as CascadaError
    from cascada.model.events import Event as Event
    from cascada.model.forgotten import ForgetProgress as ForgetProgress
    from cascada.model.forgotten import ForgetReport as ForgetReport
    from cascada.model.keys import Key as Key
    from cascada.model.keys import Scope as Scope
    from cascada.model.limits import Limits as Limits
    from cascada.model.loaded import Loaded as Loaded
    from cascada.model.policy import CachePriority as CachePriority
    from cascada.model.policy import Policy as Policy
    from cascada.model.ttl import AGENT_SERVICE_TTL_MAPPING as AGENT_SERVICE_TTL_MAPPING
    from cascada.model.ttl import DEFAULT_TTL_MAPPING as DEFAULT_TTL_MAPPING
    from cascada.model.ttl import FOREVER as FOREVER
    from cascada.model.ttl import TTL_DYNAMIC as TTL_DYNAMIC
    from cascada.model.ttl import TTL_EXTENDED as TTL_EXTENDED
    from cascada.model.ttl import TTL_PERMANENT as TTL_PERMANENT
    from cascada.model.ttl import TTL_PERSONAL as TTL_PERSONAL
    from cascada.model.ttl import TTL_SHORT as TTL_SHORT
    from cascada.model.ttl import TTL_STANDARD as TTL_STANDARD
    from cascada.model.ttl import TTL_STATIC as TTL_STATIC
    from cascada.model.ttl import get_ttl_for_data_type as get_ttl_for_data_type
    from cascada.service.alerts import Alert as Alert
    from cascada.service.alerts import AlertRule as AlertRule
    from cascada.service.metrics import CacheMetrics as CacheMetrics
    from cascada.service.service import CacheService as CacheService
    from cascada.service.sync.mapping import Mapping as Mapping
    from cascada.service.sync.report import SyncProgress as SyncProgress
    from cascada.service.sync.report import SyncReport as SyncReport
    from cascada.service.warming import WarmProgress as WarmProgress
    from cascada.service.warming import WarmReport as WarmReport

__version__ = "0.1.0"

__all__ = [
    "FOREVER",
    "Cache",
    "CascadaError",
    "Context",
    "Event",
    "Hit",
    "Limits",
    "Loaded",
    "Miss",
    "Policy",
    "Tenant",
    "cached",
]

_NAMES = {
    "api.cache": "Cache",
    "api.documents.analytics": "get_cache_analytics",
    "api.documents.cache_aside": "get_with_cache_aside",
    "api.documents.cascades": """
        invalidate_agent_cache_cascade invalidate_conversation_cache
        invalidate_conversation_cache_cascade invalidate_document_update
        register_conversation_resolver
    """,
    "api.documents.constants": """
        CACHE_TYPE_AGENT CACHE_TYPE_AGENT_CONFIG CACHE_TYPE_AGENT_EXECUTION_STATE
        CACHE_TYPE_AGENT_RESPONSE CACHE_TYPE_AGENT_TOOLS CACHE_TYPE_COLLECTION_METADATA
        CACHE_TYPE_CONVERSATION CACHE_TYPE_CONVERSATION_MEMORY CACHE_TYPE_CONVERSATION_MESSAGE
        CACHE_TYPE_CONVERSATION_MESSAGES_LIST CACHE_TYPE_DOCUMENT CACHE_TYPE_EMBEDDING
        CACHE_TYPE_QUERY_RESULT CACHE_TYPE_RETRIEVAL_CACHE CACHE_TYPE_SEMANTIC_INDEX
        CACHE_TYPE_VECTOR_STORE
        METRIC_CACHE_HIT METRIC_CACHE_INVALIDATION METRIC_CACHE_INVALIDATION_COORDINATED
        METRIC_CACHE_INVALIDATION_FAILED METRIC_CACHE_MISS METRIC_CACHE_SIZE METRIC_LATENCY
    """,
    "api.documents.layers": """
        delete_cached_value get_cached_value set_cached_value standard_cache swr_cache tagged_cache
    """,
    "api.documents.optimizer": "advanced_cache_manager",
    "api.documents.personalized": "personalized_cache",
    "api.context": "Context current_context",
    "api.cached.decorator": "cached",
    "api.tenant.data": "TenantList",
    "api.default": "configure reset",
    "api.embeddings": "Embeddings get_embeddings_batch_with_cache",
    "api.with_context": "with_context",
    "api.documents.manager": "CacheManager",
    "api.sync.faces": "SyncCache SyncList SyncTenant",
    "api.tenant.handle": "Tenant",
    "api.documents.tracking": "track_agent_cache_metrics track_cache_metrics",
    "codecs.digest": "generate_resource_id_hash",
    "codecs.public": "deserialize_from_cache serialize_for_cache",
    "model.bills.bill": "Bill",
    "model.bills.cost": "Cost Price",
    "model.dependencies": "Dependent",
    "engine.writing.cascade": "Cascade",
    "model.entry": "Hit Invalidated Miss",
    "model.errors": """
        BadInput CacheClosed CascadaError CorruptEntry InvalidKey InvalidPolicy InvalidSettings
        InvalidTTL InvalidationPending LoadCycle LoadError LoadTimeout MissingContext MissingExtra
        MissingTenant Misuse SerializationError SourceBusy TierUnavailable Unanswered WrongLoop
    """,
    "model.events": "Event",
    "model.forgotten": "ForgetProgress ForgetReport",
    "model.keys": "Key Scope",
    "model.limits": "Limits",
    "model.loaded": "Loaded",
    "model.policy": "CachePriority Policy",
    "model.ttl": """
        AGENT_SERVICE_TTL_MAPPING DEFAULT_TTL_MAPPING FOREVER TTL_DYNAMIC TTL_EXTENDED
        TTL_PERMANENT TTL_PERSONAL TTL_SHORT TTL_STANDARD TTL_STATIC get_ttl_for_data_type
    """,
    "service.alerts": "Alert AlertRule",
    "service.metrics": "CacheMetrics",
    "service.service": "CacheService",
    "service.sync.mapping": "Mapping",
    "service.sync.report": "SyncProgress SyncReport",
    "service.warming": "WarmProgress WarmReport",
}
_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}


if not TYPE_CHECKING:  # a checker would take it to mean that every name is there

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module 'cascada' has no attribute {name!r}")
        value = getattr(import_module(f"cascada.{_HOME[name]}"), name)
        globals()[name] = value  # the next look-up finds it without coming here
        return value


def __dir__() -> list[str]:
    return __all__
