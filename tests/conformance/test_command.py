"""``make conformance`` where there is no Rust."""

from __future__ import annotations

import shutil

import pytest

from harness import build
from tests.conformance import __main__ as command


def test_without_cargo_it_says_so_in_one_line_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    assert command.main() == 1
    out, told = capsys.readouterr()
    assert (out, told) == ("", "make conformance needs Rust: there is no cargo on the PATH\n")


def test_a_build_that_fails_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> None:
        raise build.BuildError("cargo build failed: no such crate")

    monkeypatch.setattr(build, "crate_peer", broken)
    assert command.main() == 1
    assert capsys.readouterr().err == "cargo build failed: no such crate\n"
