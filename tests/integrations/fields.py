"""Structured fields (RFC 9651) as their grammar has them, for checking headers: lists of items with
parameters, of tokens, strings, integers and booleans. What the grammar does not know is refused."""

from __future__ import annotations

import re
from typing import Final

Bare = str | int | bool
Item = tuple["Token | str", dict[str, "Bare | Token"]]

_KEY: Final = re.compile(r"[a-z*][a-z0-9_\-.*]*")
_TOKEN: Final = re.compile(r"[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*")
_INTEGER: Final = re.compile(r"-?[0-9]{1,15}(?![0-9.])")
_STRING: Final = re.compile(r'"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
_BOOLEAN: Final = re.compile(r"\?([01])")


class Token(str):
    """A token, which is no string."""


class NotAField(ValueError):
    """What is no list of items."""


def parse(text: str) -> list[Item]:
    """The items of a list field."""
    rest = text.strip(" ")
    items = []
    while rest:
        item, rest = _item(rest)
        items.append(item)
        rest = rest.lstrip(" \t")
        if rest:
            if not rest.startswith(",") or not rest[1:].strip(" \t"):
                raise NotAField(rest)
            rest = rest[1:].lstrip(" \t")
    return items


def _item(text: str) -> tuple[Item, str]:
    name, rest = _bare(text)
    if not isinstance(name, str):
        raise NotAField(text)
    parameters: dict[str, Bare | Token] = {}
    while rest.startswith(";"):
        rest = rest[1:].lstrip(" ")
        key, rest = _take(_KEY, rest)
        value: Bare | Token = True
        if rest.startswith("="):
            value, rest = _bare(rest[1:])
        parameters[key] = value
    return (name, parameters), rest


def _bare(text: str) -> tuple[Bare | Token, str]:
    if _STRING.match(text):
        quoted, rest = _take(_STRING, text)
        return re.sub(r"\\(.)", r"\1", quoted[1:-1]), rest
    if _BOOLEAN.match(text):
        said, rest = _take(_BOOLEAN, text)
        return said == "?1", rest
    if _INTEGER.match(text):
        number, rest = _take(_INTEGER, text)
        return int(number), rest
    token, rest = _take(_TOKEN, text)
    return Token(token), rest


def _take(pattern: re.Pattern[str], text: str) -> tuple[str, str]:
    found = pattern.match(text)
    if found is None:
        raise NotAField(text)
    return found[0], text[found.end() :]
