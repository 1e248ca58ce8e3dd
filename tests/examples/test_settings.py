"""Every wrong value in the environment stops the start with a sentence."""

import pytest

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
        "EMBEDDINGS_URL is 'localhost:11434'; it may hold the address of an OpenAI-compatible "
        "endpoint, such as http://127.0.0.1:11434/v1, or be left out",
    ),
    "EMBEDDINGS_MODEL": (
        "small",
        "EMBEDDINGS_URL is None and EMBEDDINGS_MODEL is 'small'; set both, or neither for the "
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


def test_an_empty_environment_is_enough() -> None:
    settings = Settings.from_env({})
    assert settings.database_url == "sqlite+aiosqlite:///agent_service.db"
    assert settings.cache
    assert settings.embeddings_url is None
