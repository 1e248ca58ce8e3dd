"""What a load depends on, and when its result is unfit to be stored."""

from cascada.engine.kinds import Kind
from cascada.engine.loading.dependencies import Frame, current, loading, note
from cascada.engine.request import Answer, Question
from cascada.model.entry import Entry
from cascada.model.keys import Key
from cascada.model.names import key_name
from cascada.model.policy import Policy

MINE = Key("t", "doc", "a", None, None, "1")
GENERAL = Key("t", "doc", None, None, None, "1")
FOREIGN = Key("other", "doc", None, None, None, "1")


def question(*keys: Key) -> Question:
    return Question(Kind(keys[0].tenant, "doc", Policy()), keys)


def answer(**facts: object) -> Answer:
    return Answer(Entry(b"", names=("#:t:news",)), "l1", **facts)  # type: ignore[arg-type]


def test_outside_of_a_load_nothing_is_noted() -> None:
    cache = object()
    note(cache, question(MINE), answer())
    assert current(cache) is None


def test_a_load_of_another_cache_is_not_meant() -> None:
    cache, other = object(), object()
    frame = Frame(cache, None, "t")
    with loading(frame):
        assert current(cache) is frame
        assert current(other) is None
        note(other, question(MINE), answer())
    assert not frame.names
    assert current(cache) is None


def test_inner_loads_have_a_frame_of_their_own() -> None:
    cache = object()
    outer, inner = Frame(cache, None, "t"), Frame(cache, None, "t")
    with loading(outer):
        with loading(inner):
            note(cache, question(MINE), None)
        assert current(cache) is outer
    assert key_name(MINE) in inner.names
    assert not outer.names


def test_an_answer_depends_on_every_candidate_that_was_looked_at_before_it() -> None:
    cache = object()
    asked = question(MINE, GENERAL)
    for found_at, names in ((MINE, {MINE}), (GENERAL, {MINE, GENERAL}), (None, {MINE, GENERAL})):
        frame = Frame(cache, None, "t")
        with loading(frame):
            note(cache, asked, answer(found_at=found_at))
        assert {key_name(key) for key in (MINE, GENERAL)} & frame.names.keys() == {
            key_name(key) for key in names
        }
        assert "#:t:news" in frame.names
        assert frame.unfit is None


def test_what_is_stale_or_of_another_tenant_makes_the_result_unfit() -> None:
    cache = object()
    for asked, found, why in (
        (question(MINE), answer(stale=True), "stale"),
        (question(FOREIGN), answer(), "another tenant"),
        (question(FOREIGN), None, "another tenant"),
        (question(MINE), answer(foreign=True), "another tenant"),
    ):
        frame = Frame(cache, None, "t")
        with loading(frame):
            note(cache, asked, found)
            note(cache, question(MINE), answer())
        assert frame.unfit is not None
        assert why in frame.unfit
