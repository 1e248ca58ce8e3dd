"""Makes `cascada.json`, the dashboard that Grafana imports: `python docs/grafana/build.py`.

Edit this file, never the JSON. Each panel is a row of a table below: its title, its unit, and its
queries with what their lines are called. `tests/integrations` holds the JSON to this file and each
query to the metrics that there are; `python -m tests.integrations.grafana` runs every query against
a Prometheus that scrapes a cache under load.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple

from grafana_foundation_sdk.builders import common, dashboard, prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.common import (
    LegendDisplayMode,
    LegendPlacement,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import Dashboard, DataSourceRef

FILE: Final = Path(__file__).with_name("cascada.json")
SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
ON_TRIAL: Final = '{variant!=""}'
WIDE, HIGH = 8, 7


class Panel(NamedTuple):
    """`queries`: by what each line is called. `unit`: as Grafana calls it."""

    title: str
    unit: str
    queries: Mapping[str, str]
    about: str = ""
    most: float | None = None


def per_second(counter: str, by: str = "", having: str = "") -> str:
    """How fast a counter grows."""
    labels = f" by ({by})" if by else ""
    return f"sum{labels} (rate({counter}{having}[$__rate_interval]))"


def quantile(share: float) -> str:
    """Of the layers that have answered at all: of none it is no number, which is not >= 0."""
    buckets = per_second("cache_response_time_seconds_bucket", "le, layer")
    return f"histogram_quantile({share}, {buckets}) >= 0"


def ratio(some: str, of: str) -> str:
    """Nothing where nothing has happened: 0 of 0 is no number."""
    return f"{some} / ({of} > 0)"


def hit_ratio(by: str, having: str = "") -> str:
    """Hits over reads. A read that no layer answered is a miss of the lowest, the fewest."""
    hits = per_second("cache_hit_total", by, having)
    misses = per_second("cache_miss_total", f"{by}, layer".removeprefix(", "), having)
    fewest = f"min by ({by}) ({misses})" if by else f"min({misses})"
    return ratio(hits, f"({hits} + {fewest})")


def waited(by: str, having: str = "") -> str:
    """How long a read waits on average, of hits and loads; hits in memory as nothing."""
    answers = " + ".join(
        per_second(counter, by, having) for counter in ("cache_hit_total", "cache_loads_total")
    )
    return ratio(per_second("cache_answer_seconds_total", by, having), f"({answers})")


def tracked(metric: str) -> str:
    """How much a measurement that is tracked has grown."""
    return per_second("cache_tracked_sum", "data_type", f'{{metric="{metric}"}}')


ROWS: Final[Mapping[str, list[Panel]]] = {
    "Is it worth it?": [
        Panel("Hit ratio", "percentunit", {"all reads": hit_ratio("")}, most=1),
        Panel(
            "Hit ratio by layer",
            "percentunit",
            {
                "{{layer}}": ratio(
                    per_second("cache_hit_total", "layer"),
                    f"({per_second('cache_hit_total', 'layer')} + "
                    f"{per_second('cache_miss_total', 'layer')})",
                )
            },
            "Of the reads that came to the layer.",
            most=1,
        ),
        Panel(
            "Hit ratio by type", "percentunit", {"{{data_type}}": hit_ratio("data_type")}, most=1
        ),
        Panel(
            "Saved seconds, each second",
            "s",
            {"{{by}}": per_second("cache_saved_seconds_total", "by")},
            "What the loads of the values took that nobody had to wait for.",
        ),
        Panel(
            "Tokens",
            "short",
            {
                "saved, in": per_second("cache_saved_tokens_in_total"),
                "saved, out": per_second("cache_saved_tokens_out_total"),
                "spent, in": per_second("cache_spent_tokens_in_total"),
                "spent, out": per_second("cache_spent_tokens_out_total"),
            },
        ),
        Panel(
            "Money, each hour",
            "short",
            {
                "saved": f"3600 * {per_second('cache_saved_money_total')}",
                "spent": f"3600 * {per_second('cache_spent_money_total')}",
            },
            "In the currency of the prices, as far as they are known.",
        ),
    ],
    "Reads and loads": [
        Panel("Reads by layer", "reqps", {"{{layer}}": per_second("cache_hit_total", "layer")}),
        Panel(
            "Response time",
            "s",
            {f"{{{{layer}}}} {share:.0%}": quantile(share) for share in (0.5, 0.95, 0.99)},
            "By who answered; l1 is an estimate.",
        ),
        Panel(
            "Wait of a read, by type",
            "s",
            {"{{data_type}}": waited("data_type")},
            "On average, of reads that shared no load; hits in memory as nothing.",
        ),
        Panel(
            "Loads by type",
            "reqps",
            {"{{data_type}}": per_second("cache_loads_total", "data_type")},
        ),
        Panel(
            "Time of a load",
            "s",
            {
                "{{data_type}}": ratio(
                    per_second("cache_load_seconds_total", "data_type"),
                    per_second("cache_loads_total", "data_type"),
                )
            },
        ),
        Panel(
            "Reads without a load of their own",
            "reqps",
            {
                "coalesced": per_second("cache_coalesced_total"),
                "stale": per_second("cache_stale_total"),
            },
        ),
        Panel(
            "Wrong for 10 s",
            "percentunit",
            {
                "of the compared hits": ratio(
                    per_second("cache_differed_total", having='{after="10s"}'),
                    per_second("cache_checked_total"),
                )
            },
            "With a self-check, or in mode observe.",
        ),
    ],
    "Layers": [
        Panel(
            "Size",
            "bytes",
            {
                "{{layer}}": "sum by (layer) (cache_size_bytes)",
                "{{layer}} may hold": "sum by (layer) (cache_capacity_bytes > 0)",
            },
        ),
        Panel("Entries", "short", {"{{layer}}": "sum by (layer) (cache_entries)"}),
        Panel("Evictions", "ops", {"{{layer}}": per_second("cache_evictions_total", "layer")}),
        Panel(
            "Invalidations",
            "ops",
            {
                "invalidations": per_second("cache_invalidations_total"),
                "entries that they ended": per_second("cache_invalidated_entries_total"),
            },
        ),
        Panel(
            "Cascades",
            "ops",
            {
                "of {{data_type}}": tracked("cache_invalidation_coordinated"),
                "{{data_type}}": tracked("cache_invalidation"),
            },
            "Entries that they ended.",
        ),
        Panel(
            "Degraded",
            "percentunit",
            {"{{layer}} is skipped": "1 - avg by (layer) (cache_tier_up)"},
            "The share of the workers that go on without the layer.",
            most=1,
        ),
        Panel(
            "Errors",
            "ops",
            {
                "{{where}}": per_second("cache_tier_errors_total", "where"),
                "{{task}} began again": per_second("cache_task_restarts_total", "task"),
                "loaders": per_second("cache_load_failures_total"),
                "not decoded": per_second("cache_corrupt_total"),
            },
        ),
        Panel(
            "Not stored",
            "ops",
            {
                "no room": per_second("cache_no_room_total"),
                "too large": per_second("cache_oversized_total"),
                "no exact form": per_second("cache_unstorable_total"),
                "invalidated meanwhile": per_second("cache_refused_total"),
            },
            "By a layer; callers have the values all the same.",
        ),
        Panel("Workers", "short", {"{{group}}": "sum by (group) (cache_workers)"}),
        Panel("Mode", "short", {"{{mode}}": "sum by (mode) (cache_mode)"}),
        Panel(
            "Stored bytes",
            "Bps",
            {"{{data_type}}": per_second("cache_stored_bytes_total", "data_type")},
        ),
    ],
    "Ahead of time, and behind": [
        Panel(
            "Brought ahead",
            "ops",
            {
                "fetched": per_second("cache_prefetch_fetched_total"),
                "used": per_second("cache_prefetch_used_total"),
                "wasted": per_second("cache_prefetch_wasted_total"),
                "failed": per_second("cache_prefetch_failed_total"),
            },
        ),
        Panel(
            "Brought rightly",
            "percentunit",
            {
                "used": ratio(
                    per_second("cache_prefetch_used_total"),
                    f"({per_second('cache_prefetch_used_total')} + "
                    f"{per_second('cache_prefetch_wasted_total')})",
                ),
                "{{data_type}}, since the start": "avg by (data_type) (cache_prefetch_precision)",
            },
            "Of what was brought ahead and has been used since, or has gone.",
            most=1,
        ),
        Panel(
            "Changes that wait for the database",
            "short",
            {
                "waiting": "max(cache_journal_changes)",
                "set aside": "max(cache_journal_set_aside)",
            },
        ),
        Panel(
            "Written behind",
            "ops",
            {
                "put": per_second("cache_journal_put_total"),
                "written": per_second("cache_journal_written_total"),
                "void": per_second("cache_journal_void_total"),
            },
        ),
    ],
    "Services": [
        Panel("Sync lag", "s", {"{{service}}": "max by (service) (cache_sync_lag_seconds)"}),
        Panel("Set aside", "short", {"{{service}}": "max by (service) (cache_sync_set_aside)"}),
        Panel(
            "Rows synced", "ops", {"{{service}}": per_second("cache_sync_rows_total", "service")}
        ),
        Panel(
            "Alerts firing",
            "short",
            {
                "{{service}} {{alertname}}": "count by (service, alertname) "
                '(ALERTS{alertname=~"Cascada.*", alertstate="firing"}) or vector(0)'
            },
            "Of the rules in alerts.yml.",
        ),
    ],
    "Policies on trial": [
        Panel(
            "Hit ratio of each",
            "percentunit",
            {"{{data_type}} {{variant}}": hit_ratio("data_type, variant", ON_TRIAL)},
            most=1,
        ),
        Panel(
            "Wait for an answer",
            "s",
            {
                "{{data_type}} {{variant}}": waited("data_type, variant", ON_TRIAL),
            },
            "On average, hits in memory as nothing.",
        ),
        Panel(
            "Saved seconds of each",
            "s",
            {
                "{{data_type}} {{variant}}": per_second(
                    "cache_saved_seconds_total", "data_type, variant", ON_TRIAL
                )
            },
        ),
    ],
}


def queries() -> Iterator[str]:
    """All queries of all panels."""
    for panels in ROWS.values():
        for panel in panels:
            yield from panel.queries.values()


def panel_of(number: int, panel: Panel) -> timeseries.Panel:
    legend = common.VizLegendOptions().show_legend(True).calcs([])
    built = (
        timeseries.Panel()
        .id(number)
        .title(panel.title)
        .description(panel.about)
        .unit(panel.unit)
        .min(0)
        .span(WIDE)
        .height(HIGH)
        .datasource(SOURCE)
        .legend(legend.display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM))
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    )
    if panel.most is not None:
        built = built.max(panel.most)
    for place, (name, expression) in enumerate(panel.queries.items()):
        query = prometheus.Dataquery().expr(expression).legend_format(name)
        built = built.with_target(query.ref_id(chr(ord("A") + place)).datasource(SOURCE))
    return built


def built() -> str:
    """The dashboard as JSON."""
    board = (
        dashboard.Dashboard("cascada")
        .uid("cascada")
        .description("What a cache brings, and how it is.")
        .tags(["cascada", "cache"])
        .timezone("browser")
        .refresh("30s")
        .time("now-1h", "now")
        .with_variable(
            dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus")
        )
    )
    number = count(1)
    for title, panels in ROWS.items():
        board = board.with_row(dashboard.Row(title).id(next(number)))
        for panel in panels:
            board = board.with_panel(panel_of(next(number), panel))
    # Read once by the types that wrote it, as Grafana reads it: the next reading adds nothing.
    register_default_plugins()
    encoder = JSONEncoder(sort_keys=True, indent=2)
    return encoder.encode(Dashboard.from_json(json.loads(encoder.encode(board.build())))) + "\n"


if __name__ == "__main__":
    FILE.write_text(built(), "utf-8")
