"""How many tokens a call of a model took, as the SDKs of its providers say it.

`cost` asks for it. Objects and mappings are read alike. Nothing here raises, whatever they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from cascada.model.bills.bill import MOST_TOKENS
from cascada.model.door.plain import whole_of

Tokens = tuple[int, int, int, int]
"""Those that went in and came out, and of the former those that the provider had in its cache, and
those that it put there."""


class Said(NamedTuple):
    """The model, and the tokens, as far as the response says them."""

    model: str | None
    tokens: Tokens | None


_USAGES: Final = ("usage", "usage_metadata")
_LONGEST_NAME: Final = 256
_DETAILS: Final = ("prompt_tokens_details", "input_tokens_details", "input_token_details")


def said_by(response: Any) -> Said | None:
    """What a response of an SDK says of its tokens, or its usage alone; None if it is neither.

    Other numbers than whole ones, or ones that contradict each other, say nothing.
    """
    has_usage = [name for name in _USAGES if _has(response, name)]
    usage = _first_part(response, has_usage)
    model = _part(response, "model") if has_usage else None
    if has_usage and model is None:  # LangChain's messages
        model = _part(_part(response, "response_metadata"), "model_name")
    if type(model) is not str or not _is_name(model):
        model = None
    tokens = _tokens(response if not has_usage else usage)
    return None if tokens is None and not has_usage else Said(model, tokens)


def _is_name(text: str) -> bool:
    return text.isprintable() and not text.isspace() and 0 < len(text) <= _LONGEST_NAME


def _tokens(usage: Any) -> Tokens | None:
    """Tokens that went in and came out, and of the former those cached and written."""
    into, out = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    if into is None:
        into, out = _count(usage, "input_tokens"), _count(usage, "output_tokens")
    elif out is None and not _has(usage, "completion_tokens"):
        out = 0  # embeddings say nothing
    if into is None or out is None:
        return None
    details = _first_part(usage, _DETAILS)
    cached = _count(details, "cached_tokens") or _count(details, "cache_read") or 0
    written = _count(details, "cache_creation") or 0
    # Anthropic counts these apart from the others.
    read = _count(usage, "cache_read_input_tokens") or 0
    made = _count(usage, "cache_creation_input_tokens") or 0
    into, cached, written = into + read + made, cached + read, written + made
    return None if cached + written > into else (into, out, cached, written)


def _part(whole: Any, name: str) -> Any:
    try:
        return whole.get(name) if isinstance(whole, Mapping) else getattr(whole, name, None)
    except Exception:  # noqa: BLE001 - an object may raise anything when it is looked at
        return None


def _first_part(whole: Any, names: Sequence[str]) -> Any:
    return next((found for name in names if (found := _part(whole, name)) is not None), None)


def _has(whole: Any, name: str) -> bool:
    try:
        return name in whole if isinstance(whole, Mapping) else hasattr(whole, name)
    except Exception:  # noqa: BLE001 - as above
        return False


def _count(usage: Any, name: str) -> int | None:
    found = whole_of(_part(usage, name))
    return found if found is not None and 0 <= found <= MOST_TOKENS // 8 else None
