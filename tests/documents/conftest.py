"""Every report of a test run lists the Python blocks of the documents that no test runs."""

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    listed = [
        value
        for report in terminalreporter.getreports("passed")
        for name, value in report.user_properties
        if name == "not run"
    ]
    if listed:
        terminalreporter.section("blocks of the documents that are not run")
        for line in listed:
            terminalreporter.write_line(str(line))
