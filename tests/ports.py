"""Ports that nobody listens on."""

from __future__ import annotations

import socket


def free_port() -> int:
    """For what listens at once; tests.e2e.driver has such that stay free over a restart."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
