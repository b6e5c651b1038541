"""Every error of ours reaches Temporal as one that it may retry, or as one that it may not."""

from __future__ import annotations

import statistics
from dataclasses import replace

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.failures import LONGEST_RETRY_S, PERMANENT, retry_delay, translated
from domain import errors
from domain.errors import EverthreadError, ModelUnavailableError
from tests.activities.fakes import attempt


def subclasses(kind: type[Exception]) -> list[type[Exception]]:
    return [kind, *(below for child in kind.__subclasses__() for below in subclasses(child))]


async def translation_of(error: Exception, number: int = 1) -> ApplicationError:
    def activity() -> None:
        with translated():
            raise error

    with pytest.raises(ApplicationError) as caught:
        attempt(number).run(activity)
    return caught.value


async def delay_of(error: Exception, *, number: int = 1, workflow: str = "w") -> float:
    environment = ActivityEnvironment()
    environment.info = replace(environment.info, attempt=number, workflow_id=workflow)
    return float(environment.run(lambda: retry_delay(error)))


@pytest.mark.parametrize("kind", subclasses(EverthreadError), ids=lambda kind: kind.__name__)
async def test_every_error_of_ours_is_translated(kind: type[Exception]) -> None:
    seen = await translation_of(kind("Why."))
    assert (seen.type, seen.message) == (kind.__name__, "Why.")
    assert seen.non_retryable is issubclass(kind, PERMANENT)
    assert (seen.next_retry_delay is None) is seen.non_retryable


def test_the_tree_of_errors_is_drawn_where_they_are() -> None:
    assert errors.__doc__ is not None
    for kind in subclasses(EverthreadError):
        assert kind.__name__ in errors.__doc__, f"{kind.__name__} is not drawn in domain/errors.py"


async def test_an_error_of_nobodys_is_retried_and_named() -> None:
    seen = await translation_of(KeyError())
    assert (seen.type, seen.non_retryable) == ("KeyError", False)
    assert seen.message


async def test_an_error_of_temporals_own_passes_as_it_is() -> None:
    error = ApplicationError("mine", type="Mine", non_retryable=True)
    assert await translation_of(error) is error


@pytest.mark.parametrize("asked", [0.0, 0.5, 20.0, 120.0])
async def test_the_provider_is_asked_again_when_it_said_and_not_before(asked: float) -> None:
    delays = [await delay_of(ModelUnavailableError("busy", asked), workflow=f"w{n}") for n in range(50)]
    assert min(delays) >= asked
    assert max(delays) <= asked * 1.25 + 0.1


async def test_delays_double_up_to_half_a_minute() -> None:
    means = [
        statistics.mean([await delay_of(KeyError(), number=number, workflow=f"w{n}") for n in range(200)])
        for number in (1, 2, 3, 20, 5_000)
    ]
    assert means == pytest.approx([1, 2, 4, LONGEST_RETRY_S, LONGEST_RETRY_S], rel=0.1)


async def test_threads_that_failed_together_do_not_come_back_together() -> None:
    assert len({await delay_of(KeyError(), workflow=f"w{n}") for n in range(50)}) == 50


async def test_within_an_attempt_the_delay_is_the_same_each_time() -> None:
    """What the reader is told is what happens."""
    assert await delay_of(KeyError()) == await delay_of(KeyError())
