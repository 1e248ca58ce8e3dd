"""Options of a `Cache` as tests pass them on: flat, whether they are arguments or limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cascada.model.limits import Limits
from cascada.model.policy import Policy


def nearest(policy: Policy | None = None) -> Policy:
    """The policy, of a type that is looked up as the documents' types are, unless it says else."""
    return Policy(**{"lookup": "nearest", **(policy.said if policy else {})})


def grouped(options: Mapping[str, Any]) -> dict[str, Any]:
    """The same, its numbers put into its `limits`."""
    limits = {name: value for name, value in options.items() if name in Limits.checks}
    others = {name: value for name, value in options.items() if name not in Limits.checks}
    given = others.pop("limits", Limits())
    return {**others, "limits": Limits(**{**given.said, **limits})}
