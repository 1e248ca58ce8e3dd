"""Real input that every machine has: the texts of its own Python's standard library.

A document is the documentation string of a module, class or function, or the text of a module.
Files are parsed, never imported. The order is fixed by the names alone, so that the same Python
always gives the same documents; another version of Python gives slightly different ones.
"""

from __future__ import annotations

import ast
import re
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final
from zlib import crc32

_LEAST: Final = 120  # characters of a documentation string that is worth a document
_MODULE_TEXT: Final = 6_000  # characters of a module's text; some modules are books
_QUESTION: Final = range(25, 161)
_SENTENCE_END: Final = re.compile(r"(?<=[.!?])\s|\n\s*\n")
# Programs and jokes, and "encodings", whose texts are tables of characters.
_NOT_A_LIBRARY: Final = {"antigravity", "encodings", "idlelib", "lib2to3", "this", "turtledemo"}
_TESTS: Final = {"test", "tests", "idle_test"}

_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class SourceText:
    """One real text. `question` is its first sentence, where that is long enough to ask."""

    name: str
    text: str
    question: str | None


def standard_library(limit: int) -> list[SourceText]:
    """At most `limit` different texts, spread over the whole library."""
    return list(islice(_texts(), limit))


def sentences(text: str) -> list[str]:
    """Its sentences, each in one line."""
    found = (" ".join(each.split()) for each in _SENTENCE_END.split(text))
    return [each for each in found if each]


def _texts() -> Iterator[SourceText]:
    seen: set[str] = set()
    for name, path in _modules():
        try:
            source = path.read_text(encoding="utf-8")
            tree = ast.parse(source)
        except (OSError, SyntaxError, ValueError):
            continue  # an encoding or a grammar of its own: the library has a few on purpose
        for text in (*_documented(tree, name), _module_text(source, name)):
            if len(text.text) >= _LEAST and text.text not in seen:
                seen.add(text.text)
                yield text


def _modules() -> list[tuple[str, Path]]:
    """Public modules with their files, in an order that mixes the alphabet."""
    root = Path(sysconfig.get_path("stdlib"))
    found: list[tuple[str, Path]] = []
    for top in sys.stdlib_module_names - _NOT_A_LIBRARY:
        if top.startswith("_"):
            continue
        for path in (root / f"{top}.py", *(root / top).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            if path.is_file() and not _TESTS.intersection(parts):
                found.append((".".join(parts).removesuffix(".__init__"), path))
    return sorted(found, key=lambda module: (crc32(module[0].encode()), module[0]))


def _documented(node: ast.AST, name: str) -> Iterator[SourceText]:
    if isinstance(node, _Documented):
        text = ast.get_docstring(node) or ""
        yield SourceText(name, _storable(text), _first_sentence(text))
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _documented(child, f"{name}.{child.name}")


def _module_text(source: str, name: str) -> SourceText:
    return SourceText(f"{name} (text)", _storable(source[:_MODULE_TEXT]), None)


def _storable(text: str) -> str:
    """Without the characters that PostgreSQL or UTF-8 cannot hold; a few escapes make some."""
    return text.replace("\0", "").encode(errors="ignore").decode()


def _first_sentence(text: str) -> str | None:
    sentence = " ".join(_SENTENCE_END.split(_storable(text), maxsplit=1)[0].split())
    return sentence if len(sentence) in _QUESTION else None
