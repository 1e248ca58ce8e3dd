"""Lists of the store of data that belong to no tenant, and how a tenant is taken out of them.

Services tell each other there which tenants there are (`service/sharing`), and services and warm
restarts which keys are used most (`usage`). So a tenant can be forgotten by a process that has no
service. Of two who rewrite a list at once a part may be lost: it is an estimate.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from cascada.engine.usage import Usage
from cascada.tiers.datastore import DataStore

TENANTS: Final = ":tenants"
USED: Final = ":used"
"""How the names of these lists end."""


async def without(store: DataStore, names: Iterable[str], tenant: str) -> None:
    """Take a tenant out of those of these lists that say something of tenants."""
    for name in names:
        if name.endswith(USED):
            await Usage(name).forget(store, tenant)
        elif name.endswith(TENANTS):
            items = await store.range(name, 0, -1)
            kept = [item for item in items if item != tenant.encode()]
            if kept != items:
                for item in kept:
                    await store.push(name, item, left=False)
                await store.trim(name, len(items), -1)
