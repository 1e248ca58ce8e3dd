"""How long the machines run: the same steps every time in CI, as many as one likes by hand.

CASCADA_EXAMPLES=50 python -m pytest tests/properties      # fifty times as many, at random
"""

import os

from hypothesis import HealthCheck, Phase, settings

FACTOR = int(os.environ.get("CASCADA_EXAMPLES", "1"))


def thorough(examples: int, steps: int = 40, *, shrink: bool = True) -> settings:
    phases = [Phase.generate, Phase.shrink] if shrink else [Phase.generate]
    return settings(
        max_examples=examples * FACTOR,
        stateful_step_count=steps,
        derandomize=FACTOR == 1,
        database=None,
        deadline=None,
        phases=phases,
        suppress_health_check=list(HealthCheck),
    )
