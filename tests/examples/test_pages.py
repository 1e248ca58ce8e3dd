"""The pages that people open: they ask no other host, and hold nothing that they should not."""

import json
import re
from pathlib import Path

import httpx
import pytest

from examples.agent_service.routes.pages import Try
from examples.agent_service.settings import Settings
from tests.examples.attack import operations
from tests.examples.conftest import Running, running

PAGES = ["/", "/docs"]
TO_TRY = Try("demo", "librarian", "stdlib", ["What is a </script><b>heap</b>?", "Why?"])


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """One kind is enough: the pages ask it nothing."""
    return f"sqlite:///{tmp_path / 'service.db'}"


async def page(service: Running, path: str) -> httpx.Response:
    answer = await service.client(None).get(path)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/html")
    return answer


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_works_without_a_network(service: Running, path: str) -> None:
    answer = await page(service, path)
    assert "//" not in re.sub(r"\s//\s", "", answer.text), "an address of another host"
    policy = dict(
        each.split(" ", 1) for each in answer.headers["Content-Security-Policy"].split("; ")
    )
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=\"(?!data:)", answer.text)


@pytest.mark.parametrize("path", PAGES)
async def test_what_a_script_looks_for_is_on_its_page(service: Running, path: str) -> None:
    text = (await page(service, path)).text
    ids = re.findall(r'\bid="([\w-]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'\$\("([\w-]+)"\)', text)) <= set(ids)


@pytest.mark.parametrize("path", PAGES)
async def test_its_links_lead_somewhere(service: Running, path: str) -> None:
    links = re.findall(r'<a href="([^"]+)"', (await page(service, path)).text)
    assert len(links) > 1
    for link in links:
        address = httpx.URL("http://test").join(path).join(link)
        assert (await service.client(None).get(str(address.path))).status_code == 200, link


async def test_the_question_box_begins_with_something_to_ask(service: Running) -> None:
    assert "const TRY = {};" in (await page(service, "/")).text
    service.app.state.to_try = TO_TRY
    text = (await page(service, "/")).text
    assert text.count("</script>") == 1, "a question ends no script"
    (found,) = re.findall(r"const TRY = (.*);", text)
    said = json.loads(found)
    assert said["questions"] == TO_TRY.questions
    assert said["fields"] == {"question": TO_TRY.questions[0], "agent": "librarian",
                              "collection": "stdlib", "caller": "demo"}  # fmt: skip


async def test_what_the_question_box_sends_is_declared(service: Running) -> None:
    """Its requests and what it reads of the answers, against the document."""
    declared = {(each.method, each.path) for each in operations()}
    text = (await page(service, "/")).text
    assert "`agents/${" in text
    assert ("POST", "/agents/{agent_id}/query") in declared
    assert "`collections/${" in text
    documents = "/collections/{collection_id}/documents/{document_id}"
    assert {("GET", documents), ("PUT", documents)} <= declared
    stats = (await service.client(None).get("/stats")).json()
    assert {"calls", "dollars", "name"} <= stats["model"].keys()
    assert {"by_tier", "misses", "saved"} <= stats["cache"]["total"].keys()
    assert {"money", "seconds", "tokens_in", "tokens_out"} <= stats["cache"]["total"][
        "saved"
    ].keys()


async def test_a_page_holds_no_token(database_url: str) -> None:
    settings = Settings.from_env(
        {"DATABASE_URL": database_url, "AGENT_SERVICE_JWT_SECRET": "s" * 32}
    )
    async with running(settings) as service:
        service.app.state.to_try = Try(None, "librarian", "stdlib", ["Why?"])
        text = (await page(service, "/")).text
        assert '"caller": ""' in text
        assert "ey" not in re.findall(r"const TRY = (.*);", text)[0]
        assert (await service.client(None).get("/openapi.json")).json()["components"][
            "securitySchemes"
        ]["caller"]["scheme"] == "bearer"
