"""For every test."""

from __future__ import annotations

import signal

import torch


def pytest_configure() -> None:
    # Asked to end, stop the servers that the tests started: they would live on without us.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # The networks of the tests are so small that a second thread costs more than it gives.
    torch.set_num_threads(1)
