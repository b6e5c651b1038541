"""How tests start programs of ours."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[1]
_OURS = ("EVERTHREAD_", "OPENAI_", "TEMPORAL_")


def environment(**settings: str) -> dict[str, str]:
    """For a program: what the developer has set does not reach it."""
    others = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    others.pop("PYTHONDONTWRITEBYTECODE", None)  # a user's second start reads what the first has compiled
    return others | {"PYTHONPYCACHEPREFIX": str(ROOT / ".pytest_cache" / "pycache")} | settings
