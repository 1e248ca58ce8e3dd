"""A request as a call to a model, and a response as an answer that may be kept.

What both transports do without waiting. References to a library are by `http` alone: httpx and
httpx2 have the same classes, and an SDK takes those of one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Unpack

from cascada.ai.answers import Answer, Kind, ended_well, kind_of, read
from cascada.ai.identity import request_id
from cascada.api.cache import Cache
from cascada.api.cache_status import cache_status
from cascada.api.keeping import Keeper, Keeping
from cascada.codecs.digest import generate_resource_id_hash
from cascada.model.bills import usage
from cascada.model.bills.cost import Cost, Price, cost_said, price_of
from cascada.model.entry import Hit, Miss
from cascada.model.loaded import Loaded

DATA_TYPE: Final = "model_answer"

Prices = Mapping[str, Price]

_ASKED_BY_HEADER: Final = ("anthropic-beta", "anthropic-version", "openai-beta")
"""Headers that change the answer. Keys, organisations and what an SDK says of itself do not."""

_KEPT: Final = ("content-type", "openai-model", "openai-version", "request-id", "x-request-id")
"""Headers that are the answer's; the others are of the moment (limits, dates, cookies)."""

_OF_THE_WIRE: Final = frozenset(
    {"connection", "content-encoding", "content-length", "keep-alive", "transfer-encoding"}
)
"""Headers that are true of the bytes as they came, which are decoded by now."""


class NotKept(Exception):
    """What came is for those who wait, and for no one later. `answer`: unless they have it. `cost`:
    what it cost all the same, as far as it says that."""

    def __init__(self, answer: Answer | None = None, cost: Cost | None = None) -> None:
        super().__init__("this answer of a model is not kept" if answer is None else answer.status)
        self.answer = answer
        self.cost = cost


class Call(NamedTuple):
    """A request that is a call to a model."""

    kind: Kind
    id: str
    asked: Mapping[str, Any]
    streamed: bool


def kind_asked(request: Any) -> Kind | None:
    """What a request may be, before its body is read: of all else, such as a large upload, it is
    left to who sends it."""
    return kind_of(request.url.path) if request.method == "POST" else None


def call_of(request: Any) -> Call | None:
    """What a request, whose body has been read, asks of which model; None if it is no such call."""
    url, kind = request.url, kind_asked(request)
    if kind is None:
        return None
    try:
        asked = json.loads(request.content)
        if not isinstance(asked, dict):
            return None
        of_the_model = request_id(_provider(url.host), **asked)
    except (ValueError, RecursionError):  # BadInput is a ValueError
        return None  # its server will say what is wrong with it, or it is not ours to keep
    streamed = asked.get("stream") is True
    headers = [request.headers.get(name) for name in _ASKED_BY_HEADER]
    how = [streamed, asked.get("stream_options") if streamed else None]
    where = [url.scheme, url.host, url.port, url.path, bytes(url.query)]
    return Call(kind, generate_resource_id_hash(of_the_model, where, headers, how), asked, streamed)


def _provider(host: str) -> str | None:
    """Who answers there, if it is one whose defaults are documented."""
    for provider, domains in _DOMAINS.items():
        if any(host == domain or host.endswith(f".{domain}") for domain in domains):
            return provider
    return None


_DOMAINS: Final = {
    "openai": ("api.openai.com", "openai.azure.com"),
    "anthropic": ("api.anthropic.com",),
}


class ModelKeeper(Keeper):
    """A cache for what models answer, what it says of an answer, and what answers cost there."""

    def __init__(self, cache: Cache, **kept: Unpack[Keeping]) -> None:
        kept.setdefault("data_type", DATA_TYPE)
        super().__init__(cache, **kept)
        self.prices = self.cache._engine.options.prices

    def status(self, answer: Hit[Any] | Miss) -> str:
        """What the cache did for this answer, as a header says it."""
        return cache_status(answer, bypassed=self.cache._engine.passing_by)


def keeper(of: type, cache: Cache, kept: Keeping) -> ModelKeeper:
    """What a transport of this class was told; TypeError, as Python says it, for anything else."""
    for name in kept.keys() - Keeping.__annotations__.keys():
        takes = ", ".join(["cache", "transport", *Keeping.__annotations__])
        raise TypeError(
            f"{of.__name__}() got an unexpected keyword argument {name!r}; it takes {takes}"
        )
    return ModelKeeper(cache, **kept)


def is_stream(response: Any) -> bool:
    kind = response.headers.get("content-type", "")
    return bool(response.status_code == 200) and str(kind).lower().startswith("text/event-stream")


def kept(response: Any, call: Call, prices: Prices) -> Loaded[Answer]:
    """The answer as it is kept, and its cost; NotKept, with all of it, if it is not to be."""
    if response.status_code != 200:
        raise not_kept(response, call, prices)
    said = read(response.content)
    if not ended_well(call.kind, said, call.asked):
        raise not_kept(response, call, prices)
    answer = Answer(200, kept_headers(response), response.content)
    return Loaded(answer, cost=cost_of(call, said, prices))


def not_kept(response: Any, call: Call, prices: Prices) -> NotKept:
    """All of an answer that is for those who wait alone. An error says nothing of its cost."""
    good = response.status_code == 200
    cost = cost_of(call, read(response.content), prices) if good else None
    return NotKept(answered(response), cost)


def cost_of(call: Call, said: Mapping[str, Any] | None, prices: Prices) -> Cost:
    """What a call has cost, as its answer says. The answer names the model more exactly than who
    asked for it, unless it is by his name that the price is known."""
    nothing = usage.Said(None, None)
    asked = usage.said_by({"usage": None, "model": call.asked.get("model")}) or nothing
    answer = usage.said_by({"usage": None, **(said or {})}) or nothing
    by_asked = answer.model is None or (
        price_of(answer.model, prices) is None and price_of(asked.model, prices) is not None
    )
    return cost_said(answer._replace(model=asked.model) if by_asked else answer)


def kept_headers(response: Any) -> tuple[tuple[str, str], ...]:
    headers = response.headers
    return tuple((name, headers[name]) for name in _KEPT if name in headers)


def answered(response: Any) -> Answer:
    """All that came: what an SDK does about an error may stand in any header."""
    headers = response.headers.multi_items()
    said = tuple((name, value) for name, value in headers if name.lower() not in _OF_THE_WIRE)
    return Answer(response.status_code, said, response.content)


def rebuilt(http: Any, answer: Answer, status: str) -> Any:
    """The response anew. `status`: what the cache did for it."""
    headers = [*answer.headers, ("cache-status", status)]
    return http.Response(answer.status, headers=_sent(headers), content=answer.body)


def streamed(http: Any, head: Any, body: Any) -> Any:
    status, headers = head
    return http.Response(status, headers=_sent(headers), stream=body)


def _sent(headers: Iterable[Sequence[str]]) -> list[tuple[str, bytes]]:
    """As bytes: of texts, httpx takes ASCII alone, though it shows what comes as UTF-8, too."""
    return [(name, value.encode()) for name, value in headers]
