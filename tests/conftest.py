"""What every test runs under: the leak check (see tests/leaks.py)."""

from __future__ import annotations

from tests.leaks import (
    no_leaks,
    no_loop_leaks,
    pytest_addoption,
    pytest_collection_finish,
    pytest_collection_modifyitems,
    pytest_runtest_makereport,
)

__all__ = [
    "no_leaks",
    "no_loop_leaks",
    "pytest_addoption",
    "pytest_collection_finish",
    "pytest_collection_modifyitems",
    "pytest_runtest_makereport",
]
