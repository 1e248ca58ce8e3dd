"""What a tenant handle invalidates: one value, a group, or all that depends on something."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from cascada.api.tenant.requests import TenantRequests
from cascada.engine.writing.cascade import Cascade
from cascada.model.dependencies import Dependent, Reach, reaches_of
from cascada.model.door import arguments
from cascada.model.door.shown import shown
from cascada.model.entry import Invalidated
from cascada.model.errors import BadInput
from cascada.model.keys import Id, Prefix, Scope, scope_of
from cascada.model.names import all_of_type, part_names, resource_names, tag_name, tenant_name


class TenantInvalidation(TenantRequests):
    """This part of `Tenant`."""

    __slots__ = ()

    async def delete(self, data_type: str, resource_id: Id) -> bool:
        """Remove exactly that one key; True if there was a value."""
        request = self._request(data_type, resource_id)
        return await self._engine.delete(request.key, strict=request.kind.policy.strict)

    async def invalidate(
        self,
        data_type: str | None = None,
        resource_id: Id | Collection[Id] | None = None,
        *,
        tag: str | None = None,
        agent: Id | None = None,
        conversation: Id | None = None,
        collection: Id | None = None,
        strict: bool | None = None,
        dry_run: bool = False,
    ) -> Invalidated:
        """Void values, and all that was made from them, in one atomic step.

        With a type and an id, or a list of at most a thousand: these resources, in this handle's
        context and all more specific ones (`"*"`: every resource of the type; of an empty list
        nothing). With a tag: all that bear it. With an agent, a conversation or a collection alone:
        all that belongs to it. With nothing at all: everything of the tenant. Several of these
        together are a union: `invalidate("agent", "a3", tag="x")` voids that agent and all that
        bears the tag. But a context given beside a type narrows it, as the handle's own does.

        It returns when no later read, in any process, finds the old value; but in the memory of
        another one, which hears of it a few milliseconds later. `strict=True` waits for those as
        well (`docs/coherence.md`); None asks the policy of the type, or, where no type is named,
        whether any type's policy is strict. `dry_run` only says how many would go.
        """
        dry_run = arguments.flag(dry_run, "dry_run")
        if data_type is None:
            if resource_id is not None:
                raise BadInput(
                    f"invalidate() got resource_id={shown(resource_id)} without a data_type; "
                    "pass both"
                )
            names = part_names(self.tenant, scope_of(agent, conversation, collection))
            by_default = self._engine.kinds.strict
        else:
            handle = self
            if agent is not None or conversation is not None or collection is not None:
                handle = self.within(agent=agent, conversation=conversation, collection=collection)
            type_keys = handle._type_keys(data_type)
            names = _names_of(type_keys.prefix, resource_id)
            by_default = type_keys.kind.policy.strict
            if not names and tag is None:
                return Invalidated(0)
        if tag is not None:
            names.append(tag_name(self.tenant, tag))
        strict = by_default if strict is None else arguments.flag(strict, "strict")
        names = names or [tenant_name(self.tenant)]
        if dry_run:
            return Invalidated(await self._engine.count_entries(names), exact=False)
        return await self._engine.invalidate(names, strict=strict)

    async def cascade(
        self,
        /,
        *subjects: str,
        dry_run: bool = False,
        strict: bool | None = None,
        **ids: Id | Sequence[Id],
    ) -> Cascade:
        """Void all that depends on the subjects, and all that was made from it, in one atomic step.

        `await acme.cascade("document", document="d1", collection="c1")`; several ids may be given
        as a list. What depends on what says the table of `model/dependencies.py`, with the
        rows of `Cache(dependencies=...)`. `dry_run` only says what would go; `strict` as in
        `invalidate`. The counts are by the rows' labels. BadInput if an id is missing, or if
        nothing of the subjects is reached by it.
        """
        subjects = tuple([arguments.data_type(each, "each subject") for each in subjects])
        if not subjects:
            raise BadInput('cascade() names no subject; pass one, such as "agent", and its ids')
        rows = [row for subject in subjects for row in self._engine.dependencies.of(subject)]
        if unused := ids.keys() - {name for row in rows for name in (row.by_id, row.within)}:
            raise BadInput(
                f"nothing of the cascade of {', '.join(subjects)} is reached by {min(unused)}; "
                "leave it out, or name its subject as well"
            )
        return await self._void(self._reaches(rows, ids), dry_run=dry_run, strict=strict)

    def _reaches(
        self, rows: Sequence[Dependent], ids: Mapping[str, Id | Sequence[Id]]
    ) -> list[Reach]:
        """What rows of the table come to here, for faces that choose them."""
        kinds = self._engine.kinds
        return reaches_of(
            rows, self.tenant, ids, lambda name: kinds.of(self.tenant, name).policy.varies_by
        )

    async def _void(
        self, reaches: Sequence[Reach], *, dry_run: bool = False, strict: bool | None = None
    ) -> Cascade:
        """Carry out a cascade; `strict` None: whether any type's policy is."""
        dry_run = arguments.flag(dry_run, "dry_run")
        strict = self._engine.kinds.strict if strict is None else arguments.flag(strict, "strict")
        return await self._engine.cascade(reaches, dry_run=dry_run, strict=strict)


def _names_of(prefix: Prefix, resource_id: Id | Collection[Id] | None) -> list[str]:
    """What an invalidation of a type and ids means, in a context; an id may be "*"."""
    tenant, data_type, *scope = prefix
    if arguments.is_several(resource_id):
        ids = dict.fromkeys(arguments.ids_at_once(resource_id, "resource_id"))
        return list(dict.fromkeys(name for each in ids for name in _names_of(prefix, each)))
    if resource_id is None:
        raise BadInput(
            f"invalidate({shown(data_type)}) names no resource; pass its id, "
            'or "*" for every resource of the type'
        )
    resource_id = arguments.identity(resource_id)
    if resource_id == "*":
        return all_of_type(tenant, data_type, Scope(*scope))
    return resource_names(tenant, data_type, resource_id, Scope(*scope))
