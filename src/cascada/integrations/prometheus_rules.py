"""The alerts of a `CacheService` as a rule file of Prometheus's: `rule_file(rules, service)`.

Each `AlertRule` says the same there as in the process, but of all that is scraped together: beyond
its limit for `lasts` seconds, of the last minute (so scrape at least four times in one), and, once
it fires, until it is back at `clears`. JSON is written, which is YAML, too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from cascada.model.door import arguments
from cascada.service.alerts import AlertRule, Figure, rules_given

_HITS: Final = "sum(rate(cache_hit_total{%s}[1m]))"
# A read that no layer answered is a miss of the lowest, the fewest.
_MISSES: Final = "min(sum by (layer) (rate(cache_miss_total{%s}[1m])))"
_READS: Final = f"(({_HITS} or vector(0)) + ({_MISSES} or vector(0)))"


def _per_minute(*counters: str) -> str:
    return " + ".join([f"(sum(increase({each}[1m])) or vector(0))" for each in counters])


_EXPRESSIONS: Final[Mapping[Figure, Callable[[str, str], str]]] = {
    "hit_ratio": lambda kind, _: f"({_HITS % kind} or vector(0)) / ({_READS % (kind, kind)} > 0)",
    "latency": lambda kind, _: (
        f"sum(rate(cache_answer_seconds_total{{{kind}}}[1m])) / ({_READS % (kind, kind)} > 0)"
    ),
    "memory": lambda *_: (
        'max(cache_size_bytes{layer="l1"} / (cache_capacity_bytes{layer="l1"} > 0))'
    ),
    "sync_lag": lambda _, service: f"max(cache_sync_lag_seconds{{{service}}})",
    "errors": lambda kind, service: _per_minute(
        "cache_tier_errors_total",
        f"cache_load_failures_total{{{kind}}}",
        f"cache_sync_errors_total{{{service}}}",
    ),
    "evictions": lambda *_: _per_minute('cache_evictions_total{layer="l1"}'),
    "bulky": lambda kind, _: _per_minute(f"cache_bulky_total{{{kind}}}"),
}


def rule_file(rules: Sequence[AlertRule], service: str = "default") -> str:
    """What `rule_files` of a Prometheus may name: the alerts of the service of that name."""
    service = arguments.name(service, "service")
    alerts = [_alert(rule, service) for rule in rules_given(rules)]
    return (
        json.dumps({"groups": [{"name": f"cascada {service}", "rules": alerts}]}, indent=2) + "\n"
    )


def _alert(rule: AlertRule, service: str) -> dict[str, object]:
    name = "Cascada" + rule.figure.title().replace("_", "")
    labels = {"service": service, "limit": f"{rule.limit:g}", "lasts": f"{rule.lasts:g}"}
    label = ", ".join([f"{each}={json.dumps(value)}" for each, value in labels.items()])
    data_type = json.dumps(f"service.{service}")
    value = _EXPRESSIONS[rule.figure](f"data_type={data_type}", f"service={json.dumps(service)}")
    side = "<" if rule.is_floor else ">"
    firing = f'ALERTS{{alertname="{name}", alertstate="firing", {label}}}'
    return {
        "alert": name,
        "expr": f"(({value}) {side} {rule.limit!r})"
        f" or ((({value}) {side} {rule.clears!r}) and on() {firing})",
        "for": f"{round(rule.lasts * 1000)}ms",
        # A label is a template, too: what is in braces would be carried out.
        "labels": labels | {"service": service.replace("{{", '{{"{{"}}')},
        "annotations": {
            "summary": f"{{{{ $labels.service }}}}: {rule.figure} is {{{{ $value }}}}, "
            f"{'under' if rule.is_floor else 'over'} {rule.limit:g}"
        },
    }
