"""The rules file on the disk: hostile row 96."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import threading
import time
from pathlib import Path
from unittest.mock import Mock

import pytest

from stronghold_p2p.errors import ConfigError
from stronghold_p2p.firewall.asking.firewall import Firewall, file_of
from stronghold_p2p.firewall.asking.rules_file import MAX_FILE, REST, RulesFile, write
from stronghold_p2p.firewall.rules import Attempt, Rule
from tests.firewall.attempts import ALICE, BOB, attempt

ASKING = 'version = 1\n[[rules]]\nrule = "ask"\n'
ALLOWING = 'version = 1\n[[rules]]\nrule = "allow"\n'


def is_short(asked: Attempt) -> bool:
    return len(asked.view) < 5


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A rules file that says to ask."""
    found = tmp_path / "rules.toml"
    found.write_text(ASKING)
    return found


def test_a_firewall_from_a_file_and_back(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text('version = 1\nbanned = ["10.0.0.0/8"]\n[[rules]]\nrule = { when = "short", otherwise = "ask" }\n')
    firewall = Firewall.load(str(path), predicates={"short": is_short})
    assert firewall.banned == {"10.0.0.0/8"}
    assert firewall.rules() == (({"direction": "in"}, Rule.when(is_short, name="short", otherwise=Rule.ASK)),)
    firewall.unban("10.0.0.0/8")
    firewall.set(Rule.ALLOW, peer=ALICE)
    firewall.save()
    again = Firewall.load(path, predicates={"short": is_short})
    assert (again.banned, again.rules()) == (frozenset(), firewall.rules())
    firewall.set(Rule.when(is_short), peer=BOB)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="give its predicate a name"):
        firewall.save()
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["rules.toml"]


def test_saving_elsewhere(tmp_path: Path, path: Path) -> None:
    firewall = Firewall()
    firewall.set(Rule.when(is_short, name="short"))
    with pytest.raises(ConfigError, match=r"give save\(path\) one"):
        firewall.save()
    firewall.save(tmp_path / "a.toml")
    assert file_of(firewall) is None
    loaded = Firewall.load(tmp_path / "a.toml", predicates={"short": is_short})
    loaded.save(str(tmp_path / "b.toml"))
    assert filed(loaded).path == tmp_path / "a.toml"
    assert (tmp_path / "b.toml").read_bytes() == (tmp_path / "a.toml").read_bytes()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    with pytest.raises(ConfigError, match="does not exist") as caught:
        Firewall.load(path)
    assert caught.value.where == str(path)
    firewall = Firewall.load(path, create=True)
    assert (firewall.rules(), path.exists()) == ((), False)
    firewall.set(Rule.ASK)
    firewall.save()
    assert Firewall.load(path).rules() == firewall.rules()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("create", [False, True])
def test_what_cannot_be_read_does_not_start(tmp_path: Path, path: Path, create: bool) -> None:
    garbage, huge, fifo = tmp_path / "garbage", tmp_path / "huge", tmp_path / "fifo"
    garbage.write_bytes(b"version = 1\n\xff\xfe\x00")
    huge.write_bytes(b"#" * (MAX_FILE + 1))
    os.mkfifo(fifo)
    for path, about in (
        (garbage, "garbage:2: not UTF-8"),
        (huge, "too large"),
        (fifo, "regular"),
        (tmp_path, "directory|regular"),
    ):
        began = time.process_time()
        with pytest.raises(ConfigError, match=about) as caught:
            Firewall.load(path, create=create)
        assert time.process_time() - began < 1
        assert caught.value.where.startswith(str(path))


