"""What `cascada doctor` asks a Redis server, over connections of its own.

It speaks with the server as the tier does, and writes nothing but a few keys under the namespace
that bear the doctor's name. They go in the step that makes them, and live for ten seconds where
this user may not delete.
"""

from __future__ import annotations

import asyncio
import socket
import statistics
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any, Final, NamedTuple

from cascada.cli.findings import Finding
from cascada.cli.journal_checks import Held, key_findings, waiting_findings
from cascada.cli.redis_guard import (
    connections_finding,
    is_local,
    password_finding,
    tls_finding,
)
from cascada.cli.redis_holds import WALKING, environment_finding, seen_in
from cascada.cli.redis_journal import journal_finding
from cascada.cli.redis_rights import findings_of, refused_commands
from cascada.cli.room_checks import budget_finding
from cascada.model.clock import SystemClock
from cascada.model.door.secret import Secret, Url
from cascada.model.errors import BadInput, TierUnavailable
from cascada.model.limits import Limits
from cascada.tiers.redis.layout import LAYOUT, Epoch, Layout
from cascada.tiers.redis_client.refusals import cause
from cascada.tiers.redis_client.server import Server, server_of
from cascada.tiers.redis_client.wire import Wire

LONGEST: Final = 5.0
"""Seconds that the server is waited for."""

LOOKS: Final = 50
LOOKING: Final = 1.0
"""PINGs that are timed, and seconds for which they are."""

CONNECTIONS: Final = 4
"""That are compared: do all of them lead to one server?"""

SKEW: Final = 1.0
"""Seconds by which clocks may differ."""

FLOOR: Final = (6, 2)

_TOLD: Final = (
    b"server", b"clients", b"memory", b"persistence", b"stats", b"replication", b"cluster",
)  # fmt: skip
_CONNECTION: Final = "redis connection"
_REFUSED: Final = ("WRONGPASS", "NOAUTH", "NOPERM", "invalid password", "AUTH failed")


class Use(NamedTuple):
    """What a server is for. writes_behind: its journal is WRITE_BEHIND's. lowest: no database is
    below it, so that services' journals and tenants' keys lie there. interval: of their syncs."""

    workers: int = 1
    writes_behind: bool = False
    lowest: bool = False
    interval: float = 300.0
    encryption_keys: Secret | None = None
    encrypt: str = "sensitive"


