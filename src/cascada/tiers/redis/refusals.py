"""Why Redis does not do what it is asked, in words for a log.

`refusal` turns an error reply into the tier's own error, and decides whether it counts as a failure
of the tier. `cause` says why there is no connection. Neither ever holds a password or a value.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Final

from cascada.model.errors import TierUnavailable
from cascada.tiers.contract import Full, NotPermitted
from cascada.tiers.redis.layout import ServerError

_NO_ROOM: Final = ("OOM", "MISCONF", "NOREPLICAS")
"""It reads, and stores nothing: full, or not able to save or to replicate."""

_AWAY: Final = (
    "LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "BUSY", "TRYAGAIN", "NOAUTH", "UNKILLABLE",
)  # fmt: skip
"""It cannot work at present, whatever it is asked."""


def refusal(what: object, error: ServerError) -> TierUnavailable:
    """An error reply as the tier's own error. Only what says that the server cannot work counts as
    a failure of the tier; the rest is about this one command."""
    said = str(error)
    asked = what.decode() if isinstance(what, bytes) else what
    # An error inside a script is quoted behind the script's own words, in older servers.
    codes = {word.strip("-:") for word in said.split()}
    kind = (
        Full
        if not codes.isdisjoint(_NO_ROOM)
        else TierUnavailable
        if not codes.isdisjoint(_AWAY)
        else NotPermitted
    )
    return kind(f"Redis refused {asked}: {said}")


def cause(error: BaseException) -> str | None:
    """Why connecting failed, where that can be said better than the driver does."""
    for each in _chain(error):
        if isinstance(each, ssl.SSLError):
            return f"TLS failed: {each.reason or each}"
        if isinstance(each, ConnectionRefusedError):
            return f"connection refused: {each.strerror or each}"
        if isinstance(each, TimeoutError):
            return "time-out while connecting (a firewall, or TLS on one side alone?)"
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
