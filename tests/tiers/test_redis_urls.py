"""What the URL of a Redis server says, in redis-py's form; what is odd about one is refused."""

from __future__ import annotations

import pytest

from cascada.model.door.secret import Secret, Url
from cascada.model.errors import BadInput
from cascada.tiers.redis_client.server import server_of
from cascada.tiers.redis_client.urls import Address, address_of, what_is_wrong


def said(url: str) -> Address:
    assert what_is_wrong(Url(url)) is None
    address = address_of(Url(url))
    assert address is not None
    return address


@pytest.mark.parametrize(
    ("url", "hosts", "database"),
    [
        ("redis://cache", [("cache", 6379)], 0),
        ("redis://cache/", [("cache", 6379)], 0),
        ("redis://cache:7000/3", [("cache", 7000)], 3),
        ("redis://cache:7000/3/", [("cache", 7000)], 3),
        ("redis://cache:/3", [("cache", 6379)], 3),
        ("redis://cache/3?db=4", [("cache", 6379)], 4),
        ("redis://[::1]:7000/1", [("::1", 7000)], 1),
        ("redis:///2", [("localhost", 6379)], 2),
        ("rediss://cache/9", [("cache", 6379)], 9),
        ("REDIS://Cache/9", [("Cache", 6379)], 9),
    ],
)
def test_where_a_server_is(url: str, hosts: list[tuple[str, int]], database: int) -> None:
    address = said(url)
    assert (list(address.hosts), address.database, address.service) == (hosts, database, "")


def test_where_sentinels_are() -> None:
    address = said("redis+sentinel://app:word@one,two:7000,[::1]/main/3?client_name=me")
    assert address.hosts == (("one", 26379), ("two", 7000), ("::1", 26379))
    assert (address.service, address.database, address.client_name) == ("main", 3, "me")
    assert (address.username, address.password) == (Secret("app"), Secret("word"))
    for url in ("redis+sentinel://one/main", "redis+sentinel://one/main/"):
        assert (said(url).service, said(url).database) == ("main", 0)


def test_a_socket() -> None:
    address = said("unix:///run/a%20b/redis.sock?db=3&password=word")
    assert (address.path, address.database) == ("/run/a b/redis.sock", 3)
    assert (address.username, address.password) == (None, Secret("word"))


@pytest.mark.parametrize(
    ("user", "username", "password"),
    [
        ("", None, None),
        ("app@", "app", None),
        (":w%40%2F%3F%23rd@", None, "w@/?#rd"),
        ("%2Bapp:50%25+@", "+app", "50%+"),
    ],
)
def test_who_asks(user: str, username: str | None, password: str | None) -> None:
    address = said(f"redis://{user}cache/0")
    found = [each and each.reveal() for each in (address.username, address.password)]
    assert found == [username, password]
    assert not address.password or address.password.reveal() not in repr(address)


def test_what_a_url_says_to_other_clients_means_nothing_here() -> None:
    pool = "socket_timeout=5&max_connections=7&decode_responses=True&health_check_interval=30"
    assert said(f"redis://cache/0?{pool}") == said("redis://cache/0")


def test_how_a_server_is_verified() -> None:
    assert said("redis://cache").tls is None
    usual = said("rediss://cache").tls
    assert usual is not None
    assert usual.context().check_hostname
    url = "rediss://cache?ssl_check_hostname=False&ssl_min_version=772&ssl_password=w0rdy"
    tls = said(url).tls
    assert tls is not None
    assert not tls.context().check_hostname
    assert tls.context().minimum_version == 772
    assert "w0rdy" not in repr(tls)
    flags = said("rediss://cache?ssl_include_verify_flags=[VERIFY_X509_STRICT]").tls
    assert flags is not None
    assert flags.context().verify_flags & 0x20


@pytest.mark.parametrize(
    "url",
    [
        "redis://cache?nothing_known=1",
        "redis://cache?db=x",
        "redis://cache?db=-1",
        "redis://cache?db",
        "redis://cache?ssl_cert_reqs=none",
        "rediss://cache?ssl_cert_reqs=perhaps",
        "rediss://cache?ssl_min_version=1.2",
        "rediss://cache?ssl_include_verify_flags=VERIFY_NOTHING",
        "redis://[a:w0rdy@cache",
    ],
)
def test_what_is_no_option_is_refused(url: str) -> None:
    with pytest.raises(BadInput, match=r"redis is 'rediss?://") as refused:
        server_of(url)
    assert "w0rdy" not in str(refused.value)
