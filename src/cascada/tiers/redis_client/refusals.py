"""Why Redis does not do what it is asked, in words for a log.

`refusal` makes of an error reply the tier's own error, and decides whether it counts as a failure
of the tier: the wire calls it, so that nobody meets the reply itself. `cause` says why there is no
connection. Neither ever holds a password or a value.
"""

from __future__ import annotations

import ssl
from typing import Final

from cascada.model.errors import TierUnavailable
from cascada.tiers.contract import Full, NotPermitted

_NO_ROOM: Final = ("OOM", "MISCONF", "NOREPLICAS")
"""It reads, and stores nothing: full, or not able to save or to replicate."""

_AWAY: Final = (
    "LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "BUSY", "TRYAGAIN", "NOAUTH", "UNKILLABLE",
)  # fmt: skip
"""It cannot work at present, whatever it is asked."""


class Away(TierUnavailable):
    """The server has answered that it cannot work at present: the connection is sound."""


def refusal(command: object, reply: str) -> NotPermitted | Away:
    """An error reply as the tier's own error. Only what says that the server cannot work counts as
    a failure of the tier; the rest is about this one command."""
    said = without_arguments(reply)
    asked = command.decode() if isinstance(command, bytes) else command
    # An error inside a script is quoted behind the script's own words, in older servers.
    codes = {word.strip("-:") for word in said.split()}
    kind = (
        Full
        if not codes.isdisjoint(_NO_ROOM)
        else Away
        if not codes.isdisjoint(_AWAY)
        else NotPermitted
    )
    return kind(f"Redis refused {asked}: {said}")


def without_arguments(text: str) -> str:
    """An error reply less the arguments that it repeats: keys, values, of HELLO the password."""
    return text.partition(", with args beginning with")[0]


def cause(error: BaseException) -> str | None:
    """Why connecting failed, where that can be said better than the driver does."""
    each: BaseException | None = error
    while each is not None:
        if isinstance(each, ssl.SSLError):
            if "PEM lib" in str(each):  # all that OpenSSL says of it
                return (
                    "TLS failed: ssl_certfile, ssl_keyfile and ssl_password do not fit each other"
                )
            return f"TLS failed: {each.reason or each}"
        if isinstance(each, ConnectionRefusedError):
            return f"connection refused: {each.strerror or each}"
        if isinstance(each, TimeoutError):
            return "time-out while connecting (a firewall, or TLS on one side alone?)"
        each = each.__cause__ or each.__context__
    return None
