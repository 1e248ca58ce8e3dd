"""Names: what an invalidation can name, and which names an entry bears.

STATIC names follow from the key alone, so every reader knows them. DYNAMIC names (tags, sources,
context parts that did not enter the key) are given when the value is written and travel with it.
Each kind of name has a prefix of its own and every segment is percent-encoded, so that no name can
imitate another; each begins with its tenant, so that no invalidation ever leaves its tenant. A key
has at most 12 static names.

    t:T              the tenant                  r:T:type:id          the resource, any context
    y:T:type         a data type                 s:T:type:id:agent:A  the resource at one part
    p:T:agent:A      a context part              k:<key text>         one key
    e:<key text>     that key's entry alone, and nothing that was made of it: it has another life.
                     No tier stores it with an entry; memory finds the entry by its key
    q:T:type:agent:A a data type at one part     #:T:tag              a tag
    f:T, f:T:coll:L  nothing that is stored: memory lets go of what is void by t:, or p:
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from cascada.model.door import arguments
from cascada.model.keys import NO_SCOPE, Key, Scope, quote, text_before

MAX_NAMES = 1024
"""Dynamic names that one entry may bear. What was made of more is not stored: coarser names in
their place would not be reached by the invalidation of one source (docs/decisions/0007)."""

FORGETS = "f:"
"""How the names begin by which somebody is forgotten."""

OF_ONE_KEY = ("k:", "e:")
"""How the names begin behind which one key's text stands."""


def key_name(key: Key) -> str:
    return f"k:{text_before(*key[:5])}{quote(key[5])}"


def entry_name(key: Key) -> str:
    return f"e{key_name(key)[1:]}"


def without_entries(names: Iterable[str]) -> Iterable[str]:
    """These names, less those of entries alone: what is made of a value does not end with them."""
    return (name for name in names if not name.startswith("e:"))


def key_named(name: str) -> Key | None:
    """The key whose own name, or whose entry's, this is; None of all other names."""
    return Key.parse(name[2:]) if name.startswith(OF_ONE_KEY) else None


def type_named(name: str) -> str | None:
    """The data type, as it is written there, whose keys or resources a name is about; None of tags,
    tenants and context parts, which may be about any."""
    if name[0] not in _OF_A_TYPE:
        return None
    return name.split(":", 3)[2]


_OF_A_TYPE = frozenset("kersyq")


def tag_name(tenant: str, tag: str) -> str:
    return f"#:{quote(tenant)}:{quote(arguments.identity(tag, 'tag'))}"


def part_names(tenant: str, scope: Scope) -> list[str]:
    """One name for each part of the scope: everything that belongs to that agent, ..."""
    return [f"p:{quote(tenant)}:{label}:{quote(part)}" for label, part in scope.parts]


def tenant_name(tenant: str) -> str:
    return f"t:{quote(tenant)}"


def type_name(tenant: str, data_type: str) -> str:
    return f"y:{quote(tenant)}:{quote(data_type)}"


def static_names(key: Key) -> list[str]:
    """All names that follow from the key, its own first."""
    return [key_name(key), *shared_names(*key[:5]), *resource_names_of(key)]


def resource_names_of(key: Key) -> list[str]:
    """The names of its resource that the key bears beside its own: none without a context."""
    resource, at_parts = _resource_names(*key[:5])
    if resource is None:
        return []
    id_text = quote(key.resource_id)
    return [resource + id_text, *[f"s{resource[1:]}{id_text}{part}" for part in at_parts]]


@lru_cache(maxsize=4096)
def shared_names(
    tenant: str, data_type: str, agent: str | None, conversation: str | None, collection: str | None
) -> tuple[str, ...]:
    """The names that all keys of one tenant, type and context bear: the tenant's is the first."""
    tenant, data_type = quote(tenant), quote(data_type)
    names = [f"t:{tenant}", f"y:{tenant}:{data_type}"]
    for label, part in Scope(agent, conversation, collection).parts:
        part = quote(part)
        names += (f"p:{tenant}:{label}:{part}", f"q:{tenant}:{data_type}:{label}:{part}")
    return tuple(names)


@lru_cache(maxsize=4096)
def _resource_names(
    tenant: str, data_type: str, agent: str | None, conversation: str | None, collection: str | None
) -> tuple[str | None, tuple[str, ...]]:
    """What comes before the id in the name of a resource, and after it in those at one part."""
    given = Scope(agent, conversation, collection).parts
    if not given:
        return None, ()
    parts = [f":{label}:{quote(part)}" for label, part in given]
    return f"r:{quote(tenant)}:{quote(data_type)}:", tuple(parts if len(parts) > 1 else ())


def context_names(tenant: str, data_type: str, scope: Scope) -> list[str]:
    """The names of context parts that the key leaves out, so that they still reach the entry."""
    at_parts = [type_at(tenant, data_type, label, part) for label, part in scope.parts]
    return part_names(tenant, scope) + at_parts


def is_own(key: Key, name: str) -> bool:
    """Whether a dynamic name of the entry at `key` says what it is, not what it was made from."""
    return name.startswith(("p:", f"q:{quote(key.tenant)}:{quote(key.data_type)}:"))


def resource_names(tenant: str, data_type: str, resource_id: str, scope: Scope) -> list[str]:
    """What `invalidate` of one resource names: that context and all that is more specific."""
    prefix = text_before(tenant, data_type, None, None, None)
    id_text = quote(resource_id)
    if scope == NO_SCOPE:
        return [f"k:{prefix}{id_text}", f"r:{prefix}{id_text}"]
    key = Key(tenant, data_type, *scope, resource_id)
    label, part = most_selective(scope)
    # With one part alone, the keys at that part that have more parts bear s:, and this one k:.
    return [key_name(key), f"s:{prefix}{id_text}:{label}:{quote(part)}"]


def all_of_type(tenant: str, data_type: str, scope: Scope) -> list[str]:
    """What `invalidate` of `"*"` names: every resource of the type (in that context)."""
    if scope == NO_SCOPE:
        return [type_name(tenant, data_type)]
    return [type_at(tenant, data_type, *most_selective(scope))]


def type_at(tenant: str, data_type: str, label: str, part: str) -> str:
    """A data type at one context part, which is told by its label and its id."""
    return f"q:{quote(tenant)}:{quote(data_type)}:{label}:{quote(part)}"


def most_selective(scope: Scope) -> tuple[str, str]:
    """Conversation, then collection, then agent: the part that reaches the fewest entries."""
    by_label = dict(scope.parts)
    label = next(label for label in ("conv", "coll", "agent") if label in by_label)
    return label, by_label[label]


def tenant_of(name: str) -> str:
    """The (quoted) tenant that a name belongs to."""
    return name.split(":", 2)[1]


def whole_tenant_of(name: str) -> str:
    """The name that everything of a name's tenant bears."""
    return f"t:{tenant_of(name)}"
