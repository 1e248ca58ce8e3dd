"""Which URLs are those of a Redis server.

They are read strictly, though redis-py is not strict: of a password with a `/`, `?` or `#` in it a
part would be taken for the host, the database or an option, and then be written into every log of
a failed connection.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from cascada.model.secret import Url

SCHEMES: Final = ("redis", "rediss", "unix", "redis+sentinel")
EXPECTED: Final = (
    "redis://HOST:PORT/NUMBER, rediss://HOST:PORT/NUMBER for TLS, unix://PATH or "
    "redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/NUMBER"
)

_ESCAPED: Final = "in a password, write %2F for /, %3F for ?, %23 for # and %40 for @"
_HOST: Final = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[^\[\]:\s]+)(?::(?P<port>\d{1,5})?)?")
_PATH: Final = {
    "redis": re.compile(r"/?\d*/?"),
    "rediss": re.compile(r"/?\d*/?"),
    "unix": re.compile(r"/.+"),
    "redis+sentinel": re.compile(r"/[^/]+(?:/\d*)?/?"),
}


def what_is_wrong(url: Url) -> str | None:
    """Why a URL is none of a Redis server, without a word of it; None if it is one."""
    if url.scheme not in SCHEMES or not url.rest:
        return f"expected {EXPECTED}"
    server, *after = re.split(r"(?=[/?#])", url.rest, maxsplit=1)
    path, _, query = (after[0] if after else "").partition("?")
    if "@" in path + query or "#" in url.rest:
        return f"it cannot be told where its password ends; {_ESCAPED}"
    user, _, hosts = server.rpartition("@")
    try:
        urlsplit(f"//{user}@")  # refuses letters that turn into one of /?#@: when normalised
    except ValueError:
        return f"its user or password holds a character that no URL may; {_ESCAPED}"
    many = hosts.split(",") if url.scheme == "redis+sentinel" else [hosts]
    if url.scheme == "unix" or (hosts == "" and not user):
        many = []  # of redis:///0: localhost
    for host in many:
        match = _HOST.fullmatch(host)
        if match is None or not 0 <= int(match["port"] or 0) < 2**16:
            return f"its host and port are none; {_ESCAPED}, or leave the port out"
    if not _PATH[url.scheme].fullmatch(path):
        return f"its path is none; expected {EXPECTED}"
    return None
