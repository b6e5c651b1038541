"""Which models were not available a moment ago, so that not every call waits for them anew."""

from __future__ import annotations

from collections.abc import Sequence

from domain.errors import ModelUnavailableError, QuotaSpentError

AWAY_S, SPENT_S = 30.0, 300.0
REMEMBERED = 1_000  # models


class Away:
    """Remembers while the process lives. Times are seconds since 1970."""

    def __init__(self) -> None:
        self._until: dict[str | None, float] = {}

    def note(self, model: str | None, error: ModelUnavailableError | QuotaSpentError, now: float) -> None:
        if len(self._until) >= REMEMBERED:
            self._until.clear()
        asked_s = error.retry_after_s or 0.0 if isinstance(error, ModelUnavailableError) else SPENT_S
        self._until[model] = now + max(AWAY_S, asked_s)

    def last(self, models: Sequence[str | None], now: float) -> list[str | None]:
        """The models in their order, those that were not available behind the others."""
        return sorted(models, key=lambda model: self._until.get(model, 0.0) > now)
