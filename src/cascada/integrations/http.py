"""HTTP: how a response tells what a cache did for it. What it says is made in `api`, for the
transports of `cascada.ai`, too; nothing of a framework is needed."""

from cascada.api.cache_status import cache_status

__all__ = ["cache_status"]
