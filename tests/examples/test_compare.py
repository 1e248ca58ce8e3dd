"""The demo's comparison: what it accepts, and that it would see what is wrong."""

from examples.agent_service.compare import compare
from examples.agent_service.drive import Answered
from examples.agent_service.workload import Read, State
from examples.agent_service.world import Request, Wish


def answered(key: str, body: bytes, *states: State, status: int = 200) -> Answered:
    wish = Wish(Request("acme", "GET", f"/{key}"), (), key)
    return Answered(Read(wish, states or ((0,),)), status, body, 0.0, 0.001)


FIRST = [answered("a", b"old"), answered("a", b"new", (1,)), answered("b", b"same")]


def test_equal_answers_are_right() -> None:
    comparison = compare(FIRST, FIRST)
    assert comparison.wrong == []
    assert comparison.compared == 3
    assert comparison.told_apart == 1


def test_an_answer_that_outlived_its_state_is_wrong() -> None:
    comparison = compare(FIRST, [answered("a", b"old", (1,))])
    assert len(comparison.wrong) == 1
    assert "second run, a at 0.00 s: 200 b'old' is not the answer in ((1,),)" in comparison.wrong[0]


def test_beside_a_write_both_states_are_right_and_nothing_else() -> None:
    beside = [answered("a", body, (0,), (1,)) for body in (b"old", b"new")]
    assert compare([*FIRST, *beside], beside).wrong == []
    assert len(compare(FIRST, [answered("a", b"mixed", (0,), (1,))]).wrong) == 1


def test_another_status_is_another_answer() -> None:
    assert len(compare(FIRST, [answered("b", b"same", status=404)]).wrong) == 1


def test_an_answer_that_nothing_is_known_of_is_not_passed_over() -> None:
    assert "nothing is known" in compare(FIRST, [answered("a", b"new", (2,))]).wrong[0]


def test_a_first_run_that_contradicts_itself_is_wrong() -> None:
    assert len(compare([*FIRST, answered("b", b"other")], []).wrong) == 1
