"""A multi-tenant agent service (FastAPI) that caches with cascada: the reference and the demo.

It answers questions from documents: agents with tools, conversations, documents in collections,
retrieval by vectors; its campaigns are changed in the cache, and synced to their table.
`python -m examples.agent_service.demo` runs it without a cache, with one that is written by hand,
and with cascada; `python -m examples.agent_service.serve` leaves it running. `caching.py` is the
file to read first, and `campaigns.py` for what is written later.
"""
