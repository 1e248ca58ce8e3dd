"""The judge of the demo: what it lets pass, and that it sees what is wrong."""

import pytest

from examples.agent_service.compare import GRACE, Truth, versions_in
from examples.agent_service.world import Place

D1, D2 = Place("acme", "c", "d1"), Place("acme", "c", "d2")
JUST, LATER = GRACE / 2, GRACE * 2


@pytest.fixture
def truth() -> Truth:
    """d1: v1 was begun at 10 and stored at 11, v2 at 20 and 21. d2 was never edited."""
    made = Truth()
    for version, begun in ((1, 10.0), (2, 20.0)):
        made.begin(D1, version, begun)
        made.stored(D1, version, begun + 1)
    return made


@pytest.mark.parametrize(
    ("text", "sent", "received", "wrong"),
    [
        ("Said [acme/d1 v0].", 5.0, 5.1, None),
        ("Said [acme/d1 v0].", 10.5, 30.0, None),  # asked for while v1 was under way
        ("Said [acme/d1 v2].", 10.5, 30.0, None),  # and answered when v2 was there
        ("Said [acme/d1 v1].", 5.0, 9.0, "nobody has begun"),
        ("Said [acme/d1 v0].", 11.0 + JUST, 12.0, None),
        ("Said [acme/d1 v0].", 11.0 + LATER, 12.0, "0.2 s after v1 was stored"),
        ("Said [acme/d1 v1].", 21.0 + LATER, 22.0, "it shows v1 of acme/d1"),
        ("Said [acme/d1 v2]. And [acme/d2 v0].", 30.0, 31.0, None),
        ("Said [acme/d1 v2]. And [acme/d1 v1].", 30.0, 31.0, "it shows v1"),
        ("Said [acme/d1 v2]. And [acme/d2 v1].", 30.0, 31.0, "nobody has begun"),
        ("Said [globex/d1 v2].", 30.0, 31.0, "not acme's"),
        ("The documents say nothing about this.", 30.0, 31.0, "shows no document"),
    ],
)
def test_an_answer_is_judged_by_when_it_was_asked_for(
    truth: Truth, text: str, sent: float, received: float, wrong: str | None
) -> None:
    said = truth.judge(text, "acme", sent, received)
    assert (said is None) if wrong is None else (said is not None and wrong in said)


def test_an_edit_that_failed_may_or_may_not_have_been_stored(truth: Truth) -> None:
    truth.begin(D1, 3, 30.0)  # and nobody knows what became of it
    for version in (2, 3):
        assert truth.judge(f"[acme/d1 v{version}]", "acme", 40.0, 41.0) is None
    truth.begin(D1, 4, 50.0)
    truth.stored(D1, 4, 51.0)
    for version in (2, 3):
        assert truth.judge(f"[acme/d1 v{version}]", "acme", 60.0, 61.0) is not None
    assert truth.judge("[acme/d1 v4]", "acme", 60.0, 61.0) is None


def test_edits_that_were_seen_are_counted_once(truth: Truth) -> None:
    for text in ("[acme/d1 v0]", "[acme/d1 v2] [acme/d2 v0]", "[acme/d1 v2]"):
        truth.judge(text, "acme", 20.5, 30.0)
    assert truth.seen == {("acme/d1", 2)}


def test_what_a_text_shows() -> None:
    assert versions_in("A [acme/library-0-3 v7]. B [acme/x v0].") == {
        "acme/library-0-3": 7,
        "acme/x": 0,
    }
