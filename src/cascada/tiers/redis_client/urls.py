"""Which URLs are those of a Redis server, and what they say of it.

They have the form and the options of redis-py's, but are read strictly. Of a password with a `/`,
`?` or `#` in it a part would else be taken for the host, the database or an option, and then be
written into every log of a failed connection. Nothing here raises: an error's frames would show
the URL.
"""

from __future__ import annotations

import re
import ssl
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from cascada.model.door.secret import Secret, Url

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

_OWN: Final = ("db", "username", "password", "client_name")
_OF_CLIENTS: Final = (
    "socket_timeout", "socket_connect_timeout", "socket_read_size", "socket_keepalive",
    "retry_on_timeout", "max_connections", "health_check_interval", "protocol", "encoding",
    "encoding_errors", "decode_responses", "lib_name", "lib_version",
)  # fmt: skip
"""What a URL may say to another client that shares it; it means nothing here (see `Settings`)."""

_VERIFIED: Final = {
    "required": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE,
}  # fmt: skip


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


class Tls(NamedTuple):
    """How a server is told from an impostor, and who asks; each as in redis-py's URLs."""

    ssl_ca_certs: str | None = None
    ssl_ca_path: str | None = None
    ssl_ca_data: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    ssl_password: Secret | None = None
    ssl_ciphers: str | None = None
    ssl_cert_reqs: str = "required"
    ssl_check_hostname: str = "true"
    ssl_min_version: str | None = None
    ssl_include_verify_flags: str = ""
    ssl_exclude_verify_flags: str = ""

    @property
    def is_sound(self) -> bool:
        """Whether the options that are no files have a meaning."""
        versions = {None, *(str(int(version)) for version in ssl.TLSVersion)}
        flags = {*_flags(self.ssl_include_verify_flags), *_flags(self.ssl_exclude_verify_flags)}
        return (
            self.ssl_cert_reqs in _VERIFIED
            and self.ssl_min_version in versions
            and flags <= {*ssl.VerifyFlags.__members__}
        )

    def context(self) -> ssl.SSLContext:
        """It reads files, and raises what that raises."""
        context = ssl.create_default_context()
        verified = _VERIFIED[self.ssl_cert_reqs]
        asked = self.ssl_check_hostname.upper() not in ("0", "F", "FALSE", "N", "NO")
        context.check_hostname = asked and verified is not ssl.CERT_NONE
        context.verify_mode = verified
        for name in _flags(self.ssl_include_verify_flags):
            context.verify_flags |= ssl.VerifyFlags[name]
        for name in _flags(self.ssl_exclude_verify_flags):
            context.verify_flags &= ~ssl.VerifyFlags[name]
        if self.ssl_certfile or self.ssl_keyfile:
            own = self.ssl_certfile or self.ssl_keyfile or ""
            # Without any, OpenSSL would ask for one on the terminal.
            password = "" if self.ssl_password is None else self.ssl_password.reveal()
            context.load_cert_chain(own, self.ssl_keyfile, password)
        if self.ssl_ca_certs or self.ssl_ca_path or self.ssl_ca_data:
            context.load_verify_locations(self.ssl_ca_certs, self.ssl_ca_path, self.ssl_ca_data)
        if self.ssl_min_version is not None:
            context.minimum_version = ssl.TLSVersion(int(self.ssl_min_version))
        if self.ssl_ciphers is not None:
            context.set_ciphers(self.ssl_ciphers)
        return context


class Address(NamedTuple):
    """Where a server is, or the Sentinels that know (`service`), and what it is told first."""

    hosts: tuple[tuple[str, int], ...]
    path: str | None
    service: str
    database: int
    username: Secret | None
    password: Secret | None
    client_name: str
    tls: Tls | None


def address_of(url: Url) -> Address | None:
    """What a URL says in which `what_is_wrong` finds nothing; None for an unknown option."""
    scheme = url.scheme
    try:
        parts = urlsplit(f"//{url.rest}")
        options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    except ValueError:
        return None
    of_tls: dict[str, Any] = {name: options.pop(name) for name in Tls._fields if name in options}
    if "ssl_password" in of_tls:
        of_tls["ssl_password"] = Secret(of_tls["ssl_password"])
    tls = Tls(**of_tls)
    if (of_tls and scheme != "rediss") or not tls.is_sound:
        return None
    if not options.keys() <= {*_OWN, *_OF_CLIENTS}:
        return None
    path = unquote(parts.path)
    service, _, number = path.strip("/").rpartition("/")
    if scheme == "redis+sentinel" and not service:
        service, number = number, ""
    number = options.get("db", "" if scheme == "unix" else number.strip("/")) or "0"
    if not (number.isascii() and number.isdigit()):
        return None
    user, _, hosts = parts.netloc.rpartition("@")
    username, _, password = map(unquote, user.partition(":"))
    at_first = 26379 if scheme == "redis+sentinel" else 6379
    return Address(
        tuple(_host(host, at_first) for host in hosts.split(",")),
        path if scheme == "unix" else None,
        service if scheme == "redis+sentinel" else "",
        int(number),
        _secret(username or options.get("username")),
        _secret(password or options.get("password")),
        options.get("client_name", ""),
        tls if scheme == "rediss" else None,
    )


def _host(text: str, port: int) -> tuple[str, int]:
    match = _HOST.fullmatch(text or "localhost")
    assert match is not None
    return unquote(match["name"]).strip("[]"), int(match["port"] or port)


def _secret(text: str | None) -> Secret | None:
    return Secret(text) if text else None


def _flags(text: str) -> list[str]:
    """Names, as in a list."""
    return [name for each in text.strip("[]").split(",") if (name := each.strip())]
