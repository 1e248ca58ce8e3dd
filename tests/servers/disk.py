"""A disk that is soon full."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


def mount(folder: Path, how: str) -> bool:
    """Whether this user may."""
    command = ["mount", "-t", "tmpfs", "-o", how, "tmpfs", str(folder)]
    return not subprocess.run(command, capture_output=True).returncode


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if not mount(folder, "size=4m"):
        pytest.skip("this user may mount nothing")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
