"""A provider of models for the tests of this folder."""

from collections.abc import Iterator

import pytest

from tests.servers.model import ModelServer, model_server


@pytest.fixture(scope="session")
def _serving() -> Iterator[ModelServer]:
    with model_server() as server:
        yield server


@pytest.fixture
def models(_serving: ModelServer) -> ModelServer:
    _serving.reset()
    return _serving
