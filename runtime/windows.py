"""How much models can be shown at once, for those that can take less than a context has by default."""

from __future__ import annotations

SHARE = 0.75  # the rest is for the answer, and for what is counted too low
# By the beginning of the name; the longest that fits counts. Larger windows are not used whole unless asked for: each
# call would cost as much.
_WINDOWS = {
    "gpt-3.5-turbo": 16_385,
    "gpt-3.5-turbo-instruct": 4_096,
    "gpt-4": 8_192,
    "gpt-4-32k": 32_768,
    "gpt-4-turbo": 128_000,
    "gpt-4-0125": 128_000,
    "gpt-4-1106": 128_000,
    "gpt-4o": 128_000,
    "gpt-4.1": 1_047_576,
    "gpt-4.5": 128_000,
    "gpt-5": 272_000,
    "gpt-oss": 131_072,
    "o1": 200_000,
    "o1-mini": 128_000,
    "o3": 200_000,
    "o4-mini": 200_000,
    "smollm2": 8_192,
}


def window_of(model: str) -> int | None:
    """Tokens, if it is known; the model may be named as `provider/model`."""
    name = model.rpartition("/")[2].lower()
    known = [prefix for prefix in _WINDOWS if name.startswith(prefix)]
    return _WINDOWS[max(known, key=len)] if known else None


def at_most(tokens: int, model: str | None) -> int:
    """A context of so many tokens, or of fewer if the model is known to take no more."""
    window = window_of(model) if model else None
    return tokens if window is None else min(tokens, int(window * SHARE))
