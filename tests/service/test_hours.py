"""Hours of the day in a time zone: which are peaks, over both changes of the clock."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from cascada.service.hours import SKETCH, DistinctKeys, Hours
from cascada.testing.clock import ManualClock

MADRID = ZoneInfo("Europe/Madrid")


def utc(*moment: int) -> float:
    return datetime(*moment, tzinfo=UTC).timestamp()  # type: ignore[arg-type, misc]  # of a date


def hours_at(moment: float, zone: ZoneInfo | None = MADRID) -> tuple[Hours, ManualClock]:
    clock = ManualClock(moment)
    return Hours(clock.time, zone), clock


def write(hours: Hours, times: int) -> None:
    for number in range(times):
        hours.record(f"k{number}")


def test_the_hour_that_comes_twice_is_two() -> None:
    hours, clock = hours_at(utc(2026, 10, 25, 0, 30))  # 2:30, summer time still
    write(hours, 30)
    clock.advance(3600)  # 2:30 again
    assert hours.current().hour == 2
    write(hours, 30)
    assert [(each["hour"], each["count"]) for each in hours.statistics()] == [(2, 30), (2, 30)]
    assert not hours.is_peak(2, 50), "no hour had 51"
    write(hours, 50)
    assert not hours.is_peak(2, 55), "80 and 30 are 55 in the mean"
    assert hours.is_peak(2, 54)


def test_the_hour_that_does_not_come_is_none() -> None:
    hours, clock = hours_at(utc(2026, 3, 29, 0, 30))  # 1:30
    write(hours, 51)
    clock.advance(3600)
    assert hours.current().hour == 3
    write(hours, 50)
    assert [hours.is_peak(hour, 50) for hour in (1, 2, 3)] == [True, False, False]
    write(hours, 1)
    assert hours.is_peak(3, 50)


def test_the_mean_is_of_the_days_that_have_any_of_the_last_seven() -> None:
    hours, clock = hours_at(utc(2026, 6, 1, 10, 0))
    write(hours, 90)
    clock.advance(2 * 86400)
    write(hours, 12)
    assert hours.is_peak(12, 50)
    assert not hours.is_peak(12, 51)
    clock.advance(5 * 86400 + 11 * 3600)  # late on the eighth day, by the date: the first counts
    assert hours.is_peak(12, 50)
    clock.advance(3 * 3600)
    assert not hours.is_peak(12, 12)
    assert hours.is_peak(12, 11)
    clock.advance(9 * 86400)
    assert hours.statistics() == []
    assert [hour for hour in range(24) if hours.is_peak(hour, 50)] == list(range(9, 19))


@pytest.fixture
def new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_the_hours_are_the_process_own_unless_it_is_told(new_york: None) -> None:
    hours, clock = hours_at(utc(2026, 11, 1, 5, 30), None)  # 1:30, summer time still
    write(hours, 51)
    clock.advance(3600)
    write(hours, 51)
    clock.advance(3600)
    write(hours, 1)
    counted = [(each["hour"], each["count"]) for each in hours.statistics()]
    assert counted == [(1, 51), (1, 51), (2, 1)]


def test_half_hours_of_other_zones() -> None:
    hours, clock = hours_at(utc(2026, 6, 1, 10, 29), ZoneInfo("Asia/Kolkata"))  # 15:59
    write(hours, 1)
    clock.advance(60)
    write(hours, 2)
    assert [(each["hour"], each["count"]) for each in hours.statistics()] == [(15, 1), (16, 2)]


def test_what_is_remembered_is_bounded() -> None:
    hours, clock = hours_at(utc(2026, 6, 1))
    for _ in range(24 * 30):
        write(hours, 1)
        clock.advance(3600)
    assert len(hours.statistics()) <= 24 * 8


@pytest.mark.parametrize("number", [0, 1, SKETCH - 1, 1000, 5000])
def test_distinct_keys_are_estimated(number: int) -> None:
    keys = DistinctKeys()
    drawn = random.Random(number)
    for key in [*range(number), *(drawn.randrange(number) for _ in range(number))]:
        keys.add(f"campaign:{key}")
    assert len(keys.smallest) <= SKETCH
    error = 0 if number < SKETCH else 0.25
    assert abs(len(keys) - number) <= error * number
