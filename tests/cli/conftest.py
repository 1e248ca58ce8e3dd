"""What `cascada doctor` says, and an environment that says nothing to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cascada.api.settings import VARIABLES
from cascada.cli import redis_checks
from cascada.cli.command import main


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, "WEB_CONCURRENCY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(redis_checks, "LOOKING", 0.1)


class Said:
    """What the doctor has said."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        self.text = text
        told = json.loads(text)
        assert {"ok": 0, "warn": 1, "fail": 2}[told["status"]] == status
        self.checks: list[dict[str, str]] = told["checks"]

    def __call__(self, check: str) -> tuple[str, str]:
        """The worst status of a check, and all that was said of it."""
        found = [each for each in self.checks if each["check"] == check]
        assert found, f"{check} is not among {[each['check'] for each in self.checks]}"
        for each in found:
            assert each["status"] == "ok" or each["cure"], "what is wrong has a cure"
        said = " / ".join(f"{each['found']} -> {each['cure']}" for each in found)
        return max((each["status"] for each in found), key=["ok", "warn", "fail"].index), said

    @property
    def wrong(self) -> set[str]:
        return {each["check"] for each in self.checks if each["status"] != "ok"}


Doctor = Callable[..., Said]


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Doctor:
    def look(*arguments: object, database: bool = True) -> Said:
        beside = ["--database", str(tmp_path / "cache.db")] if database else []
        status = main(["doctor", "--json", "--workers", "2", *beside, *map(str, arguments)])
        return Said(status, capsys.readouterr().out)

    return look
