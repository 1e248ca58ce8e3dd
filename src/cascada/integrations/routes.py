"""What `responses.py` has to know of a FastAPI route: how it turns what its endpoint returns into a
response, and which of the endpoint's arguments the URL says already.

A response is made by FastAPI itself, by a route of the same settings whose endpoint hands over what
the real one has returned. So response_model, aliases and response classes are what they are without
a cache.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final, get_args

from fastapi import Request, Response
from fastapi.routing import APIRoute

from cascada.integrations.conditional import Field
from cascada.model.errors import Misuse

WHO: Final = ("Authorization", "Cookie", "X-Tenant-ID")
"""Header fields by which a request may say who asks: a browser has one memory for all its users."""

_RETURNED: Final = "cascada.returned"
_KEPT_AS: Final = "_cascada_rendering"

_SAME: Final = (
    "response_model", "response_class", "status_code", "response_model_include",
    "response_model_exclude", "response_model_by_alias", "response_model_exclude_unset",
    "response_model_exclude_defaults", "response_model_exclude_none",
)  # fmt: skip


class Rendering:
    """One route, whose answer varies by the fields `vary`, and not by the arguments `ignore`.

    in_url: the endpoint's arguments that are read from the path or the query. vary: what is to be
    told of the route in the field of that name. keyed: the header fields that tell its requests
    apart, in small letters.
    """

    def __init__(self, route: Any, vary: Sequence[str], ignore: Collection[str]) -> None:
        of = route.dependant
        self.in_url = frozenset(each.name for each in (*of.path_params, *of.query_params))
        own = [each.alias for each in of.header_params if each.name not in ignore]
        self.keyed = frozenset(each.lower().encode() for each in (*vary, *own, "X-Tenant-ID"))
        names = {each.lower(): each for each in (*_declared(of), *vary, *WHO)}
        self.vary = ", ".join(names.values()).encode()
        same = {name: getattr(route, name) for name in _SAME}
        self._handle = APIRoute("/", _hand_over, **same).get_route_handler()

    async def render(
        self, request: Request, returned: Any, status: int | None, fields: Sequence[Field]
    ) -> Response:
        """The response that FastAPI makes of what an endpoint returned, having set these."""
        request.scope[_RETURNED] = returned, status, fields
        try:
            response = await self._handle(request)
        finally:
            del request.scope[_RETURNED]
        return response


async def _hand_over(request: Request, response: Response) -> Any:
    returned, status, fields = request.scope[_RETURNED]
    if status is not None:
        response.status_code = status
    response.headers.raw.extend(fields)
    return returned


def _declared(dependant: Any) -> Iterator[str]:
    """The header fields that a route reads, its dependencies included."""
    for each in dependant.header_params:
        yield from _named(each)
    for below in dependant.dependencies:
        yield from _declared(below)


def _named(parameter: Any) -> Iterator[str]:
    """The header fields that a parameter may be read from: of a model, those of its fields."""
    declared = parameter.field_info
    models = [
        each
        for each in (declared.annotation, *get_args(declared.annotation))
        if hasattr(each, "model_fields")
    ]
    if not models:
        yield from (parameter.alias, *_aliases(declared))
    for model in models:
        if model.model_config.get("extra") == "allow":
            yield "*"
        for name, field in model.model_fields.items():
            own = getattr(declared, "convert_underscores", True)
            converts = getattr(field, "convert_underscores", own)
            yield from (name.replace("_", "-") if converts else name, *_aliases(field))


def _aliases(field: Any) -> Iterator[str]:
    """Those that it is written with; a name that nobody reads in Vary only costs a question."""
    also = field.validation_alias
    for each in (field.alias, also, *getattr(also, "choices", ())):
        if isinstance(each, str):
            yield each


def rendering_of(request: Request, vary: Sequence[str], ignore: Collection[str]) -> Rendering:
    """That of the route which answers a request; Misuse if it is none of FastAPI's."""
    route: Any = request.scope.get("route")
    # A router that is included lends its routes other settings. Later versions of FastAPI keep them
    # here, and earlier ones made routes of them.
    included = request.scope.get("fastapi", {}).get("effective_route_context")
    if included is not None and included.original_route is route:
        route = included
    elif not isinstance(route, APIRoute):
        raise Misuse("cached_response is for endpoints of FastAPI's own routes")
    kept = vars(route)
    found: Rendering | None = kept.get(_KEPT_AS)
    if found is None:
        found = kept[_KEPT_AS] = Rendering(route, vary, ignore)
    return found
