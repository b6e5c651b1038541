"""Logs: structlog events with key-values; JSON unless a person reads them in a terminal. Temporal's own join in."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import IO

import structlog
from temporalio import activity, workflow

LARGE_BYTES = 50_000_000


def setup(level: str, file: Path | None = None) -> None:
    """Send logs to a file, or to standard error."""
    # Their context comes from ours (see wiring), and would repeat a dictionary in every line.
    activity.logger.activity_info_on_message = workflow.logger.workflow_info_on_message = False
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    stream: IO[str] = _open(file) if file else sys.stderr
    pretty = file is None and sys.stderr.isatty()
    renderer: structlog.types.Processor = (
        structlog.dev.ConsoleRenderer() if pretty else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("httpx", "httpcore", "httpx2", "httpcore2", "openai", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _open(file: Path) -> IO[str]:
    """The log to append to; a large one is put aside first, as the only older one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.exists() and file.stat().st_size > LARGE_BYTES:
        file.replace(file.with_suffix(".old.log"))
    return file.open("a", encoding="utf-8", buffering=1)
