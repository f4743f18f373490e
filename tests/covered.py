"""Measures the coverage of the cores while their own tests run, and of nothing else (``pytest -p tests.covered``).

So one run of pytest can play all tests, without coverage's weight on those that have sockets. It is on while the cores
are imported and during each test that ``tests.cores`` counts as theirs; except those marked ``speed`` and those of
hypothesis, which run the same lines thousands of times: a core has to reach its coverage without them.
"""

from __future__ import annotations

from collections.abc import Generator
from importlib import import_module

import coverage
import pytest

from tests import cores

_THEIRS = cores.tests()
_measuring = coverage.Coverage(config_file=str(cores.ROOT / "pyproject.toml"))


def _counts(item: pytest.Item) -> bool:
    theirs = any(item.path == path or path in item.path.parents for path in _THEIRS)
    return theirs and not any(item.get_closest_marker(name) for name in ("speed", "hypothesis"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    if not _counts(item):
        return (yield)
    _measuring.start()
    try:
        return (yield)
    finally:
        _measuring.stop()


def pytest_unconfigure() -> None:
    _measuring.save()


_measuring.start()  # before anything else imports them
for _path in cores.cores():
    import_module(cores.name(_path))
_measuring.stop()
