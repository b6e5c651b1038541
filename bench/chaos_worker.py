"""`worker.py` with the agents of bench/agents beside those of the catalog."""

from __future__ import annotations

from pathlib import Path

import catalog.agents
import worker

if __name__ == "__main__":
    catalog.agents.__path__.append(str(Path(__file__).parent / "agents"))
    raise SystemExit(worker.main())