def test_a_file_of_the_greatest_size(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text((ASKING + "#\n" * MAX_FILE)[:MAX_FILE])
    assert Firewall.load(path).rules() == (({"direction": "in"}, Rule.ASK),)


def test_what_could_not_be_read_again_is_not_written(path: Path) -> None:
    with pytest.raises(ConfigError, match=f"at most {MAX_FILE}"):
        write(path, "#" * (MAX_FILE + 1))
    with pytest.raises(ConfigError, match="cannot be written"):
        write(path.parent / "none" / "rules.toml", ASKING)
    assert path.read_text() == ASKING


def following(path: Path) -> tuple[Firewall, RulesFile]:
    firewall = Firewall.load(path)
    return firewall, filed(firewall)


def filed(firewall: Firewall) -> RulesFile:
    file = file_of(firewall)
    assert file is not None
    return file


def looked(firewall: Firewall, *seconds: float) -> None:
    async def look() -> None:
        for now in seconds or range(10):
            await filed(firewall).refresh(float(now))

    asyncio.run(look())


def told(file: RulesFile) -> str:
    return "" if file.error is None else str(file.error)


def change(path: Path, text: str) -> None:
    """Another content in the same file; its time is surely another."""
    stamp = path.stat().st_mtime_ns
    path.write_text(text)
    os.utime(path, ns=(stamp + 10**9, stamp + 10**9))


def test_a_change_is_followed_when_the_file_has_come_to_rest(path: Path) -> None:
    firewall, file = following(path)
    heard: list[Rule | None] = []
    firewall.watch(lambda: heard.append(firewall.decide(attempt())))
    looked(firewall, 1.0)
    change(path, ALLOWING[:20])  # an editor that writes in parts
    looked(firewall, 2.0)
    change(path, ALLOWING)
    looked(firewall, 3.0)
    looked(firewall, 3.0 + REST / 2)
    assert (file.loads, firewall.decide(attempt())) == (0, Rule.ASK)
    looked(firewall, 3.0 + REST)
    assert (file.loads, file.error, heard) == (1, None, [Rule.ALLOW])
    looked(firewall, 10, 11)
    assert (file.loads, heard) == (1, [Rule.ALLOW])


def test_a_file_that_is_replaced_is_another_one(tmp_path: Path, path: Path) -> None:
    firewall, file = following(path)
    before = path.stat()
    other = tmp_path / "other"
    other.write_text(ASKING)
    os.utime(other, ns=(before.st_mtime_ns, before.st_mtime_ns))
    os.replace(other, path)
    assert path.stat().st_size == before.st_size
    looked(firewall, 1, 2)
    assert file.loads == 1


def test_a_bad_edit_changes_nothing_and_is_told_once(path: Path) -> None:
    firewall, file = following(path)
    change(path, ALLOWING + '[[rules]]\npeer = "x"\nrule = "allow"\n')
    looked(firewall)
    assert (file.loads, firewall.rules()) == (1, (({"direction": "in"}, Rule.ASK),))
    assert str(file.error).startswith(f"{path}:5: peer 'x'")
    assert file.error is not None
    assert file.error.where == f"{path}:5"
    change(path, ALLOWING)
    looked(firewall, 10, 11, 12)
    assert (file.loads, firewall.decide(attempt())) == (2, Rule.ALLOW)
    assert told(file) == ""


def test_a_file_that_goes_keeps_its_rules_and_may_come_back(path: Path) -> None:
    firewall, file = following(path)
    path.unlink()
    looked(firewall)
    assert (file.loads, firewall.decide(attempt())) == (1, Rule.ASK)
    assert "does not exist" in str(file.error)
    path.write_text(ALLOWING)
    looked(firewall, 10, 11, 12)
    assert (file.loads, firewall.decide(attempt())) == (2, Rule.ALLOW)
    assert told(file) == ""


def test_a_file_that_cannot_be_read_now_is_tried_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    firewall, file = following(path)
    change(path, ALLOWING)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", Mock(side_effect=OSError(errno.EMFILE, os.strerror(errno.EMFILE))))
        looked(firewall, 0, 1, 2, 3, 4)
    assert (file.loads, firewall.decide(attempt())) == (1, Rule.ASK)
    assert "Too many open files" in str(file.error)
    looked(firewall, 5.0)
    assert (file.loads, firewall.decide(attempt())) == (2, Rule.ALLOW)
    assert told(file) == ""


def test_what_we_wrote_ourselves_is_no_change(path: Path) -> None:
    firewall, file = following(path)
    firewall.set(Rule.ALLOW, peer=ALICE)
    firewall.save()
    looked(firewall)
    assert file.loads == 0
    assert len(firewall.rules()) == 2


def test_a_file_that_is_made_later(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    firewall = Firewall.load(path, create=True)
    looked(firewall, 1, 2)
    assert (filed(firewall).loads, filed(firewall).error) == (0, None)
    path.write_text(ASKING)
    looked(firewall, 3, 4)
    assert (filed(firewall).loads, firewall.decide(attempt())) == (1, Rule.ASK)


def test_the_file_can_be_read_again_at_any_time(path: Path) -> None:
    firewall, file = following(path)
    change(path, ALLOWING)
    firewall.reload()
    assert firewall.decide(attempt()) == Rule.ALLOW
    change(path, "version = 2")
    with pytest.raises(ConfigError, match="version 2"):
        firewall.reload()
    assert firewall.decide(attempt()) == Rule.ALLOW
    looked(firewall)
    assert file.loads == 0  # whoever called it has been told


async def test_a_file_is_followed_off_the_loop_and_what_we_do_meanwhile_counts(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    firewall, file = following(path)
    change(path, ALLOWING)
    threads, look = list[int](), file._look

    def slow() -> object:
        threads.append(threading.get_ident())
        time.sleep(0.05)
        return look()

    monkeypatch.setattr(file, "_look", slow)
    await file.refresh(0.0)
    reading = asyncio.ensure_future(file.refresh(1.0))
    await asyncio.sleep(0)
    await file.refresh(2.0)  # it is being read
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()
    firewall.set(Rule.REJECT)
    firewall.save()
    await reading
    assert (file.loads, firewall.decide(attempt())) == (0, Rule.REJECT)


def test_no_file_is_no_work() -> None:
    firewall = Firewall()
    with pytest.raises(ConfigError, match=r"take Firewall\.load"):
        firewall.reload()
    assert (file_of(firewall), firewall.version) == (None, 0)
