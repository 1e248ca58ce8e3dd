"""Every wrong value in the environment stops the start with a sentence."""

import logging
import traceback
from dataclasses import fields
from pathlib import Path

import pytest

from examples.agent_service.database import Database
from examples.agent_service.embedding import EmbeddingFailed, embedder_of
from examples.agent_service.settings import Settings, WrongSetting

WRONG = {
    "DATABASE_URL": (
        "mysql://host/db",
        "DATABASE_URL begins with 'mysql'; it may hold sqlite:///file.db or "
        "postgresql://user:password@host/database",
    ),
    "AGENT_SERVICE_CACHE": ("yes", "AGENT_SERVICE_CACHE is 'yes'; it may hold on or off"),
    "AGENT_SERVICE_MODEL_LATENCY_MS": (
        "fast",
        "AGENT_SERVICE_MODEL_LATENCY_MS is 'fast'; it may hold milliseconds from 0 to 60000",
    ),
    "EMBEDDINGS_URL": (
        "localhost:11434",
        "EMBEDDINGS_URL holds something else (not shown here); it may hold the address of an "
        "OpenAI-compatible endpoint, such as http://127.0.0.1:11434/v1, with nothing after its "
        "path, or be left out; in a password, write %2F for /, %3F for ?, %23 for # and %40 for @",
    ),
    "EMBEDDINGS_MODEL": (
        "small",
        "EMBEDDINGS_MODEL is set and EMBEDDINGS_URL is not; set both, or neither for the "
        "built-in lexical embedder",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_is_answered_with_what_it_may_be(name: str) -> None:
    value, sentence = WRONG[name]
    with pytest.raises(WrongSetting) as wrong:
        Settings.from_env({name: value})
    assert str(wrong.value) == sentence


@pytest.mark.parametrize("value", ["-1", "nan", "60001"])
def test_a_latency_has_bounds(value: str) -> None:
    with pytest.raises(WrongSetting, match="from 0 to 60000"):
        Settings.from_env({"AGENT_SERVICE_MODEL_LATENCY_MS": value})


def test_a_password_is_never_shown() -> None:
    environment = {
        "DATABASE_URL": "postgresql://me:hunter2@db/agents",
        "EMBEDDINGS_URL": "https://api.example.com/v1",
        "EMBEDDINGS_MODEL": "small",
        "EMBEDDINGS_API_KEY": "sk-hunter2",
    }
    settings = Settings.from_env(environment)
    assert "hunter2" not in repr(settings)
    assert settings.database_url == "postgresql+asyncpg://me:hunter2@db/agents"
    assert settings.embeddings_api_key == "sk-hunter2"
    with pytest.raises(WrongSetting) as wrong:
        Settings.from_env({"DATABASE_URL": "postgresq://me:hunter2@db/agents"})
    assert "hunter2" not in str(wrong.value)


URLS = (
    "postgresql://me:{}@db/agents",
    "postgresql://me:12/{}@db/agents",
    "postgresql://me:{}",
    "postgresql://db:{}/agents",
    "postgresql://db/agents?password={}",
    "sqlite://me:{}@db/agents",
    "me:{}@db/agents",
    "{}",
    "{}://db/agents",
    "http://me:{}@127.0.0.1:1/v1",
    "http://me:12/{}@127.0.0.1:1/v1",
    "https://127.0.0.1:1/v1?key={}",
    "http:/me:{}@127.0.0.1:1/v1",
    "127.0.0.1:1/{}",
)


@pytest.mark.parametrize("password", ["xq7", "xq7/xq7", "xq7#?xq7", "xq7@:xq7", "xq7%2Fxq7"])
async def test_no_url_shows_its_password(
    password: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Not where it is refused, not where it is held, not where what it leads to is away."""
    caplog.set_level(logging.DEBUG)
    seen: list[str] = []
    for url in (form.format(password) for form in URLS):
        for given in (
            {"DATABASE_URL": url},
            {"EMBEDDINGS_URL": url, "EMBEDDINGS_MODEL": "small"},
            {"EMBEDDINGS_URL": url},
        ):
            try:
                settings = Settings.from_env(given)
                seen += [repr(settings), str(settings)]
                if "EMBEDDINGS_URL" in given:
                    embedder = embedder_of(settings)
                    seen.append(repr(embedder))
                    try:
                        await embedder.embed(["a text"])
                    finally:
                        await embedder.aclose()
                elif "xq7" in settings.database_url:
                    seen.append(repr(Database(settings.database_url)))
            except (WrongSetting, EmbeddingFailed) as error:
                seen += traceback.format_exception(error)
    seen += [record.getMessage() + str(record.args) for record in caplog.records]
    assert len(seen) > len(URLS)
    assert not [text for text in seen if "xq7" in text.replace(str(tmp_path), "")]


def test_no_field_that_may_be_a_secret_is_in_the_repr() -> None:
    secrets = {"database_url", "embeddings_url", "embeddings_api_key", "jwt_secret"}
    assert {each.name for each in fields(Settings) if not each.repr} == secrets


def test_an_empty_environment_is_enough() -> None:
    settings = Settings.from_env({})
    assert settings.database_url == "sqlite+aiosqlite:///agent_service.db"
    assert settings.cache
    assert settings.embeddings_url is None
