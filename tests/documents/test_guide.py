"""The Spanish guide's table of the documents' names says of each whether it is there."""

import re
from pathlib import Path

import cascada
import cascada.model.errors
from tests.api.test_exports import DOCUMENTED

GUIDE = Path(__file__).parents[2] / "docs/es/guia.md"
NOT_YET = "todavía no"
ROW = re.compile(r"^\| (`.+?) \| (.+) \|$", re.M)
OURS = {"Embeddings", "configure", "reset"}
"""Documented names that are not the five documents' own, beside the errors."""


def rows() -> list[tuple[list[str], str]]:
    """The documents' names of each row, and what the guide says of them."""
    text = GUIDE.read_text("utf-8")
    return [(re.findall(r"`([\w.]+)`", names), says) for names, says in ROW.findall(text)]


def is_there(name: str) -> bool:
    found: object = cascada
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is not None


def test_a_name_is_there_unless_the_guide_says_not_yet() -> None:
    wrong = {
        name: says
        for names, says in rows()
        for name in names
        if is_there(name) == says.startswith(NOT_YET)
    }
    assert not wrong


def test_every_documented_name_is_in_the_guide() -> None:
    told = {name for names, _ in rows() for name in names}
    errors = set(vars(cascada.model.errors))
    assert not {*DOCUMENTED} - told - OURS - errors
    assert {"CacheManager", "CacheService", "swr_cache", "CacheManager.lpop"} <= told
