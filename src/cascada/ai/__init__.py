"""Answers of models: what a call to one is, as an id, a transport that asks each call once, and the
tools that models call.

`request_id` and `Tools` need nothing beside the core. The transports stand in `cascada.ai.httpx`
and `cascada.ai.httpx2`, one for each library that SDKs are built on.
"""

from cascada.ai.identity import request_id
from cascada.ai.tools import Tools

__all__ = ["Tools", "request_id"]
