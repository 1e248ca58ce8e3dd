"""The decisions of a read, as a table: they do no input or output."""

import math
from typing import Any

import pytest

from cascada.engine.decide import (
    GENERAL_ANSWER_TTL,
    Choice,
    Verdict,
    as_general_answer,
    choose,
    judge,
    refresh_from,
)
from cascada.model.entry import Entry, Flag
from cascada.model.keys import Key
from cascada.model.policy import Policy
from cascada.tiers.contract import Found, Missing

FRESH, REFRESH_DUE, STALE, FALLBACK, UNFIT = Verdict
ABSENT = Flag.ABSENT
CONFIRMED = Flag.ABSENT | Flag.GENERATOR_ASKED


def entry(fresh: float = 100.0, whole: float = 100.0, flags: int = 0) -> Entry:
    """Made at 1000, fresh for so long, gone after `whole`."""
    return Entry(b"", flags=flags, created=1000.0, fresh_until=1000 + fresh, expires=1000 + whole)


PLAIN = Policy()
AHEAD = Policy(refresh_at=0.8)
GRACE = Policy(stale_for=50)
NEED = Policy(stale_if_error=80)
BOTH = Policy(stale_for=50, stale_if_error=80)

TABLE: list[tuple[Policy, Entry, float, bool, Verdict]] = [
    # policy, entry, seconds since it was made, the caller has a generator, verdict
    (PLAIN, entry(), 0, False, FRESH),
    (PLAIN, entry(), 99.9, False, FRESH),
    (PLAIN, entry(), 100, False, UNFIT),
    (PLAIN, entry(math.inf, math.inf), 10**9, False, FRESH),
    (AHEAD, entry(), 79.9, False, FRESH),
    (AHEAD, entry(), 80, False, REFRESH_DUE),
    (AHEAD, entry(), 99.9, False, REFRESH_DUE),
    (AHEAD, entry(), 100, False, UNFIT),
    (AHEAD, entry(math.inf, math.inf), 10**9, False, FRESH),
    (GRACE, entry(100, 150), 100, False, STALE),
    (GRACE, entry(100, 150), 149.9, False, STALE),
    (GRACE, entry(100, 150), 150, False, UNFIT),
    (NEED, entry(100, 180), 100, False, FALLBACK),
    (NEED, entry(100, 180), 179.9, False, FALLBACK),
    (NEED, entry(100, 180), 180, False, UNFIT),
    (BOTH, entry(100, 180), 149.9, False, STALE),
    (BOTH, entry(100, 180), 150, False, FALLBACK),
    # what is stored lives no longer than it was stored for, whatever the policy says since
    (GRACE, entry(100, 100), 100, False, UNFIT),
    # what the policy no longer allows is not served, though it is there
    (PLAIN, entry(100, 150), 120, False, FALLBACK),
    (PLAIN, entry(100, 100, ABSENT), 1, False, FRESH),
    (PLAIN, entry(100, 100, ABSENT), 1, True, UNFIT),
    (PLAIN, entry(100, 100, CONFIRMED), 1, True, FRESH),
    (PLAIN, entry(100, 100, Flag.COMPRESSED), 1, True, FRESH),
    (Policy(version=3), entry(flags=3 << 8), 1, False, FRESH),
    (Policy(version=3), entry(flags=2 << 8), 1, False, UNFIT),
    (Policy(version=3), entry(), 1, False, UNFIT),
    (PLAIN, entry(flags=3 << 8), 1, False, UNFIT),
]


@pytest.mark.parametrize(("policy", "held", "passed", "generating", "verdict"), TABLE)
def test_what_may_be_done_with_an_entry(
    policy: Policy, held: Entry, passed: float, generating: bool, verdict: Verdict
) -> None:
    assert judge(held, policy, 1000 + passed, generating=generating) is verdict


@pytest.mark.parametrize(
    ("policy", "held", "moment"),
    [
        (PLAIN, entry(), 1100),
        (AHEAD, entry(), 1080),
        (AHEAD, entry(math.inf, math.inf), math.inf),
        (Policy(refresh_at=0.5), entry(10, 20), 1005),
    ],
)
def test_when_a_hit_begins_to_refresh(policy: Policy, held: Entry, moment: float) -> None:
    assert refresh_from(held, policy) == moment


