"""Our errors as Temporal takes them: permanent ones are named non-retryable, the others say when to come again."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from temporalio import activity
from temporalio.exceptions import ApplicationError, FailureError

from domain.errors import (
    DeliveryRefusedError,
    HookError,
    InputRefusedError,
    ModelRefusedError,
    ModelUnavailableError,
    NotVisibleYetError,
    OutputInvalidError,
    SupersededError,
    UnavailableError,
    UnknownAgentError,
)

PERMANENT = (
    ModelRefusedError,
    OutputInvalidError,
    UnknownAgentError,
    InputRefusedError,
    HookError,
    DeliveryRefusedError,
)
QUICK = (SupersededError, UnavailableError, NotVisibleYetError)  # nothing is wrong; it is only not our turn
QUICK_RETRY_S, FIRST_RETRY_S, LONGEST_RETRY_S = 0.5, 1.0, 30.0


def retry_delay(error: Exception) -> float:
    """Seconds until this activity's next attempt: what the provider asked for, else doubling.

    With jitter, so that threads that failed together do not come back together; the same for each call in an attempt.
    """
    info = activity.info()
    jitter = random.Random(f"{info.workflow_id}/{info.activity_id}/{info.attempt}").random()  # noqa: S311
    if isinstance(error, QUICK):
        return QUICK_RETRY_S * (0.75 + 0.5 * jitter)
    asked = error.retry_after_s if isinstance(error, ModelUnavailableError) else None
    if asked is not None:
        return asked * (1 + 0.25 * jitter) + 0.1 * jitter
    delay = min(LONGEST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(info.attempt - 1, 10))
    return delay * (0.75 + 0.5 * jitter)


@contextmanager
def translated() -> Iterator[None]:
    """Raises: ApplicationError for every error; each but the permanent ones says when to come again."""
    try:
        yield
    except PERMANENT as error:
        raise ApplicationError(str(error), type=type(error).__name__, non_retryable=True) from error
    except FailureError:  # it is Temporal's already
        raise
    except Exception as error:
        delay = timedelta(seconds=retry_delay(error))
        raise ApplicationError(str(error) or repr(error), type=type(error).__name__, next_retry_delay=delay) from error
