"""Lets a module name the event loops in which its tests run."""

from tests.virtual import pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]