MISS = Missing(0)
GOOD = Found(entry(100, 180), 0)
STALE_ONE = Found(Entry(b"", created=0, fresh_until=990, expires=1180), 0)
SPARE_ONE = Found(Entry(b"", created=0, fresh_until=900, expires=1180), 0)
GONE = Found(Entry(b"", created=0, fresh_until=900, expires=950), 0)


@pytest.mark.parametrize(
    ("answers", "choice"),
    [
        ([], Choice(None, UNFIT)),
        ([MISS, MISS], Choice(None, UNFIT)),
        ([GOOD, GOOD], Choice(0, FRESH)),
        ([MISS, GOOD], Choice(1, FRESH)),
        ([STALE_ONE, GOOD], Choice(0, STALE)),
        ([SPARE_ONE, GOOD], Choice(1, FRESH)),
        ([SPARE_ONE, STALE_ONE], Choice(1, STALE)),
        ([MISS, SPARE_ONE, SPARE_ONE], Choice(1, FALLBACK)),
        ([GONE, MISS], Choice(None, UNFIT)),
        ([GONE, SPARE_ONE], Choice(1, FALLBACK)),
    ],
)
def test_the_first_that_may_be_served_answers_else_the_first_spare(
    answers: list[Any], choice: Choice
) -> None:
    assert choose(answers, BOTH, 1000.0, generating=False, candidates=3) == choice


STRICT = Policy(stale_for=50, stale_if_error=80, lookup="by_level")
NOTHING = Found(entry(100, 180, ABSENT), 0)
OLD_NOTHING = Found(Entry(b"", flags=ABSENT, created=0, fresh_until=990, expires=1180), 0)


@pytest.mark.parametrize(
    ("answers", "choice"),
    [
        ([GOOD, MISS, MISS], Choice(0, FRESH)),
        ([MISS, GOOD, GOOD], Choice(None, UNFIT)),
        ([NOTHING, GOOD, MISS], Choice(1, FRESH)),
        ([NOTHING, MISS, GOOD], Choice(None, UNFIT)),
        ([OLD_NOTHING, GOOD, GOOD], Choice(None, UNFIT)),
        ([NOTHING, STALE_ONE, GOOD], Choice(1, STALE)),
        ([NOTHING, SPARE_ONE, GOOD], Choice(1, FALLBACK)),
        ([NOTHING, GONE, GOOD], Choice(None, UNFIT)),
        # all of them: that nothing is there is an answer, and rests on the last one as well
        ([NOTHING, NOTHING, NOTHING], Choice(2, FRESH)),
        # a tier that was asked for the first alone does not know of the others
        ([NOTHING], Choice(None, UNFIT)),
        ([GOOD], Choice(0, FRESH)),
    ],
)
def test_strictly_a_value_answers_if_the_more_specific_are_known_not_to_be_there(
    answers: list[Any], choice: Choice
) -> None:
    assert choose(answers, STRICT, 1000.0, generating=False, candidates=3) == choice


def test_a_general_answer_bears_the_keys_of_all_candidates_and_lives_shortly() -> None:
    keys = [
        Key("t", "x", "a", None, "l", "1"),
        Key("t", "x", None, None, "l", "1"),
        Key("t", "x", None, None, None, "1"),
    ]
    held = Entry(b"data", 5, 4, 900.0, 2000.0, 3000.0, ("#:t:news",), 7, "value")
    general = as_general_answer(held, keys, 1000.0)
    assert general.names == ("#:t:news", "k:t:x:coll:l:1", "k:t:x:1", "e:t:x:1")
    assert general.fresh_until == general.expires == 1000 + GENERAL_ANSWER_TTL
    assert (general.data, general.codec, general.flags) == (b"data", 5, 4)
    assert (general.created, general.version, general.value) == (900.0, 7, "value")
    short = Entry(b"", created=900.0, fresh_until=1001.0, expires=1002.0)
    general = as_general_answer(short, keys, 1000.0)
    assert (general.fresh_until, general.expires) == (1001.0, 1002.0)
