"""`cache.sync` as web frameworks with threads use it: Flask's way and Django's."""

import asyncio
import json
import sqlite3
import threading
import urllib.request
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest

from cascada import Cache, Context, cached


@pytest.fixture
def cache() -> Iterator[Cache]:
    made = Cache()
    yield made
    made.sync.close()


class Server(ThreadingMixIn, WSGIServer):
    """A thread for each request, as of Flask's own server."""

    daemon_threads = True


class Quiet(WSGIRequestHandler):
    def log_message(self, *said: Any) -> None:
        pass


class Shop:
    """A WSGI application: its rows, and what it has read of them."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self.rows = {"0": "shoe", "1": "hat", "2": "coat"}
        self.reads: list[str] = []
        self.offer = cached("offer", cache=cache, ignore=("self",))(self._offer)

    def row(self, number: str) -> str:
        self.reads.append(number)
        return self.rows[number]

    def _offer(self, number: str) -> str:
        return f"one {self.cache.sync.tenant('acme').get('product', number).value}"

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        view, number = environ["PATH_INFO"].strip("/").split("/")
        acme = self.cache.sync.tenant("acme")
        with Context(tenant_id="acme"):
            if environ["REQUEST_METHOD"] == "POST":
                self.rows[number] = view
                said: Any = acme.invalidate("product", number).keys
            elif view == "async":  # Flask runs an async view on a loop of its own, in its thread
                said = asyncio.run(self.view(number))
            elif view == "offer":
                acme.load("product", number, lambda: self.row(number))
                said = self.offer(number)
            else:
                said = acme.load("product", number, lambda: self.row(number), ttl=60).value
        start("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(said).encode()]

    async def view(self, number: str) -> Any:
        acme = self.cache.tenant("acme")
        return (await acme.load("product", number, lambda: self.row(number))).value


def test_as_flask_does(cache: Cache) -> None:
    shop = Shop(cache)
    with make_server("127.0.0.1", 0, shop, Server, Quiet) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()

        def ask(path: str, method: str = "GET") -> Any:
            request = urllib.request.Request(
                f"http://127.0.0.1:{server.server_port}{path}", method=method
            )
            with urllib.request.urlopen(request, timeout=20) as answer:
                return json.loads(answer.read())

        try:
            assert ask("/get/0") == "shoe", "the cache lives on the bridge from here on"
            with ThreadPoolExecutor(8) as clients:
                paths = ["/get/1", "/async/1", "/get/2", "/async/2"] * 8
                assert list(clients.map(ask, paths)) == ["hat", "hat", "coat", "coat"] * 8
            assert sorted(shop.reads) == ["0", "1", "2"], "one load for all, of either kind"
            assert ask("/offer/1") == "one hat"
            assert ask("/cap/1", "POST") == 2, "the product, and the offer that was made of it"
            assert [ask(f"/{view}/1") for view in ("get", "async", "offer")] == [
                "cap", "cap", "one cap",
            ]  # fmt: skip
        finally:
            server.shutdown()
            serving.join()


class Connections(threading.local):
    """As Django's: each thread has its own connection, which no other one may use."""

    path: str

    @property
    def default(self) -> sqlite3.Connection:
        if "connection" not in self.__dict__:
            self.connection = sqlite3.connect(self.path)
        return self.connection


def test_as_django_does(cache: Cache, tmp_path: Path) -> None:
    """A loader reads through the connection of its request's thread, in its open transaction."""
    Connections.path = str(tmp_path / "rows.db")
    connections = Connections()
    with sqlite3.connect(Connections.path) as made:
        made.execute("CREATE TABLE documents (id TEXT, body TEXT)")
    made.close()
    opened: list[int] = []

    def body(document: str) -> str | None:
        if "connection" not in connections.__dict__:
            opened.append(threading.get_ident())
        rows = connections.default.execute("SELECT body FROM documents WHERE id = ?", [document])
        found: tuple[str] | None = rows.fetchone()
        return found and found[0]

    def request(number: int) -> Any:
        acme, document = cache.sync.tenant("acme"), f"d{number}"
        with connections.default as transaction:  # not committed before its end
            transaction.execute("INSERT INTO documents VALUES (?, ?)", [document, "text"])
            one = acme.load("document", document, lambda: body(document)).value
            many = acme.load_many("documents", [document], lambda ids: {i: body(i) for i in ids})
            made = acme.load("answer", document, lambda: acme.get("document", document).value)
            found = [one, many[0].value, made.value]
        connections.default.close()
        return found

    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(request, 1).result(20) == ["text"] * 3
    assert not opened, "no thread but the request's has asked the database"
