"""The rule file says in Prometheus what the rules say in a process; `promtool` judges, if there."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cascada import AlertRule, BadInput, Cache, CacheService, Context
from cascada.integrations.prometheus import exposition
from cascada.integrations.prometheus_rules import rule_file
from cascada.service.alerts import FIGURES

FILE = Path(__file__).parents[2] / "docs/grafana/alerts.yml"
PROMTOOL = shutil.which("promtool")
with_promtool = pytest.mark.skipif(PROMTOOL is None, reason="apt-get install prometheus")
EVERY = 15
KIND = 'data_type="service.default"'
HITS, MISSES = f'cache_hit_total{{{KIND}, layer="l1"}}', f'cache_miss_total{{{KIND}, layer="l1"}}'
ALL = [AlertRule(each, 0.5, lasts=60) for each in FIGURES]


def test_the_file_is_what_its_program_makes() -> None:
    text = FILE.read_text("utf-8")
    program = runpy.run_path(str(FILE.with_name("alerts.py")))
    assert program["built"]() == text
    assert {each.figure for each in program["RULES"]} == set(FIGURES), "each figure has a rule"


async def test_each_metric_that_it_asks_for_is_exposed(tmp_path: Path) -> None:
    cache = Cache(database=str(tmp_path / "c.db"))
    service = CacheService(cache=cache)
    with Context(tenant_id="acme"):
        await service.start_sync()
        await service.set("k", 1)
        await service.get("k")
        await service.get("not there")
    page = (await exposition(cache)).decode()
    asked = set(re.findall(r"cache_\w+", rule_file(ALL)))
    assert len(asked) == 11
    known = set(re.findall(r"^# TYPE (cache_\w+)", page, re.MULTILINE))
    assert asked <= known
    await service.stop_sync()
    await cache.aclose()


def promtool(tmp_path: Path, *command: str) -> str:
    assert PROMTOOL is not None
    done = subprocess.run(
        [PROMTOOL, *command], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


@with_promtool
def test_promtool_takes_all_figures_and_odd_names(tmp_path: Path) -> None:
    (tmp_path / "r.yml").write_text(rule_file(ALL, 'a "b"\\{{c}'), "utf-8")
    assert promtool(tmp_path, "check", "rules", "r.yml") == ""
    assert promtool(tmp_path, "check", "rules", str(FILE)) == ""


def minutes(*per_minute: int) -> str:
    """A counter that grows so much in each minute."""
    values, total = [0], 0
    for each in per_minute:
        for _ in range(60 // EVERY):
            total += each // (60 // EVERY)
            values.append(total)
    return " ".join(map(str, values))


def fires(tmp_path: Path, rule: AlertRule, series: dict[str, str], when: list[int]) -> str:
    """What promtool says against an alert that fires at the ends of these minutes alone."""
    (made,) = json.loads(rule_file([rule]))["groups"][0]["rules"]
    del made["annotations"]  # they have the value, which is another at each look
    groups = {"groups": [{"name": "g", "rules": [made]}]}
    (tmp_path / "r.yml").write_text(json.dumps(groups), "utf-8")
    looks: list[dict[str, Any]] = []
    for minute in range(1, 13):
        alerts = [{"exp_labels": made["labels"]}] if minute in when else []
        looks.append({"eval_time": f"{minute}m", "alertname": made["alert"], "exp_alerts": alerts})
    given = [{"series": name, "values": values} for name, values in series.items()]
    test = {"interval": f"{EVERY}s", "input_series": given, "alert_rule_test": looks}
    (tmp_path / "t.yml").write_text(
        json.dumps({"rule_files": ["r.yml"], "evaluation_interval": f"{EVERY}s", "tests": [test]}),
        "utf-8",
    )
    return promtool(tmp_path, "test", "rules", "t.yml")


@with_promtool
def test_a_ratio_at_the_edge_fires_once(tmp_path: Path) -> None:
    """Low from the third minute on for two; then at the edge; then good."""
    rule = AlertRule("hit_ratio", 0.8, lasts=120)
    hits = minutes(900, 900, 100, 100, 100, 820, 780, 820, 900, 900, 900, 900)
    misses = minutes(100, 100, 900, 900, 900, 180, 220, 180, 100, 100, 100, 100)
    series = {HITS: hits, MISSES: misses}
    assert fires(tmp_path, rule, series, [5, 6, 7, 8]) == ""
    assert "FAILED" in fires(tmp_path, rule, series, [5]), "a test that cannot fail"


@with_promtool
def test_a_short_dip_fires_nothing(tmp_path: Path) -> None:
    rule = AlertRule("hit_ratio", 0.8, lasts=150)
    series = {HITS: minutes(900, 0, 900, 900), MISSES: minutes(100, 1000, 100, 100)}
    assert fires(tmp_path, rule, series, []) == ""


@with_promtool
def test_a_lag_fires_until_it_is_back(tmp_path: Path) -> None:
    rule = AlertRule("sync_lag", 60, lasts=60, clears=10)
    lags = " ".join(["0x7", "100x12", "50x8", "0x20"])
    series = {'cache_sync_lag_seconds{service="default"}': lags}
    assert fires(tmp_path, rule, series, [3, 4, 5, 6, 7]) == ""


GROWING = (100, 100, 100, 100, 700, 700, 700, 700, 100, 100, 100)
ANSWERS = f"cache_answer_seconds_total{{{KIND}}}"
ERRORS = (
    'cache_tier_errors_total{tier="l2"}', f'cache_load_failures_total{{{KIND}}}',
    'cache_sync_errors_total{service="default", cause="connection"}',
)  # fmt: skip


@with_promtool
@pytest.mark.parametrize(
    ("rule", "series"),
    [
        (AlertRule("errors", 1000, lasts=120), dict.fromkeys(ERRORS, minutes(*GROWING))),
        (AlertRule("evictions", 400, lasts=120), {
            'cache_evictions_total{layer="l1", worker="1"}': minutes(*GROWING),
            'cache_evictions_total{layer="l1", worker="2"}': minutes(*[60] * 11),
            'cache_evictions_total{layer="l2"}': minutes(*[9000] * 11),
        }),
        (AlertRule("bulky", 400, lasts=120), {f"cache_bulky_total{{{KIND}}}": minutes(*GROWING)}),
        (AlertRule("latency", 0.4, lasts=120), {
            HITS: minutes(*[500] * 11), MISSES: minutes(*[500] * 11), ANSWERS: minutes(*GROWING),
        }),
        (AlertRule("memory", 0.5, lasts=120), {
            'cache_capacity_bytes{layer="l1"}': "1000x44",
            'cache_size_bytes{layer="l1"}': " ".join(["100x17", "700x15", "100x11"]),
        }),
    ],
    ids=lambda each: each.figure if isinstance(each, AlertRule) else "",
)  # fmt: skip
def test_each_figure_fires_while_it_is_beyond_its_limit(
    tmp_path: Path, rule: AlertRule, series: dict[str, str]
) -> None:
    """From the fifth to the eighth minute, of which it has to last two."""
    assert fires(tmp_path, rule, series, [7, 8]) == ""


@pytest.mark.parametrize("wrong", ["hit_ratio", [1], None])
def test_what_it_does_not_take(wrong: Any) -> None:
    with pytest.raises(BadInput):
        rule_file(wrong)