class RedisChecks:
    """All checks of one server, in turn. `say` is told what takes long."""

    def __init__(
        self,
        server: Server,
        namespace: str,
        limits: Limits,
        say: Callable[[str], None],
        use: Use,
    ) -> None:
        self._server = server
        self._namespace_name = namespace
        self._limits = limits
        self._use = use
        self._say = say
        self._layout = Layout(namespace, server.database)
        self._now = SystemClock().monotonic
        self._wires = ExitStack()
        self._info: dict[str, str] = {}

    async def all(self) -> list[Finding]:
        """What is found; no more than the first if there is no connection."""
        with self._wires:
            self._say(f"connecting to Redis (at most {LONGEST:.0f} s)")
            try:
                wire = await self._connected()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
                return [self._no_connection(error)]
            found: list[Finding] = []
            try:
                async with asyncio.timeout(4 * LONGEST):
                    async for each in self._looks(wire):
                        found.append(each)
            except (TimeoutError, TierUnavailable) as error:
                why = self._server.said(error) if str(error) else "no answer any more"
                cure = "look at the server's log, and at what lies between it and this machine"
                broke = f"the connection broke, or fell silent: {why}"
                found.append(Finding(_CONNECTION, "fail", broke, cure))
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
                odd = f"it answers as no Redis does: {type(error).__name__}"
                cure = "see what listens there, and what lies between it and this machine"
                found.append(Finding(_CONNECTION, "fail", odd, cure))
            return found

    async def _looks(self, wire: Wire) -> Any:
        await self._read_info(wire)
        yield Finding(_CONNECTION, "ok", f"connected to {self._called}")
        yield self._version()
        yield self._role()
        local, server = is_local(wire), self._server
        yield await password_finding(server, self._layout.epoch, local=local, patience=LONGEST)
        yield tls_finding(server, local=local)
        yield connections_finding(self._info, self._limits, self._use.workers)
        yield self._memory()
        yield await self._budget(wire)
        self._say(f"looking for journals and other namespaces (at most {WALKING:.0f} s)")
        for finding in await self._held(wire, local=local):
            yield finding
        self._say("trying what the user may do")
        for finding in await self._rights(wire):
            yield finding
        self._say(f"measuring its latency (at most {LOOKING:.0f} s)")
        yield await self._latency(wire)
        yield await self._servers(wire)
        yield await self._namespace(wire)
        yield await self._clock(wire)

    async def _connected(self, on_push: Callable[[list[Any]], None] = lambda push: None) -> Wire:
        async with asyncio.timeout(LONGEST):
            wire = await self._server.open(on_push)
            self._wires.callback(wire.close, "the doctor has gone")
            await self._server.greet(wire)
        return wire

    def _no_connection(self, error: Exception) -> Finding:
        why = cause(error) or self._server.said(error)
        if isinstance(error, TimeoutError):
            why = f"no answer within {LONGEST:.0f} s"
            cure = "check its host and port, a firewall, and that both ends use TLS, or neither"
        elif any(sign in why for sign in _REFUSED):
            cure = "put the server's user and password into REDIS_URL or REDIS_PASSWORD"
        elif "unknown command" in why:
            why, cure = f"it is older than Redis 6: {why}", "use Redis 6.2 or later, or Valkey"
        elif isinstance(error, socket.gaierror):
            why, cure = f"its host has no address: {why}", "correct the host in REDIS_URL"
        elif isinstance(error, FileNotFoundError):
            cure = "correct the path of the socket, or of the certificates, in REDIS_URL"
        elif "TLS" in why:
            cure = "see that this port speaks TLS, and check the certificate's name and CA"
        elif isinstance(error, TierUnavailable):
            cure = "see that a Redis listens on this port, and whether it wants TLS (rediss://)"
        else:
            cure = "start the server, or correct its host and port in REDIS_URL"
        return Finding(_CONNECTION, "fail", why, cure)

    async def _read_info(self, wire: Wire) -> None:
        with suppress(TierUnavailable):
            for part in _TOLD:
                said: bytes = await wire.send((b"INFO", part))
                for line in said.decode("utf-8", "replace").splitlines():
                    name, _, value = line.partition(":")
                    self._info[name] = value

    @property
    def _called(self) -> str:
        if valkey := self._info.get("valkey_version"):
            return f"Valkey {valkey}"
        return f"Redis {self._info.get('redis_version', 'of an unknown version')}"

    def _version(self) -> Finding:
        check = "redis version"
        said = self._info.get("redis_version", "")
        numbers = [int(part) if part.isdigit() else 0 for part in said.split(".")]
        if not said:
            return Finding(
                check, "warn", "it does not tell its version, since INFO is forbidden or unknown",
                "allow INFO to this user: without it each new connection empties what Redis holds",
            )  # fmt: skip
        if (*numbers, 0, 0)[:2] < FLOOR:
            return Finding(
                check, "fail", f"it is {self._called}, and the scripts need 6.2",
                "use Redis 6.2 or later, or Valkey",
            )  # fmt: skip
        return Finding(check, "ok", f"{self._called}; 6.2 is needed")

    def _role(self) -> Finding:
        check = "redis role"
        if self._info.get("cluster_enabled") == "1":
            return Finding(
                check, "fail", "it is a node of a cluster, which this version does not speak to",
                "use a server without cluster mode, or one behind Sentinels",
            )  # fmt: skip
        if self._info.get("role") == "slave":
            return Finding(
                check, "fail", "it is a replica, which takes no writes and no invalidations",
                "name the master in REDIS_URL, or its Sentinels (redis+sentinel://)",
            )  # fmt: skip
        return Finding(check, "ok", "it is a master" if self._info else "not told")

    def _memory(self) -> Finding:
        check, better = "redis memory", "maxmemory-policy volatile-lfu (or volatile-lru)"
        policy = self._info.get("maxmemory_policy")
        if policy is None:
            return Finding(
                check, "warn", "it does not tell its maxmemory",
                f"see to it that it has a maxmemory, and {better}",
            )  # fmt: skip
        most, used = int(self._info.get("maxmemory", 0)), int(self._info.get("used_memory", 0))
        if most == 0:
            return Finding(
                check, "warn", "it has no maxmemory, so it grows until its machine has no more",
                f"set maxmemory to what it may take, and {better}",
            )  # fmt: skip
        full = f"{used / 2**20:.0f} of {most / 2**20:.0f} MiB are used"
        if policy == "noeviction":
            away = used >= 0.95 * most
            return Finding(
                check, "fail" if away else "warn",
                f"{full}, and with noeviction it {'takes' if away else 'will then take'} nothing "
                "more when it is full",
                f"set {better}, so that what is cached makes room",
            )  # fmt: skip
        if policy.startswith("allkeys-"):
            return Finding(
                check, "warn", f"{full}, and {policy} evicts lists and counters as well",
                f"set {better}: what is cached has a ttl, lists and counters have none",
            )  # fmt: skip
        if policy not in ("volatile-lfu", "volatile-lru"):
            return Finding(
                check, "warn", f"{full}, and {policy} evicts what is in use",
                f"set {better}",
            )  # fmt: skip
        return Finding(check, "ok", f"{full}, {policy}")

    async def _held(self, wire: Wire, *, local: bool) -> list[Finding]:
        use, number = self._use, self._server.database
        seen = await seen_in(wire, self._layout, self._now)
        held = Held() if seen is None else seen.held
        others = () if seen is None else seen.others
        found = [environment_finding(self._namespace_name, number, others, local=local)]
        behind = use.writes_behind
        if behind or held.journals:
            fsync = await self._setting(wire, b"appendfsync")
            found.append(journal_finding(self._info, fsync, behind=behind))
        found += waiting_findings(held.journals, use.interval)
        if use.lowest:
            found += key_findings(use.encryption_keys, use.encrypt, self._namespace_name, held)
        return found

    async def _setting(self, wire: Wire, name: bytes) -> str | None:
        """None if this user may not know."""
        try:
            said = await wire.send((b"CONFIG", b"GET", name))
        except TierUnavailable:
            return None
        value = said.get(name) if isinstance(said, dict) else said[1] if len(said) == 2 else None
        return None if value is None else value.decode()

    async def _budget(self, wire: Wire) -> Finding:
        try:
            account = await wire.send((b"GET", self._layout.account))
        except TierUnavailable:  # what may not be read, or is no string, says nothing
            account = None
        most = int(self._info.get("maxmemory", 0))
        return budget_finding(self._limits.l2_bytes, most, account)

    async def _rights(self, wire: Wire) -> list[Finding]:
        refused = await refused_commands(wire, self._connected, self._layout, self._server.said)
        return [*findings_of(refused, self._layout, replica=self._info.get("role") == "slave")]

    async def _latency(self, wire: Wire) -> Finding:
        check, most = "redis latency", self._limits.op_timeout
        times: list[float] = []
        until = self._now() + LOOKING
        while len(times) < LOOKS and (not times or self._now() < until):
            began = self._now()
            await wire.send((b"PING",))
            times.append(self._now() - began)
        usual, slowest = statistics.median(times), max(times)
        found = (
            f"half of {len(times)} PINGs took up to {usual * 1000:.1f} ms, the slowest "
            f"{slowest * 1000:.1f} ms; a call may take {most * 1000:.0f} ms"
        )
        cure = "bring the server nearer, or let a call take longer (CASCADA_OP_TIMEOUT)"
        if usual >= most:
            return Finding(check, "fail", f"{found}, so Redis is passed over", cure)
        if usual >= most / 4:
            return Finding(check, "warn", found, cure)
        return Finding(check, "ok", found)

    async def _servers(self, wire: Wire) -> Finding:
        check = "redis servers"
        if "run_id" not in self._info:
            return Finding(check, "warn", "it does not tell which server it is", "allow INFO")
        others = await asyncio.gather(*(self._run_id() for _ in range(CONNECTIONS - 1)))
        different = {self._info["run_id"], *others}
        if len(different) > 1:
            return Finding(
                check, "fail",
                f"{CONNECTIONS} connections led to {len(different)} different servers",
                "name one master, or its Sentinels, and not a proxy that spreads connections",
            )  # fmt: skip
        return Finding(check, "ok", f"{CONNECTIONS} connections led to one server")

    async def _run_id(self) -> str:
        wire = await self._connected()
        said: bytes = await wire.send((b"INFO", b"server"))
        _, _, after = said.decode("utf-8", "replace").partition("run_id:")
        return after.partition("\r\n")[0]

    async def _namespace(self, wire: Wire) -> Finding:
        check, prefix = "redis namespace", self._layout.prefix.decode()
        try:
            value = await wire.send((b"GET", self._layout.epoch))
        except TierUnavailable as error:
            return Finding(
                check, "warn", f"{prefix}e cannot be read: {self._server.said(error)}",
                "allow GET, or choose another namespace (CASCADA_NAMESPACE) if it is no string",
            )  # fmt: skip
        epoch = Epoch.parse(value)
        if value is None:
            return Finding(check, "ok", f"nobody uses {prefix}* yet")
        if epoch is None:
            return Finding(
                check, "warn", f"{prefix}e was written by somebody else than cascada",
                "choose another namespace (CASCADA_NAMESPACE)",
            )  # fmt: skip
        if epoch.layout != LAYOUT:
            newer = epoch.layout > LAYOUT
            return Finding(
                check, "fail" if newer else "warn",
                f"{prefix}* is used with layout {epoch.layout}, and this version has {LAYOUT}",
                "use one version of cascada, or a namespace for each (CASCADA_NAMESPACE)",
            )  # fmt: skip
        return Finding(check, "ok", f"{prefix}* is used with this layout")

    async def _clock(self, wire: Wire) -> Finding:
        check, wall = "redis clock", SystemClock().time
        began = wall()
        try:
            seconds, micros = await wire.send((b"TIME",))
        except TierUnavailable as error:
            return Finding(check, "warn", self._server.said(error), "allow TIME to this user")
        skew = int(seconds) + int(micros) / 1e6 - (began + wall()) / 2
        found = f"it differs from this machine's by {abs(skew):.3f} s"
        if abs(skew) > SKEW:
            return Finding(check, "warn", found, "set both clocks by NTP")
        return Finding(check, "ok", found)


def redis_findings(
    url: Url,
    password: Secret | None,
    namespace: str,
    limits: Limits,
    say: Callable[[str], None],
    use: Use,
) -> list[Finding]:
    """All that is found about the server that a URL names."""
    try:
        server = server_of(url, password)
    except BadInput as error:
        return [Finding("redis url", "fail", str(error), "correct REDIS_URL")]
    checks = RedisChecks(server, namespace, limits, say, use)
    return asyncio.run(checks.all())
