"""Any test with all that leaves the process sealed: `CASCADA_SEALED=1 pytest tests/behind`.

The caches that a test makes over a shared tier have keys then, and `encrypt="all"`, unless it says
something of that itself. A test that looks into a store at what it expects there in the clear, or
puts it there, fails by its nature; those of other processes are as they are.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Final

import cascada.engine.build as building
from cascada.codecs.sealing import KeyRing
from cascada.engine.engine import Engine
from cascada.model.clock import Clock
from cascada.model.door.secret import Secret
from cascada.model.options import Options
from cascada.tiers.contract import Tier
from cascada.tiers.sealed import SealedTier
from cascada.tiers.sealing import KeepsKeys, Sealing

KEY: Final = b"\x07" * 32
GIVEN: Final = f"suite:{base64.b64encode(KEY).decode()}"

_build = building.build


def seal_everything() -> None:
    """Let all caches that are made from now on seal what they store."""
    building.build = _sealed  # type: ignore[assignment]  # it passes on the rest


def _sealed(options: Options, lower: Sequence[Tier], *rest: Any, **named: Any) -> Engine:
    if lower and "encryption_keys" not in options.said and isinstance(lower[-1], KeepsKeys):
        sealed = Options()
        sealed.__dict__.update(options.said, encryption_keys=Secret(GIVEN), encrypt="all")
        options = sealed
    return _build(options, lower, *rest, **named)


def sealed_tier(tier: Tier, clock: Clock) -> SealedTier:
    """A tier by itself behind its guard, all of whose entries are sealed."""
    assert isinstance(tier, KeepsKeys)
    guarded = SealedTier(tier, clock, timeout=30.0)
    guarded.sealing = Sealing(
        KeyRing({"suite": KEY}), tier.wrapped_keys, guarded.breaker, 30.0,
        namespace="test", is_sensitive=lambda data_type: True, clock=clock,
    )  # fmt: skip
    return guarded
