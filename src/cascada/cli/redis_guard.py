"""Who may reach a Redis, and how: what `cascada doctor` says of passwords, TLS and connections."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Mapping
from typing import Any, Final

from cascada.cli.findings import Finding
from cascada.model.errors import TierUnavailable
from cascada.model.limits import Limits
from cascada.tiers.redis_client.server import Server
from cascada.tiers.redis_client.wire import Wire

OF_A_PROCESS: Final = 10
"""Connections that a process has beside those for lists and counters: one for all, one for news, at
most eight for large values."""


_REFUSED: Final = ("NOAUTH", "NOPERM", "DENIED", "WRONGPASS")


def _is_slow(error: BaseException) -> bool:
    return isinstance(error, TimeoutError)


def is_local(wire: Wire) -> bool:
    """Whether what is said on a connection stays on this machine."""
    try:
        peer: Any = wire.socket.getpeername()
        return not isinstance(peer, tuple) or ipaddress.ip_address(peer[0]).is_loopback
    except (AttributeError, OSError, ValueError):
        return False


async def password_finding(server: Server, key: bytes, *, local: bool, patience: float) -> Finding:
    """Whether a client that proves nothing gets in, and may read `key`."""
    check = "redis password"
    cure = (
        "set requirepass, or a user with a password (ACL SETUSER) and `ACL SETUSER default off`, "
        "and put it into REDIS_PASSWORD"
    )
    address = server.address
    if address.path is not None:
        return Finding(check, "ok", "it is reached by a socket's file, which has permissions")
    tls = address.tls
    if tls is not None:
        tls = tls._replace(ssl_certfile=None, ssl_keyfile=None, ssl_password=None)
    stranger = Server(address._replace(username=None, password=None, tls=tls, client_name=""))
    wire: Wire | None = None
    try:
        async with asyncio.timeout(patience):
            wire = await stranger.open()
            await stranger.greet(wire)
            await wire.send((b"GET", key))
    except (OSError, TierUnavailable, TimeoutError) as error:
        why = server.said(error)
        # A server that asks for certificates ends the connection, and says nothing.
        if any(sign in why for sign in _REFUSED) or (tls is not None and not _is_slow(error)):
            return Finding(check, "ok", "who proves nothing may read nothing")
        return Finding(
            check, "warn", f"whether it lets in who proves nothing could not be tried: {why}",
            "try again, when it takes connections",
        )  # fmt: skip
    finally:
        if wire is not None:
            wire.close("the doctor has gone")
    if local:
        return Finding(
            check, "warn", "it asks for no password: whatever runs on this machine reads all of it",
            cure,
        )  # fmt: skip
    return Finding(
        check, "fail", "it asks for no password: whoever reaches it reads and changes all of it",
        cure,
    )  # fmt: skip


def tls_finding(server: Server, *, local: bool) -> Finding:
    """Whether others on the way can listen, or answer in its place."""
    check, tls = "redis tls", server.address.tls
    if tls is None and local:
        return Finding(check, "ok", "it is on this machine")
    if tls is None:
        return Finding(
            check, "warn", "it is on another machine, where password and values go in the clear",
            "let it speak TLS, and say rediss:// (and ?ssl_ca_certs=FILE) in REDIS_URL",
        )  # fmt: skip
    if tls.ssl_cert_reqs != "required":
        return Finding(
            check, "warn", f"ssl_cert_reqs is {tls.ssl_cert_reqs}: anybody may answer in its place",
            "leave ssl_cert_reqs out, and name its CA (?ssl_ca_certs=FILE)",
        )  # fmt: skip
    return Finding(check, "ok", "its certificate is checked")


def connections_finding(info: Mapping[str, str], limits: Limits, workers: int) -> Finding:
    """Whether all workers find a connection, by what INFO tells."""
    check = "redis connections"
    each = OF_A_PROCESS + limits.redis_max_connections
    if "maxclients" not in info:
        return Finding(
            check, "ok", f"{workers} workers take at most {workers * each}; how many it takes it "
            "does not tell"
        )  # fmt: skip
    most, there = int(info["maxclients"]), int(info.get("connected_clients", 0))
    found = f"{workers} workers take at most {workers * each}, and {there} of {most} are taken"
    if there + workers * each > most:
        return Finding(
            check, "warn", found,
            "raise maxclients, or lower REDIS_MAX_CONNECTIONS (for lists and counters)",
        )  # fmt: skip
    if rejected := int(info.get("rejected_connections", 0)):
        return Finding(
            check, "warn", f"{found}; it has refused {rejected} since it started",
            "raise maxclients, if others than this doctor met that",
        )  # fmt: skip
    return Finding(check, "ok", found)
