"""What asks the provider, in a forked child: another connection than its parent's.

Both would else speak over the sockets that were open, and each might get what the other has asked.
A transport that was passed to ours is its maker's to look after.
"""

from __future__ import annotations

import os
from typing import Any, Final
from weakref import WeakSet

_owners: Final[WeakSet[Any]] = WeakSet()
_of_the_parent: Final[list[Any]] = []
"""Kept, since to collect one might say farewell on its sockets."""


def own(owner: Any) -> Any:
    """The library's own transport for this one of ours; in a child, it will have a new one."""
    _owners.add(owner)
    return owner.own()


def _after_fork_in_child() -> None:
    for owner in list(_owners):
        _of_the_parent.append(owner._inner)
        owner._inner = owner.own()


os.register_at_fork(after_in_child=_after_fork_in_child)
