"""The documents are real texts of the installed standard library, and plenty."""

import sys

import pytest

from examples.agent_service.corpus import SourceText, standard_library


@pytest.fixture(scope="module")
def texts() -> list[SourceText]:
    """Everything that there is."""
    loaded = set(sys.modules)
    found = standard_library(1_000_000)
    assert set(sys.modules) == loaded, "files are parsed, never imported"
    return found


def test_there_are_thousands_of_different_real_texts(texts: list[SourceText]) -> None:
    assert len(texts) > 2_000
    assert len({text.text for text in texts}) == len(texts)
    assert len({text.name for text in texts}) > 0.95 * len(texts)
    by_name = {text.name: text for text in texts}
    assert "JSON (JavaScript Object Notation)" in by_name["json"].text
    assert "import re" in by_name["json.decoder (text)"].text


def test_questions_are_first_sentences_of_the_texts(texts: list[SourceText]) -> None:
    asked = [text for text in texts if text.question is not None]
    assert len(asked) > 1_000
    for text in asked:
        assert text.question is not None
        assert " ".join(text.text.split()).startswith(text.question)
        assert 25 <= len(text.question) <= 160


def test_the_first_texts_are_always_the_same_and_of_many_modules(texts: list[SourceText]) -> None:
    few = standard_library(500)
    assert few == texts[:500]
    assert len({text.name.partition(".")[0] for text in few}) > 25
