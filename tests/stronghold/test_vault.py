"""The vault of the example: what is kept, what is refused, and that a changed file is noticed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from examples.stronghold import vault as vaults
from examples.stronghold.vault import Vault, VaultError

PASSPHRASE = b"correct horse"


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vaults, "COST", 2)


def test_what_was_made_is_there_again(tmp_path: Path) -> None:
    file = tmp_path / "vault.json"
    vault = Vault.open(file, PASSPHRASE, create=True)
    public = vault.generate("wallet/main")
    derived = vault.derive("wallet/main", "wallet/child", "0")
    again = Vault.open(file, PASSPHRASE)
    assert again.paths() == ["wallet/child", "wallet/main"]
    assert (again.public_key("wallet/main"), again.public_key("wallet/child")) == (public, derived)
    Ed25519PublicKey.from_public_bytes(derived).verify(again.sign("wallet/child", b"message"), b"message")
    with pytest.raises(InvalidSignature):
        Ed25519PublicKey.from_public_bytes(public).verify(again.sign("wallet/child", b"message"), b"message")
    again.revoke("wallet/main")
    assert Vault.open(file, PASSPHRASE).paths() == ["wallet/child"]
    assert file.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["vault.json"]


def test_to_derive_twice_is_the_same(tmp_path: Path) -> None:
    vault = Vault.open(tmp_path / "vault.json", PASSPHRASE, create=True)
    vault.generate("a")
    assert vault.derive("a", "b", "info") == vault.derive("a", "c", "info") != vault.derive("a", "d", "other")


def test_what_cannot_be_done_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "vault.json"
    with pytest.raises(VaultError, match="no vault"):
        Vault.open(file, PASSPHRASE)
    vault = Vault.open(file, PASSPHRASE, create=True)
    vault.generate("a")
    before = file.read_bytes()
    for wrong in (
        lambda: vault.generate("a"),
        lambda: vault.derive("a", "a", ""),
        lambda: vault.derive("b", "c", ""),
        lambda: vault.sign("b", b""),
        lambda: vault.public_key("b"),
        lambda: vault.revoke("b"),
        lambda: Vault.open(file, b"wrong"),
    ):
        with pytest.raises(VaultError):
            wrong()
    assert file.read_bytes() == before
    assert vault.paths() == ["a"]


@pytest.mark.parametrize("part", ["format", "salt", "nonce", "sealed"])
def test_a_changed_file_is_noticed(tmp_path: Path, part: str) -> None:
    file = tmp_path / "vault.json"
    Vault.open(file, PASSPHRASE, create=True).generate("a")
    told = json.loads(file.read_text())
    told[part] = ("0" if told[part][0] != "0" else "1") + told[part][1:]
    file.write_text(json.dumps(told))
    with pytest.raises(VaultError):
        Vault.open(file, PASSPHRASE)
    file.write_text("{}")
    with pytest.raises(VaultError):
        Vault.open(file, PASSPHRASE, create=True)
