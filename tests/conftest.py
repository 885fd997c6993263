"""For every test."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    # Asked to end, stop the servers that the tests started: they would live on without us.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
