"""Tests against real peers of other implementations."""
