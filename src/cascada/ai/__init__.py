"""Answers of models: what a call to one is, as an id, and a transport that asks each call once.

`request_id` needs nothing beside the core. The transports stand in `cascada.ai.httpx` and
`cascada.ai.httpx2`, one for each library that SDKs are built on.
"""

from cascada.ai.identity import request_id

__all__ = ["request_id"]
