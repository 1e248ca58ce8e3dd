"""The page of the protocol knows where each rule is held, and names every mutant."""

import re
import subprocess
from pathlib import Path

from tests.chaos import mutants_journaled, mutants_synced
from tests.chaos.mutations import all_mutants

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/protocol.md").read_text("utf-8")
RULES = [int(number) for number in re.findall(r"^\*\*(\d+)\. ", PAGE, re.MULTILINE)]
ROWS = [
    row.strip("| ").split(" | ")
    for row in PAGE.partition("## Where each rule is held")[2].splitlines()
    if re.match(r"\| \d", row)
]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_the_rules_are_numbered_and_each_is_held_somewhere() -> None:
    assert list(range(1, len(RULES) + 1)) == RULES
    assert [int(number) for row in ROWS for number in row[0].split(", ")] == RULES


def test_what_holds_a_rule_is_there() -> None:
    named = [f"src/cascada/{path}" for row in ROWS for path in quoted(row[1])]
    named += [f"tests/{path}" for row in ROWS for path in quoted(row[2])]
    assert len(named) > 2 * len(ROWS)
    assert not [path for path in named if not (ROOT / path).is_file()]


def test_every_mutant_leaves_out_a_rule_of_the_page() -> None:
    known = {*all_mutants(), *mutants_journaled.mutants, *mutants_synced.mutants}
    assert {name for row in ROWS for name in quoted(row[3])} == known


def test_who_cites_a_rule_cites_one_that_is_there() -> None:
    cited = subprocess.run(
        ["git", "grep", "-hoE", r"protocol\.md.{0,3} rules? [0-9]+( to [0-9]+| and [0-9]+)?"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    numbers = [int(number) for number in re.findall(r"\d+", cited)]
    assert numbers
    assert max(numbers) <= len(RULES)
