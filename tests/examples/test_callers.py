"""With a secret the tenant comes from a signed token, and from nothing else."""

import base64
import json
import time
from collections.abc import AsyncIterator
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from examples.agent_service.settings import Settings, WrongSetting
from tests.examples.attack import OF_A_TENANT, OPEN
from tests.examples.conftest import Running, running
from tests.examples.furniture import AGENT, created

SECRET = "a secret of more than thirty-two bytes"
KEY = "0123456789" * 4


def token(secret: str = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    return jwt.encode({"exp": time.time() + 60, **claims}, secret, algorithm)


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def unsigned(**claims: Any) -> str:
    """What a library that believes the token's own algorithm would take."""
    parts = {"alg": "none", "typ": "JWT"}, {"exp": time.time() + 60, **claims}
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in parts]
    return ".".join(part.rstrip("=") for part in encoded) + "."


def swapped(signed: str, **claims: Any) -> str:
    """A token with other claims under the old signature."""
    header, _, signature = signed.split(".")
    return ".".join([header, unsigned(**claims).split(".")[1], signature])


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Running]:
    environment = {
        "DATABASE_URL": f"sqlite:///{tmp_path / 'service.db'}",
        "AGENT_SERVICE_MODEL_LATENCY_MS": "0",
        "AGENT_SERVICE_JWT_SECRET": SECRET,
    }
    async with running(Settings.from_env(environment)) as started:
        yield started


@pytest.fixture
def anybody(service: Running) -> httpx.AsyncClient:
    return service.client(None)


async def test_the_claim_is_the_tenant(anybody: httpx.AsyncClient) -> None:
    anybody.headers.update(bearer(token(tenant="acme")))
    await created(anybody, "/agents", {"id": "a1", **AGENT})
    assert (await anybody.get("/agents/a1")).status_code == 200
    for other in ({"tenant": "other"}, {"tenant": "other", "aud": None}):
        answer = await anybody.get("/agents/a1", headers=bearer(token(**other)))
        assert answer.status_code == 404


async def test_a_header_says_nothing_beside_a_token(anybody: httpx.AsyncClient) -> None:
    anybody.headers.update(bearer(token(tenant="acme")))
    await created(anybody, "/agents", {"id": "a1", **AGENT})
    mallory = {**bearer(token(tenant="mallory")), "X-Tenant-ID": "acme"}
    assert (await anybody.get("/agents/a1", headers=mallory)).status_code == 404


FORGED = {
    "no token": {},
    "the header that is believed without a secret": {"X-Tenant-ID": "acme"},
    "no bearer": {"Authorization": f"Basic {token(tenant='acme')}"},
    "no token after it": {"Authorization": "Bearer "},
    "no token at all": bearer("acme"),
    "expired": bearer(token(tenant="acme", exp=time.time() - 1)),
    "never expires": bearer(jwt.encode({"tenant": "acme"}, SECRET, "HS256")),
    "not yet": bearer(token(tenant="acme", nbf=time.time() + 3600)),
    "another secret": bearer(token(KEY, tenant="acme")),
    "another algorithm": bearer(token(SECRET * 2, "HS512", tenant="acme")),
    "unsigned": bearer(unsigned(tenant="acme")),
    "other claims": bearer(swapped(token(tenant="mallory"), tenant="acme")),
    "cut short": bearer(token(tenant="acme")[:-4]),
    "no tenant": bearer(token()),
    "a blank tenant": bearer(token(tenant="  ")),
    "a tenant that is no text": bearer(token(tenant=["acme"])),
}


async def test_no_other_token_opens_any_route(anybody: httpx.AsyncClient) -> None:
    for how, operation in product(FORGED, OF_A_TENANT):
        ids = dict.fromkeys([*operation.ids, "document_id"], "1")
        method, path, body = operation.request(ids)
        answer = await anybody.request(method, path, json=body, headers=FORGED[how])
        assert answer.status_code == 401, (how, str(operation))
        assert answer.headers["WWW-Authenticate"].startswith("Bearer"), (how, str(operation))
        assert SECRET not in answer.text


async def test_what_is_open_needs_no_token(anybody: httpx.AsyncClient) -> None:
    for path in sorted(OPEN | {"/openapi.json", "/docs"}):
        assert (await anybody.get(path)).status_code == 200


async def test_the_document_says_how_to_authorize(service: Running) -> None:
    document = service.app.openapi()
    (scheme,) = document["components"]["securitySchemes"].values()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    for path, methods in document["paths"].items():
        for declared in methods.values():
            assert bool(declared.get("security")) == (path not in OPEN), path
            named = [parameter["name"] for parameter in declared.get("parameters", [])]
            assert "X-Tenant-ID" not in named


def test_a_short_secret_stops_the_start_and_is_not_shown() -> None:
    with pytest.raises(WrongSetting) as wrong:
        Settings.from_env({"AGENT_SERVICE_JWT_SECRET": "hunter2"})
    assert str(wrong.value).startswith("AGENT_SERVICE_JWT_SECRET has 7 bytes (not shown here)")
    assert "hunter2" not in str(wrong.value)
    settings = Settings.from_env({"AGENT_SERVICE_JWT_SECRET": SECRET})
    assert settings.jwt_secret == SECRET
    assert SECRET not in repr(settings)
