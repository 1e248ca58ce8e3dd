"""The table of all promises names tests that exist, and leaves none out."""

import re
from collections import Counter
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/promises-of-the-documents.md"
PROMISED = {"A": 113, "S": 121, "C": 30, "N": 96, "V": 77}
ROW = re.compile(r"\| (?P<section>[\d.]+) \| (?P<promise>.+) \| (?P<now>.+) \| (?P<shown>.+) \|")


def rows() -> list[tuple[str, re.Match[str]]]:
    """Each with the letter of its document."""
    found, document = [], ""
    for line in PAGE.read_text("utf-8").splitlines():
        if line.startswith("## "):
            document = line[3]
        elif match := ROW.fullmatch(line):
            found.append((document, match))
    return found


@cache
def source(path: str) -> str:
    return (ROOT / path).read_text("utf-8")


def test_every_promise_has_its_row() -> None:
    assert Counter(document for document, _ in rows()) == PROMISED
    assert sum(PROMISED.values()) == 437


def test_every_row_says_how_it_stands_and_what_shows_it() -> None:
    targets = set(re.findall(r"^([a-z]+):", source("Makefile"), re.M))
    for document, row in rows():
        where = f"{document} {row['section']} {row['promise']}"
        assert row["now"].startswith(("WORKS", "settled")), where
        shown = re.findall(r"`([^`]+)`", row["shown"])
        assert shown, where
        for each in shown:
            path, _, name = each.partition("::")
            if path.startswith(("tests/", "benchmarks/", "docs/", "examples/")):
                assert (ROOT / path).exists(), f"{where}: {path} is not there"
                assert not name or f"def {name}(" in source(path), f"{where}: no {each}"
            elif path.startswith("make "):
                assert path.split()[1] in targets, where
            else:
                assert path.startswith(("cascada ", "cache.")), f"{where}: {each}"


def test_the_summary_adds_up() -> None:
    stands = Counter((document, row["now"].startswith("WORKS")) for document, row in rows())
    for document in PROMISED:
        says = f" | {stands[document, True]} | {stands[document, False]} |"
        assert re.search(rf"^\| {document}: .*{re.escape(says)}$", source(str(PAGE)), re.M)
