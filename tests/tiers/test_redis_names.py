"""The names that INV works out of a key's text are those that its entry was stamped with."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from cascada.model.door.arguments import MAX_ID_LENGTH
from cascada.model.keys import Key
from cascada.model.names import key_name, tag_name
from cascada.tiers.contract import EntryCount
from tests.properties.budget import thorough
from tests.servers.redis import RedisServer
from tests.tiers.redis_world import Process, processes

ODD = (
    "*", ":", "::", "%", "%3A", "a:b", "agent", "conv", "coll", "agent:a", "{b0}", "{", "}", "\n",
    "\0", "\x85", "\u2028", " ", "-", "^", "]", "[^:]+", "é", "\ufffd", "🌍", "0", "-1", "nil",
    "x" * MAX_ID_LENGTH,
)  # fmt: skip

ids = st.sampled_from(ODD) | st.text(
    st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20
)
parts = st.none() | ids
keys = st.builds(Key, ids, ids, parts, parts, parts, ids)


def test_a_key_is_counted_whatever_is_in_its_ids(redis_server: RedisServer) -> None:
    """Stamps are compared with the names' nonces in their order: any other name counts nothing.

    The tag's stamp comes after them: where it is looked for, their number tells.
    """
    redis_server.flush()
    process = Process(redis_server.url)
    with asyncio.Runner() as runner:

        async def reached(key: Key) -> EntryCount:
            assert await process.store(key, names=(tag_name(key.tenant, "news"),))
            (counts,) = (await process.tier.invalidate([key_name(key)])).counts
            return counts

        @thorough(300)
        @given(keys)
        def every_key(key: Key) -> None:
            assert runner.run(reached(key)) == (1, 0), key.text

        connected = processes(process)
        runner.run(connected.__aenter__())
        try:
            every_key()
        finally:
            runner.run(connected.__aexit__(None, None, None))
