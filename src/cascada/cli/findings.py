"""What `cascada doctor` has found: how it is told to people, to programs and to a shell."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

Status = Literal["ok", "warn", "fail"]

EXIT: Final[dict[Status, int]] = {"ok": 0, "warn": 1, "fail": 2}


class Finding(NamedTuple):
    """One check: what it looked at, what it found, and what to do, in a sentence each."""

    check: str
    status: Status
    found: str
    cure: str = ""


def worst(findings: Sequence[Finding]) -> Status:
    """What all of them come to."""
    return max((each.status for each in findings), key=lambda status: EXIT[status], default="ok")


def as_json(findings: Sequence[Finding]) -> str:
    """For programs: the worst status, and each check."""
    checks = [each._asdict() for each in findings]
    return json.dumps({"status": worst(findings), "checks": checks}, indent=2)


def as_text(findings: Sequence[Finding]) -> str:
    """For people: a line each, and what to do below it."""
    width = max(len(each.check) for each in findings)
    lines = []
    for each in findings:
        lines.append(f"{each.status:4}  {each.check:{width}}  {each.found}")
        if each.cure:
            lines.append(f"      {'':{width}}  -> {each.cure}")
    counts = {status: [each.status for each in findings].count(status) for status in EXIT}
    told = f"{len(findings)} checks: {counts['fail']} failed, {counts['warn']} to think about"
    return "\n".join([*lines, "", f"{told}."])
