"""No two things share a key, a lease or a name, whatever their tenants, types, scopes and ids hold.

All pieces of a text are tried in all places, among them those that the text itself is made of.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from cascada.model import names
from cascada.model.door.arguments import MAX_ID_LENGTH
from cascada.model.keys import LABELS, Key, Scope, counter_text, list_text, quote
from cascada.tiers.redis.layout import Layout
from tests.properties.budget import thorough

PIECES = ("a", "agent", ":a", "a:agent", "%3Aa", "*")
PARTS = (None, "a", ":a")

Named = tuple[str, tuple[str | None, ...]]


def named() -> Iterator[tuple[str, Named]]:
    """Every name that there is of these pieces, and what it names."""
    for tenant, one in product(PIECES, PIECES):
        yield names.tag_name(tenant, one), ("tag", (tenant, one))
        yield names.type_name(tenant, one), ("type", (tenant, one))
        yield names.tenant_name(tenant), ("tenant", (tenant,))
        for part, label in product(PIECES, LABELS):
            (name,) = names.part_names(tenant, Scope(**{label: part}))
            yield name, ("part", (tenant, label, part))
            name = names.type_at(tenant, one, LABELS[label], part)
            yield name, ("type at", (tenant, one, label, part))
    for key in keys():
        yield names.key_name(key), ("key", key)
        resource = (key.tenant, key.data_type, key.resource_id)
        for name in names.static_names(key):
            if name[0] == "r":
                yield name, ("resource", resource)
            if name[0] == "s":
                ends = [f":{label}:{quote(part)}" for label, part in key.scope.parts]
                (end,) = (each for each in ends if name.endswith(each))
                yield name, ("resource at", (*resource, end))


def keys() -> Iterator[Key]:
    for tenant, data_type, resource_id in product(PIECES, repeat=3):
        for scope in product(PARTS, repeat=3):
            yield Key(tenant, data_type, *scope, resource_id)


def test_no_name_names_two_things_and_each_tells_its_tenant() -> None:
    found: dict[str, Named] = {}
    for name, meant in named():
        assert found.setdefault(name, meant) == meant, name
        assert names.tenant_of(name) == quote(str(meant[1][0])), name


def test_no_two_things_share_a_place_in_redis() -> None:
    layout, places, count = Layout("n", 0), set[bytes](), 0
    for key in keys():
        text = key.text.encode()
        of_key = {*layout.fill_keys(text), layout.lease(key), layout.aside(key, b"d" * 32)}
        places |= of_key
        count += len(of_key)
    for tenant, one in product(PIECES, PIECES):
        places.add(layout.items(list_text(tenant, one)))
        places |= {layout.counter(counter_text(tenant, one, each)) for each in PIECES}
        count += 1 + len(PIECES)
    assert len(places) == count


ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=MAX_ID_LENGTH)
parts = st.none() | ids


@given(st.builds(Key, ids, ids, parts, parts, parts, ids))
@thorough(200)
def test_whatever_a_key_holds_its_text_gives_it_again(key: Key) -> None:
    assert Key.parse(key.text) == key
