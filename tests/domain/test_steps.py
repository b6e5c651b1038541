"""The fence: who may write a row, as one number."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from domain import ids
from domain.steps import MAX_ATTEMPT, StepRequest, attempt_of, closing_fence, fence

epochs = st.integers(1, 10**6)
steps = st.integers(0, ids.MAX_STEPS - 1)
attempts = st.integers(1, MAX_ATTEMPT)
writers = st.tuples(epochs, steps, attempts)


@given(writers, writers)
def test_a_later_run_beats_a_later_step_beats_a_later_attempt(
    one: tuple[int, int, int], other: tuple[int, int, int]
) -> None:
    assert (fence(*one) < fence(*other)) is (one < other)


@given(writers)
def test_closing_a_turn_beats_every_attempt_of_its_run_and_none_of_the_next(writer: tuple[int, int, int]) -> None:
    epoch, _, _ = writer
    assert fence(*writer) < closing_fence(epoch) < fence(epoch + 1, 0, 1)


@given(epochs, steps, st.integers(1, 2**31))
def test_an_endless_number_of_attempts_does_not_reach_the_next_step(epoch: int, step: int, attempt: int) -> None:
    assert fence(epoch, step, attempt) < fence(epoch, step + 1, 1)
    assert fence(epoch, step, attempt) < 2**53  # the store compares floats


@given(writers)
def test_the_attempt_can_be_read_back(writer: tuple[int, int, int]) -> None:
    assert attempt_of(fence(*writer)) == writer[2]


def test_what_equals_its_default_does_not_travel() -> None:
    """Every byte of a request is in the history for ever."""
    request = StepRequest(thread="t", epoch=1, prompt_id="p", turn=1, agent="a")
    sent = request.model_dump_json()
    assert sent == '{"v":1,"thread":"t","epoch":1,"prompt_id":"p","turn":1,"agent":"a"}'
    assert StepRequest.model_validate_json(sent) == request


def test_fields_of_a_newer_release_are_no_error() -> None:
    request = {"thread": "t", "epoch": 1, "prompt_id": "p", "turn": 1, "agent": "a", "mood": "new"}
    assert StepRequest.model_validate(request).thread == "t"
