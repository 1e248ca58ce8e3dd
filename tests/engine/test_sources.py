"""What a load depends on, and when its result is unfit to be stored."""

from cascada.engine.kinds import Kind
from cascada.engine.loading.dependencies import LoadContext, current, note
from cascada.engine.loading.fitness import unfit
from cascada.engine.request import Answer, Request
from cascada.model.entry import Entry
from cascada.model.keys import Key
from cascada.model.names import key_name
from cascada.model.policy import Policy

MINE = Key("t", "doc", "a", None, None, "1")
GENERAL = Key("t", "doc", None, None, None, "1")
FOREIGN = Key("other", "doc", None, None, None, "1")


def request(*keys: Key) -> Request:
    return Request(Kind(keys[0].tenant, "doc", Policy()), keys)


def answer(**facts: object) -> Answer:
    return Answer(Entry(b"", names=("#:t:news",)), "l1", **facts)  # type: ignore[arg-type]


def test_outside_of_a_load_nothing_is_noted() -> None:
    cache = object()
    note(cache, request(MINE), answer())
    assert current(cache) is None


def test_a_load_of_another_cache_is_not_meant() -> None:
    cache, other = object(), object()
    context = LoadContext(cache, None, "t")
    with context:
        assert current(cache) is context
        assert current(other) is None
        note(other, request(MINE), answer())
    assert not context.names
    assert current(cache) is None


def test_inner_loads_have_a_frame_of_their_own() -> None:
    cache = object()
    outer, inner = LoadContext(cache, None, "t"), LoadContext(cache, None, "t")
    with outer:
        with inner:
            note(cache, request(MINE), None)
        assert current(cache) is outer
    assert key_name(MINE) in inner.names
    assert not outer.names


def test_an_answer_depends_on_every_candidate_that_was_looked_at_before_it() -> None:
    cache = object()
    asked = request(MINE, GENERAL)
    for found_at, names in ((MINE, {MINE}), (GENERAL, {MINE, GENERAL}), (None, {MINE, GENERAL})):
        context = LoadContext(cache, None, "t")
        with context:
            note(cache, asked, answer(found_at=found_at))
        assert {key_name(key) for key in (MINE, GENERAL)} & context.names.keys() == {
            key_name(key) for key in names
        }
        assert "#:t:news" in context.names
        assert unfit(Policy(), (), context, frozenset()) is None


def test_what_is_stale_or_of_another_tenant_makes_the_result_unfit() -> None:
    cache = object()
    for asked, found, why in (
        (request(MINE), answer(stale=True), "stale"),
        (request(FOREIGN), answer(), "another tenant"),
        (request(FOREIGN), None, "another tenant"),
        (request(MINE), answer(unfit="of another tenant"), "another tenant"),
    ):
        context = LoadContext(cache, None, "t")
        with context:
            note(cache, asked, found)
            note(cache, request(MINE), answer())
        said = unfit(Policy(), (), context, frozenset())
        assert said is not None
        assert why in said
