"""A key, a rules file and an address book that are mounted one by one, as containers are given them. Needs root.

In a mount namespace of its own, as a user without rights: the key is a secret of root that a group may read, on a
read-only mount; the rules and the book are single files that may be written, in a folder in which no other file can be
made (it is root's; it is read-only), or in which no other one can take their place (they are mount points).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

from stronghold_p2p import AddressBook, Firewall, Identity, Rule
from tests.field.figure import Figure
from tests.netns import Unavailable

USER, GROUP = 1_000, 5_000
SAVES = 10  # of each file, in each kind of folder
KINDS = ("root's", "read-only", "ours")


def files_that_are_mounted() -> Figure:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        alone = ["unshare", "--mount", "--propagation", "private", sys.executable, "-m", __name__, folder]
        if os.geteuid():
            raise Unavailable("only root may mount")
        try:
            done = subprocess.run(alone, stdout=subprocess.PIPE, text=True, check=False, timeout=60)
        except FileNotFoundError:
            raise Unavailable("unshare (util-linux) is missing") from None
    return Figure(done.stdout.strip() or "nothing", "all, all, 0", done.returncode == 0)


def inside(folder: Path) -> None:
    """In the namespace, as root: mount what a container would have, and use it as somebody else."""
    kept = left = keys = 0
    for number, kind in enumerate(KINDS):
        place = folder / str(number)
        place.mkdir()
        app = mounted(place, kind)
        answer, tell = os.pipe()
        if (child := os.fork()) == 0:
            try:
                os.setgroups([GROUP])
                os.setgid(USER)
                os.setuid(USER)
                os.write(tell, b"%d %d" % used(app))
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0)
        os.close(tell)
        os.waitpid(child, 0)
        with os.fdopen(answer) as told:
            key, saves = map(int, (told.read() or "0 0").split())
        keys, kept, left = keys + key, kept + saves, left + len(list(app.iterdir())) - 3
    wanted = 2 * SAVES * len(KINDS)
    figures = f"{keys} of {len(KINDS)} keys read, {kept} of {wanted} saves kept, {left} files left over"
    print(figures, flush=True)
    raise SystemExit((keys, kept, left) != (len(KINDS), wanted, 0))


def mounted(place: Path, kind: str) -> Path:
    """The folder of the program: ``bob.key``, ``rules.toml`` and ``book.json``, each a mount of its own."""
    host, app = place / "host", place / "app"
    host.mkdir()
    app.mkdir()
    Identity().save(host / "bob.key")
    (host / "rules.toml").write_text("version = 1\n")
    AddressBook().save(host / "book.json")
    os.chown(host / "bob.key", 0, GROUP)
    os.chmod(host / "bob.key", 0o440)
    for name in ("rules.toml", "book.json"):
        os.chmod(host / name, 0o600)
        os.chown(host / name, USER, USER)
    for name in ("bob.key", "rules.toml", "book.json"):
        (app / name).touch()
    if kind == "ours":
        os.chown(app, USER, USER)
    if kind == "read-only":
        mount("--bind", app, app)
    for name in ("bob.key", "rules.toml", "book.json"):
        mount("--bind", host / name, app / name)
    mount("-o", "remount,bind,ro", app / "bob.key")
    if kind == "read-only":
        mount("-o", "remount,bind,ro", app)
    return app


def mount(*arguments: object) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)


def used(app: Path) -> tuple[int, int]:
    """Whether the key could be read, and how many saves are found again by who reads the file then."""
    identity, kept = Identity.load(app / "bob.key", create=True), 0
    for number in range(SAVES):
        firewall = Firewall.load(app / "rules.toml")
        firewall.ban(f"203.0.113.{number}")
        firewall.set(Rule.ALLOW, subnet=f"192.0.2.{SAVES - number}")
        if number % 2:  # a shorter file, too
            firewall.unban(f"203.0.113.{number - 1}")
        firewall.save()
        kept += Firewall.load(app / "rules.toml").rules() == firewall.rules()
        book = AddressBook.load(app / "book.json")
        book.add(identity.peer_id, f"/ip4/192.0.2.7/tcp/{4_001 + number}")
        book.save()
        kept += AddressBook.load(app / "book.json").addresses(identity.peer_id) == book.addresses(identity.peer_id)
    return 1, kept


if __name__ == "__main__":
    inside(Path(sys.argv[1]))
