"""What a test has measured, shown by `pytest -rP`."""

from collections.abc import Callable

import pytest

Figures = Callable[[str], None]


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    node = request.node
    return lambda text: node.add_report_section("call", "figures", text)
