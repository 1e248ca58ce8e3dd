"""`cascada`, the command: its subcommands, and how it fails.

What it cannot do it says in one sentence, on standard error and with exit status 2.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from cascada import __version__
from cascada.model.errors import CascadaError

_REPORT = """\
What caches are worth, and whether they are right, by data type: reads, hits, seconds saved, and how
many of the hits that were compared with their source differed from it at once, 1 s and 10 s later.
Several sources are added up; the page of one of several workers has all of them. The figures are
there in mode observe, or with CASCADA_SELF_CHECK set."""

_TOP = """\
What comes first, by data type and tenant: the most hits, misses, bytes given to the tiers, or cost
(money, else tokens, else seconds of loads), since the services started. Mean and 99th percentile
are of reads that memory did not answer at once; the second is there if the page has it by type
(exposition(cache, times_by_type=True)), tenants if it has them (exposition(cache, tenants=50)).
--keys: the largest values in Redis and the database, as the environment describes them."""

_DOCTOR = """\
Looks at what a cache would be made with, as the environment describes it: Redis (connection,
password, TLS, rights, memory and its policy, latency), the database, memory, encryption keys, and
what waits to be synced. Each check says what was found and
what to do. Nothing is changed; a few keys under the namespace come and go. The exit status is 0 if
all is well, 1 if there is something to think about, 2 if something has failed."""

_FORGET = """\
Removes all that a tenant has, or one of his users, from the tiers that the environment describes:
values, lists, counters, what waits to be written, and of a tenant his data key, and the rows that
services have synced to cascada's own tables. An application's own rows stay. It may be run while
the service runs, and again after it was stopped. The exit status is 0 if all is gone, 1 if
something is left, 2 if it failed."""

_KEYS = """\
Wraps the data keys of all tenants by the first of CACHE_ENCRYPTION_KEYS, while the service runs.
What they have sealed stays as it is."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    parser = argparse.ArgumentParser(
        prog="cascada", description="Looks after caches made with cascada."
    )
    parser.add_argument("--version", action="version", version=f"cascada {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    of_pages = commands.add_parser(
        "report", help="what caches are worth, and whether they are right", description=_REPORT
    )
    of_pages.set_defaults(run=_report)
    of_pages.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="the URL of a /metrics page, a file that holds one, or - for standard input",
    )
    of_top = commands.add_parser(
        "top", help="what is read, missed, stored or paid for most", description=_TOP
    )
    of_top.set_defaults(run=_top)
    of_top.add_argument("sources", nargs="*", metavar="SOURCE", help="as of `cascada report`")
    of_top.add_argument(
        "--keys", action="store_true", help="the largest values, of no page but of the tiers"
    )
    of_top.add_argument("--by", choices=("hits", "misses", "bytes", "cost"), default="hits")
    of_top.add_argument("--per", choices=("type", "tenant", "both"), default="type")
    of_top.add_argument("-n", type=_count, default=20, metavar="N", dest="most", help="rows (20)")
    of_setups = commands.add_parser(
        "doctor", help="what is wrong with Redis, the database, memory", description=_DOCTOR
    )
    of_setups.set_defaults(run=_doctor)
    of_setups.add_argument(
        "--redis",
        metavar="URL",
        help="instead of REDIS_URL, where others on this machine do not see its password",
    )
    of_setups.add_argument("--database", metavar="URL", help="instead of CACHE_DATABASE_URL")
    of_setups.add_argument("--synced", metavar="URL", help="instead of CASCADA_SYNC_DATABASE")
    of_setups.add_argument(
        "--workers",
        type=_count,
        metavar="N",
        help="processes of the service (WEB_CONCURRENCY, else one for each processor)",
    )
    of_setups.add_argument("--json", action="store_true", help="for programs")
    of_tenants = commands.add_parser(
        "forget", help="remove all that a tenant or a user has", description=_FORGET
    )
    of_tenants.set_defaults(run=_forget)
    of_tenants.add_argument("tenant", metavar="TENANT")
    of_tenants.add_argument("--user", metavar="USER", help="only what is of this user of his")
    of_tenants.add_argument("--yes", action="store_true", help="without a question")
    of_tenants.add_argument(
        "--compact",
        action="store_true",
        help="write the database's file anew, however large it is: nobody else writes meanwhile",
    )
    of_tenants.add_argument(
        "--synced", metavar="URL", help="where services sync to, instead of CASCADA_SYNC_DATABASE"
    )
    of_keys = commands.add_parser("keys", help="rotate the keys that wrap tenants' own")
    key_commands = of_keys.add_subparsers(title="commands", metavar="COMMAND", required=True)
    of_rotation = key_commands.add_parser(
        "rotate", help="wrap all tenants' keys by the first one", description=_KEYS
    )
    of_rotation.set_defaults(run=_rotate)
    chosen = parser.parse_args(arguments)
    if chosen.run is _top and chosen.keys == bool(chosen.sources):
        of_top.error("it takes pages, or --keys")
    try:
        text, status = chosen.run(chosen)
    except CascadaError as error:
        sys.stderr.write(f"cascada: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:  # `cascada report ... | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return int(status)


def _report(chosen: argparse.Namespace) -> tuple[str, int]:
    from cascada.cli.pages import report  # needs an extra: `--help` does not

    return str(report(chosen.sources)), 0


def _top(chosen: argparse.Namespace) -> tuple[str, int]:
    if chosen.keys:
        from cascada.cli.largest import largest

        return largest(chosen.most), 0
    from cascada.cli.top import top

    return top(chosen.sources, chosen.by, chosen.per, chosen.most), 0


def _doctor(chosen: argparse.Namespace) -> tuple[str, int]:
    from cascada.cli.doctor import findings
    from cascada.cli.findings import EXIT, as_json, as_text, worst
    from cascada.model.door.secret import hidden

    redis, database, synced = map(hidden, (chosen.redis, chosen.database, chosen.synced))
    chosen.redis = chosen.database = chosen.synced = None
    found = [*findings(redis, database, chosen.workers, synced)]
    return (as_json if chosen.json else as_text)(found), EXIT[worst(found)]


def _forget(chosen: argparse.Namespace) -> tuple[str, int]:
    from cascada.cli.forgetting import forget
    from cascada.model.door.secret import hidden

    synced = hidden(chosen.synced)
    chosen.synced = None
    given = {"asked": chosen.yes, "compact": chosen.compact}
    return forget(chosen.tenant, chosen.user, **given, synced=synced)


def _rotate(chosen: argparse.Namespace) -> tuple[str, int]:
    from cascada.cli.keys import rotate

    return rotate()


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number
