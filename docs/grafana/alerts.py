"""Makes `alerts.yml`, rules for a `CacheService` to begin with: `python docs/grafana/alerts.py`.

Edit this file, never the other. A service's own: `cascada.integrations.prometheus_rules.rule_file`,
with the rules that its `start_alerts` is given.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cascada import AlertRule
from cascada.integrations.prometheus_rules import rule_file

FILE: Final = Path(__file__).with_name("alerts.yml")
RULES: Final = [
    AlertRule("hit_ratio", 0.5, lasts=600),
    AlertRule("latency", 0.25, lasts=300),
    AlertRule("memory", 0.95, lasts=3600),
    AlertRule("sync_lag", 900, lasts=60),
    AlertRule("errors", 10, lasts=120),
    AlertRule("evictions", 10_000, lasts=600),
    AlertRule("bulky", 100, lasts=600),
]


def built() -> str:
    """The file."""
    return rule_file(RULES)


if __name__ == "__main__":
    FILE.write_text(built(), "utf-8")
