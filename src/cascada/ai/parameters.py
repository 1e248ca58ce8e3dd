"""What each parameter of a call to a model is: part of what is asked, of its envelope, or neither.

Identity: what the answer depends on. Unknown parameters count as such, so that a new one can only
keep two calls apart. Envelope: who asks, how it is paid for, sent, watched and cached; the answer
is the same. Never: such a call begins or changes something at the provider, and its answer does not
stand for another call's.

A test walks the signatures of the SDKs that are installed, and fails on one that is not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_IDENTITY: Final = """
    access_programs audio best_of betas compaction context_management dimensions echo
    encoding_format fallbacks frequency_penalty function_call functions image include
    inference_geo input instructions logit_bias logprobs max_completion_tokens
    max_output_tokens max_tokens max_tool_calls messages modalities model moderation
    multi_agent n output_config output_format parallel_tool_calls prediction
    presence_penalty previous_response_id prompt reasoning reasoning_effort response_format
    seed speed stop stop_sequences store suffix system temperature text text_format thinking
    tool_choice tools top_k top_logprobs top_p truncation verbosity web_search_options
    workspace_id
"""

_ENVELOPE: Final = """
    billing_policy cache_control extra_headers fallback_credit_token metadata parse_as
    prompt_cache_key prompt_cache_options prompt_cache_retention safety_identifier
    service_tier stream stream_options timeout user user_profile_id
"""

_NEVER: Final = """
    background background_options container conversation diagnostics mcp_servers response_id
    starting_after thread
"""

IDENTITY: Final = frozenset(_IDENTITY.split())
ENVELOPE: Final = frozenset(_ENVELOPE.split())
NEVER: Final = frozenset(_NEVER.split())
MERGED: Final = frozenset({"extra_body", "extra_query"})
"""What the SDKs lay over the request: its contents are parameters themselves."""

IN_BLOCKS: Final = frozenset({"cache_control", "prompt_cache_breakpoint"})
"""Marks on messages, their blocks and tools that say what the provider is to keep."""

_OPENAI: Final[Mapping[str, Any]] = {
    "best_of": 1,
    "echo": False,
    "encoding_format": "float",
    "frequency_penalty": 0,
    "logit_bias": {},
    "logprobs": False,
    "modalities": ["text"],
    "n": 1,
    "parallel_tool_calls": True,
    "presence_penalty": 0,
    "response_format": {"type": "text"},
    "temperature": 1,
    "top_p": 1,
    "truncation": "disabled",
    "verbosity": "medium",
}
_ANTHROPIC: Final[Mapping[str, Any]] = {"stop_sequences": [], "temperature": 1}

PROVIDERS: Final = {"openai": _OPENAI, "anthropic": _ANTHROPIC}
"""What a provider documents to be meant where a parameter is not said. No model of theirs has
another default for one of these; where the models differ (reasoning, thinking), nothing is here."""


def without_defaults(provider: str, request: dict[str, Any]) -> dict[str, Any]:
    """The request without what it says though it goes without saying; its values are canonical."""
    defaults = dict(PROVIDERS[provider])
    if provider == "openai":
        defaults["tool_choice"] = "auto" if "tools" in request else "none"
        defaults["store"] = "messages" not in request and "input" in request
        if type(request.get("stop")) is str:
            request["stop"] = [request["stop"]]
    elif "tools" in request:
        defaults["tool_choice"] = {"type": "auto"}
    return {
        name: value
        for name, value in request.items()
        if value is not None and not (name in defaults and _same(value, defaults[name]))
    }


def _same(one: object, other: object) -> bool:
    """Equal, and not as True is to 1."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)
