"""What every test runs under: the leak check (tests/leaks.py), long ones first, hypothesis without a stopwatch."""

from __future__ import annotations

import os
import signal
import sys

import pytest
from hypothesis import HealthCheck, settings

from tests import order
from tests.leaks import (
    no_leaks,
    no_loop_leaks,
    pytest_addoption,
    pytest_collection_finish,
    pytest_collection_modifyitems,
    pytest_runtest_makereport,
)
from tests.support.wirings import pytest_generate_tests, wiring
from tests.virtual import pytest_asyncio_loop_factories

# A busy machine is no finding. CI repeats the same examples, so that it fails for a change and not by chance.
settings.register_profile(
    "stronghold",
    deadline=None,
    derandomize=os.environ.get("CI") == "true",
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.load_profile("stronghold")


# Who is started by a script in the background ignores the keyboard, and so does all that it starts: processes of ours,
# too, which the tests interrupt. A signal that is caught is not ignored by who is started.
LEFT_IGNORED = [signal.SIGINT, signal.SIGQUIT, signal.SIGHUP] if sys.platform != "win32" else [signal.SIGINT]


def pytest_configure(config: pytest.Config) -> None:
    for number in LEFT_IGNORED:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    config.pluginmanager.register(order, "order")


__all__ = [
    "no_leaks",
    "no_loop_leaks",
    "pytest_addoption",
    "pytest_asyncio_loop_factories",
    "pytest_collection_finish",
    "pytest_collection_modifyitems",
    "pytest_generate_tests",
    "pytest_runtest_makereport",
    "wiring",
]
