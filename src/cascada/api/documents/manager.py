"""`CacheManager`: the documents' class, as argument orders on the default cache's tenant handles.

It has no state of its own. There is one instance, `get_instance()`; its methods are class methods,
so that both of the documents' ways of calling them do the same (but for lists: `manager_data`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, ClassVar

from cascada.api import default
from cascada.api.cache import Cache
from cascada.api.default import LEFT_OUT, documents_tenant
from cascada.api.documents.cascades import invalidate_complete
from cascada.api.documents.constants import CACHE_TYPE_AGENT_CONFIG, CACHE_TYPE_QUERY_RESULT
from cascada.api.documents.manager_data import ListsAndCounters
from cascada.api.embeddings import store_vector, stored_vector
from cascada.codecs.digest import generate_resource_id_hash
from cascada.codecs.public import as_lists
from cascada.model.door import arguments
from cascada.model.keys import Id
from cascada.model.policy import CachePriority
from cascada.model.ttl import Duration


class CacheManager(ListsAndCounters):
    """The process's one cache, by the documents' names.

    Where `ttl` is None, or left out, the data type decides; 0 is never.
    """

    _instance: ClassVar[CacheManager | None] = None

    @classmethod
    def get_instance(cls) -> CacheManager:
        """The one manager of this process."""
        if CacheManager._instance is None:
            CacheManager._instance = CacheManager()
        return CacheManager._instance

    @classmethod
    def configure(cls, cache: Cache | None) -> None:
        """Use `cache` from now on; without it, the first use builds one from the environment."""
        default.configure(cache)

    @classmethod
    async def get(
        cls,
        data_type: str,
        resource_id: Id,
        tenant_id: Id = LEFT_OUT,
        agent_id: Id | None = None,
        conversation_id: Id | None = None,
        collection_id: Id | None = None,
        default: Any = None,
    ) -> Any:
        """The value, or `default`. Vectors come as lists."""
        handle = documents_tenant(tenant_id, agent_id, conversation_id, collection_id)
        hit = await handle.get(data_type, resource_id)
        return as_lists(hit.value, data_type) if hit else default

    @classmethod
    async def set(
        cls,
        data_type: str,
        resource_id: Id,
        value: Any,
        tenant_id: Id = LEFT_OUT,
        agent_id: Id | None = None,
        conversation_id: Id | None = None,
        collection_id: Id | None = None,
        ttl: Duration | None = None,
        tags: Sequence[str] = (),
        priority: CachePriority | None = None,
        version: int | None = None,
    ) -> bool:
        """Store a value; False if something newer stood against it.

        After a miss of the same key in the same task it is stored only if nothing invalidated the
        key in between, nor set it to something else; where an equal value is there, that one stays
        and the answer is True. With `version`, an older one never replaces a newer one. `priority`
        says what eviction is to give up last (None: the policy says it).
        """
        ttl = arguments.ttl(ttl, zero=True)
        handle = documents_tenant(tenant_id, agent_id, conversation_id, collection_id)
        return await handle.set(
            data_type, resource_id, value, ttl=ttl, tags=tags, version=version, priority=priority
        )

    @classmethod
    async def delete(
        cls,
        data_type: str,
        resource_id: Id,
        tenant_id: Id = LEFT_OUT,
        agent_id: Id | None = None,
        conversation_id: Id | None = None,
        collection_id: Id | None = None,
    ) -> bool:
        """Remove exactly that one key; True if there was a value."""
        handle = documents_tenant(tenant_id, agent_id, conversation_id, collection_id)
        return await handle.delete(data_type, resource_id)

    @classmethod
    async def invalidate(
        cls,
        tenant_id: Id,
        data_type: str,
        resource_id: Id | Collection[Id],
        agent_id: Id | None = None,
        conversation_id: Id | None = None,
        collection_id: Id | None = None,
    ) -> int:
        """Void a resource in this context and all more specific ones; how many values went.

        A list names several, at most a thousand; `"*"` is every resource of the type. What was made
        from them goes as well.
        """
        handle = documents_tenant(tenant_id, agent_id, conversation_id, collection_id)
        return (await handle.invalidate(data_type, resource_id)).keys

    @classmethod
    async def ttl(
        cls,
        data_type: str,
        resource_id: Id,
        tenant_id: Id = LEFT_OUT,
        agent_id: Id | None = None,
        conversation_id: Id | None = None,
        collection_id: Id | None = None,
    ) -> float | None:
        """Seconds until that one key is no longer fresh; None if absent, `inf` if permanent."""
        handle = documents_tenant(tenant_id, agent_id, conversation_id, collection_id)
        return await handle.ttl(data_type, resource_id)

    @classmethod
    async def invalidate_agent_complete(cls, tenant_id: Id, agent_id: Id) -> int:
        """Void everything cached of an agent: by its id, and in its context."""
        return await invalidate_complete(tenant_id, "agent", "agent", agent_id)

    @classmethod
    async def invalidate_collection_complete(cls, tenant_id: Id, collection_id: Id) -> int:
        """Void everything cached of a collection: by its id, and in its context."""
        return await invalidate_complete(tenant_id, "document", "collection", collection_id)

    # --- by the documents' types --------------------------------------------------------------

    @classmethod
    async def get_embedding(
        cls,
        text: str,
        model_name: str,
        tenant_id: Id = LEFT_OUT,
        as_array: bool = False,
        **params: Any,
    ) -> Any:
        """The vector of a text, as a list (`as_array`: a read-only numpy array), or None.

        Other keywords (dimensions, input_type, ...) are part of its identity, here and in
        `set_embedding`. `get_embeddings_batch_with_cache` reads and stores the same vectors.
        """
        handle = documents_tenant(tenant_id)
        return await stored_vector(handle, text, model_name, params, as_array=as_array)

    @classmethod
    async def set_embedding(
        cls,
        text: str,
        embedding: Any,
        model_name: str,
        tenant_id: Id = LEFT_OUT,
        **params: Any,
    ) -> bool:
        """Store the vector of a text: a list of floats, an array or a tensor.

        False if there is one already, or if it was invalidated after the `get_embedding` of this
        task that found none: of several callers that make it at the same time, the first one's
        stays.
        """
        handle = documents_tenant(tenant_id)
        return await store_vector(handle, text, embedding, model_name, params)

    @classmethod
    async def get_query_result(
        cls, query: str, collection_id: Id, tenant_id: Id = LEFT_OUT, **params: Any
    ) -> Any:
        """What a query has found in a collection, or None.

        Other keywords (similarity_top_k, ...) are part of its identity.
        """
        return await cls.get(
            CACHE_TYPE_QUERY_RESULT,
            generate_resource_id_hash(arguments.text(query, "query"), **params),
            tenant_id,
            collection_id=arguments.identity(collection_id, "collection_id"),
        )

    @classmethod
    async def set_query_result(
        cls,
        query: str,
        result: Any,
        collection_id: Id,
        tenant_id: Id = LEFT_OUT,
        **params: Any,
    ) -> bool:
        """Store what a query has found; it goes as soon as the collection changes.

        False if there is a result already, or if the collection has changed after the
        `get_query_result` of this task that found none: what was made then may be outdated.
        """
        collection_id = arguments.identity(collection_id, "collection_id")
        handle = documents_tenant(tenant_id, collection_id=collection_id)
        resource_id = generate_resource_id_hash(arguments.text(query, "query"), **params)
        return await handle._fill_anew(CACHE_TYPE_QUERY_RESULT, resource_id, result)

    @classmethod
    async def get_agent_config(cls, agent_id: Id, tenant_id: Id = LEFT_OUT) -> Any:
        """What `get_with_cache_aside("agent_config", agent_id, tenant_id, ...)` has stored.

        Whether or not it was also passed `agent_id=`.
        """
        found = await cls.get(CACHE_TYPE_AGENT_CONFIG, agent_id, tenant_id)
        if found is None:
            # Apart from the first, whose miss fences the `set_agent_config` that may follow.
            found = await cls.get(CACHE_TYPE_AGENT_CONFIG, agent_id, tenant_id, agent_id=agent_id)
        return found

    @classmethod
    async def set_agent_config(cls, agent_id: Id, config: Any, tenant_id: Id = LEFT_OUT) -> bool:
        """Store it there, and void what reads that also passed `agent_id=` have stored."""
        stored = await cls.set(CACHE_TYPE_AGENT_CONFIG, agent_id, config, tenant_id)
        # The more specific key would answer them before this one. After the set: a read between
        # the two gets the old value once more, and none gets it once both are done.
        await cls.delete(CACHE_TYPE_AGENT_CONFIG, agent_id, tenant_id, agent_id=agent_id)
        return stored
