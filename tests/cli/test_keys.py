"""cli/keys.py: keys that are encrypted, and keys and passphrases that no file of ours holds."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from stronghold_p2p import Identity
from stronghold_p2p.cli.main import main

Run = Callable[..., tuple[int, str]]

WORDS = b"correct horse"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command; exit code, and what was said."""

    def command(*arguments: object, given: bytes = b"") -> tuple[int, str]:
        stdin = io.TextIOWrapper(io.BytesIO(given))
        monkeypatch.setattr(sys, "stdin", stdin)
        code = main([*map(str, arguments)])
        said = "".join(capsys.readouterr())
        assert WORDS.decode() not in said
        return code, said

    return command


def private(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    path.chmod(0o600)
    return path


def test_defect_8_a_passphrase_from_a_file(tmp_path: Path, run: Run) -> None:
    """The first line of it; every command that has a key takes it."""
    key, secret = tmp_path / "bob.key", private(tmp_path / "secret", WORDS + b"\r\nmore\n")
    code, said = run("key", key, "--passphrase-file", secret)
    identity = Identity.load(key, passphrase=WORDS)
    assert (code, said) == (0, f"{identity.peer_id} (new key in {key})\n")
    assert run("key", key, "--passphrase-file", secret) == (0, f"{identity.peer_id} (key in {key})\n")
    nobody = f"/ip4/127.0.0.1/tcp/1/p2p/{Identity().peer_id}"
    for command in (["ping", nobody], ["identify", nobody], ["request", nobody, "1"], ["perf", nobody]):
        code, said = run(*command, "--key", key, "--passphrase-file", secret)
        assert (code, "Connection refused" in said) == (5, True)
        code, said = run(*command, "--key", key)
        assert (code, said) == (2, f"stronghold-p2p: {key} is encrypted: give --passphrase-file\n")
    code, said = run("listen", "/ip4/192.0.2.1/tcp/0", "--key", key, "--passphrase-file", secret)
    assert "cannot listen on /ip4/192.0.2.1/tcp/0" in said


def test_a_passphrase_on_standard_input(tmp_path: Path, run: Run) -> None:
    key = tmp_path / "bob.key"
    assert run("key", key, "--passphrase-file", "-", given=WORDS + b"\n")[0] == 0
    peer = Identity.load(key, passphrase=WORDS).peer_id
    assert run("key", key, "--passphrase-file", "-", given=WORDS) == (0, f"{peer} (key in {key})\n")
    pipe = tmp_path / "pipe"  # as <(command) gives one
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=[WORDS])
    writer.start()
    assert run("key", key, "--passphrase-file", pipe)[0] == 0
    writer.join()


def test_b08_a_key_on_standard_input(tmp_path: Path, run: Run) -> None:
    """As from a secret that is mounted with a mode that no key file may have."""
    key = tmp_path / "bob.key"
    peer = Identity.load(key, create=True).peer_id
    assert run("key", "-", given=key.read_bytes()) == (0, f"{peer} (key in -)\n")
    key.chmod(0o444)
    code, said = run("key", key)
    assert (code, "- in the place of the file is standard input" in said) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "given", "told"),
    [
        (["-", "--passphrase-file", "-"], b"", "standard input is either the key or its passphrase"),
        (["-"], b"", "the key: it is empty"),
        (["{key}", "--passphrase-file", "-"], b"", "standard input holds no passphrase in its first line"),
        (["{key}", "--passphrase-file", "-"], b"x" * 5_000, "standard input holds no passphrase in its first line"),
        (["{key}", "--passphrase-file", "{secret}"], b"", "is not encrypted: leave --passphrase-file out"),
        (["{key}", "--passphrase-file", "{empty}"], b"", "empty holds no passphrase in its first line"),
        (["{key}", "--passphrase-file", "{open}"], b"", "others can read it: chmod 600 "),
        (["{key}", "--passphrase-file", "{nothing}"], b"", "nothing does not exist"),
    ],
)
def test_what_cannot_be_used_is_told(run: Run, tmp_path: Path, arguments: list[str], given: bytes, told: str) -> None:
    names = {name: tmp_path / name for name in ("key", "secret", "empty", "open", "nothing")}
    Identity.load(names["key"], create=True)
    private(names["secret"], WORDS)
    private(names["empty"], b"\nsecond line\n")
    private(names["open"], WORDS).chmod(0o644)
    code, said = run("key", *(argument.format(**names) for argument in arguments), given=given)
    assert (code, told in said) == (2, True), said
