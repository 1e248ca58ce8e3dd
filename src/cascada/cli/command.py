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
Several sources, such as all workers of a service, are added up. The figures are there in mode
observe, or with CASCADA_SELF_CHECK set."""


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
    of_pages.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="the URL of a /metrics page, a file that holds one, or - for standard input",
    )
    chosen = parser.parse_args(arguments)
    try:
        from cascada.cli.pages import report  # needs an extra: `--help` does not

        text = str(report(chosen.sources))
    except CascadaError as error:
        sys.stderr.write(f"cascada: {error}\n")
        return 2
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:  # `cascada report ... | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
