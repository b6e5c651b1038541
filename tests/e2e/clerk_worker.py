"""`worker.py` with the clerk beside the agents of the catalog, and on demand a shorter heartbeat for tools that write."""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[0] = str(HERE.parents[1])

if __name__ == "__main__":
    from temporalio.worker import UnsandboxedWorkflowRunner

    import catalog.agents
    import worker
    from runtime import wiring
    from workflows import options

    def unsandboxed(settings: Any) -> dict[str, Any]:
        """In a sandbox, workflows would not see the changed constant."""
        return {"workflow_runner": UnsandboxedWorkflowRunner()}

    catalog.agents.__path__.append(str(HERE / "agents"))
    if heartbeat := os.environ.get("TEST_WRITE_HEARTBEAT_S"):
        options.WRITE_HEARTBEAT = timedelta(seconds=float(heartbeat))
        wiring.version = unsandboxed
    raise SystemExit(worker.main())
