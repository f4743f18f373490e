"""Hostile rows 73 to 75 and 77 to 81, and of hostile row 96 what concerns rules: ways around the firewall."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from harness.process import Patience
from stronghold_p2p.codes import GoAway, Reset
from stronghold_p2p.encoding.base58 import encode as base58
from tests.hostile.arena import MIB, Arena, Program
from tests.hostile.client import Peer, connect, half_way, third
from tests.hostile.codec import Identity, line, prefixed, propose
from tests.hostile.frames import ACK, FIN, RST, SYN, WINDOW, data, update
from tests.hostile.names import GUARDED, IDENTIFY, MULTISTREAM
from tests.hostile.test_stored import written_by_two
from tests.hostile.told import identify
from tests.hostile.wire import Wire

NA = MULTISTREAM + line("na")
CONFIRM = propose(GUARDED)
HERE = ("--listen", "127.0.0.1")
FULL = r"questions to hooks have \d+ of \d+ "  # what the log has to say about it
DONE = CONFIRM + prefixed(b'"done"')


def over(peer: Peer, stream: int) -> bool:
    return stream in peer.finished or stream in peer.resets or peer.body(stream) == NA


def outcome(peer: Peer, stream: int, within: float = 3.0) -> str:
    """``answer``, ``na`` as for what is not served, ``refused`` (the end without a byte), or the code of a reset."""
    assert peer.pump(lambda: over(peer, stream), within), f"stream {stream} does not end: {peer.body(stream)!r}"
    code = peer.resets.get(stream)
    if code == Reset.NEGOTIATION_FAILED:  # the refusal, and then what it has sent without waiting, which is no proposal
        return "na"
    if code is not None and peer.body(stream) != NA:
        return f"reset {code:#x}"
    return {DONE: "answer", NA: "na", CONFIRM: "refused", b"": "refused"}.get(peer.body(stream), "something else")


def asked(peer: Peer, message: object = "Ping") -> str:
    return outcome(peer, peer.ask(GUARDED, message))


def stale(guard: Program, question: int) -> bool:
    """Say yes to a question; whether nobody waits for the answer any more."""
    return bool(guard.ask(do="answer", question=question, yes=True)["stale"])


def until(guard: Program, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The state, once the condition holds."""
    end = time.monotonic() + Patience.of(3.0)
    while not condition(found := guard.state()):
        assert time.monotonic() < end, f"never: {found}"
        time.sleep(0.005)
    return found


def test_row_73_a_rejected_peer_sends(arena: Arena) -> None:
    """10 MiB of a rejected peer; the first stream together with message 3; before the rules are loaded"""
    body = prefixed(bytes(WINDOW - 200))[: WINDOW - 200]
    with arena.guard(memory=2 * MIB) as guard:
        for rule in ("reject", None, {"only": ["Ping"], "then": "reject"}):
            guard.rules((rule, {}))
            with guard.connect() as peer:
                for _ in range(arena.pick(14, 40)):  # windows of 256 KiB
                    stream = peer.open(GUARDED, body)
                    assert outcome(peer, stream) == "na"
                    assert peer.credit[stream] == WINDOW - len(propose(GUARDED) + body), "it was given more window"
                assert peer.alive()  # and who waits for the answer cannot tell it from what is not served
                for stream in (peer.open("/nobody/serves/this"), peer.open(GUARDED)):
                    assert peer.says(stream, NA)
                    assert (peer.body(stream), stream in {*peer.resets, *peer.finished}) == (NA, False)
            with together_with_message_3(guard) as peer:
                assert outcome(peer, 1) == "na"
        assert (guard.state()["read"], guard.state()["handled"]) == (0, [])
    before_the_rules_are_loaded(arena)


def together_with_message_3(guard: Program) -> Peer:
    """The stream and its request leave in one segment with the end of the handshake."""
    wire = Wire.connect(guard.address)
    handshake = half_way(wire)
    last, channel = third(handshake), handshake.channel(wire)
    peer = Peer(channel, client=True)
    first = propose(GUARDED) + prefixed(b'"Ping"')
    peer.credit[1] = WINDOW - len(first)
    wire.send(last + channel.records(data(1, first, SYN) + update(1, 0, FIN)))
    return peer


def before_the_rules_are_loaded(arena: Arena) -> None:
    """From the first moment at which somebody listens, the rules of the file hold."""
    identity, got = Identity(), list[str]()
    with TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as free:
        rules, port = Path(folder) / "rules.toml", free.getsockname()[1]
        others = "".join(f'[[rules]]\nprotocol = "/{one}"\nrule = "allow"\n' for one in range(arena.pick(300, 3_000)))
        last = f'[[rules]]\npeer = "{identity.name}"\nrule = "reject"\n[[rules]]\nrule = "allow"\n'
        rules.write_text(f"version = 1\n{others}{last}", encoding="utf-8")
        free.close()

        def first_of_all() -> None:
            while not got:
                with suppress(OSError), connect(("127.0.0.1", port), identity) as peer:
                    got.append(asked(peer))
                time.sleep(0.002)

        early = threading.Thread(target=first_of_all)
        early.start()
        with arena.start("node", *HERE, "--rules", str(rules), "--port", str(port)) as guard:
            early.join()
            assert (got, guard.state()["read"]) == (["na"], 0)


MANY = (MIB - 2) // 3
BAD_JSON = (  # deep, long, or not one text with one meaning
    *(b"[" * depth + b"]" * depth for depth in (1_000, 100_000)),
    b'{"Ping":' * 65 + b"1" + b"}" * 65,
    *(b"9" * 5_000, b'{"Ping":NaN}', b'{"Ping":-Infinity}', b'{"Ping":1e999}', b'"Ping" "Delete"'),
    *(b'{"Ping":1,"Ping":2}', b'{"Ping":{"a":1,"\\u0061":2}}', b'{"Ping":"\\ud800"}', b'{"Ping":"\xff"}'),
    *(b"[" + b",".join([each] * MANY) + b"]" for each in (b"{}", b"[]")),
    b"[" * 60 + b",".join([b"[" * 60 + b"]" * 60] * 8_600) + b"]" * 60,
)


def test_row_74_json_that_costs_or_deceives(arena: Arena) -> None:
    """JSON that is deep, long, ambiguous or no text; what was judged is what is delivered"""
    stalls = {}
    with arena.guard(memory=32 * MIB) as guard, guard.connect() as peer:
        guard.rules(({"only": ["Ping"]}, {}))
        for body in BAD_JSON:
            stream = peer.open(GUARDED)
            peer.write(stream, prefixed(body), size=WINDOW)
            assert outcome(peer, stream) == f"reset {Reset.PROTOCOL_VIOLATION:#x}", body[:40]
            stalls[body[:40]] = guard.state()["stall"]
        found = guard.state()
        assert (found["handled"], found["read"]) == ([], len(BAD_JSON)), "each is read once"
        guard.ask(do="forget")
        guard.ask(do="hooks", ask="hold")
        guard.rules(("ask", {}))
        stream = peer.ask(GUARDED, {"Ping": [1, {"x": "y"}]})
        until(guard, lambda now: now["questions"] == 1)
        guard.ask(do="answer", question=0, yes=True)
        assert outcome(peer, stream) == "answer"
        found = guard.state()
        assert (found["read"], found["same"], found["handled"]) == (1, True, [{"Ping": [1, {"x": "y"}]}])
        guard.rules(("allow", {}))
        for item in (b"0", b'""', b"0.5", b"null"):  # what may be read costs no more than this
            body = b"[" + b",".join([item] * ((MIB - 2) // (len(item) + 1))) + b"]"
            stream = peer.open(GUARDED)
            peer.write(stream, prefixed(body), size=WINDOW)
            assert outcome(peer, stream) == "answer", item
            stalls[item] = guard.state()["stall"]
    longest = max(stalls, key=lambda name: stalls[name])
    arena.bound(f"stall in s, for {longest!r}:", stalls[longest], 0.1)


def says(peer_rule: Any, default: Any, direction: str) -> str:
    """The reference: what becomes of a request ``"Ping"``."""
    rule = peer_rule if peer_rule is not None else default
    if rule == "ask" or (rule is None and direction == "in"):
        return "question"  # and no answer is a no
    return "passes" if rule in (None, "allow", {"only": ["Ping"]}) else "rejected"


def test_row_75_every_rule_set_and_removed(arena: Arena) -> None:
    """Every rule for a peer and for all, both ways, never set, set and removed; no rule is a question"""
    rules: tuple[Any, ...] = ("allow", "reject", "ask", {"only": ["Ping"]}, {"only": ["Get"]})
    removed = rules[: arena.pick(1, len(rules))]
    histories = [(None,), *((rule,) for rule in rules), *((rule, None) for rule in removed)]
    identity = Identity()
    with arena.guard() as guard, guard.connect(identity) as peer:
        guard.ask(do="hooks", ask="silent", no_rule="silent")
        for direction, mine, all_others in itertools.product(("in", "out"), histories, histories):
            scopes: list[dict[str, str]] = [{"peer": identity.name, "direction": direction}, {"direction": direction}]
            guard.rules(*((rule, scopes[0]) for rule in mine), *((rule, scopes[1]) for rule in all_others))
            expected = says(mine[-1], all_others[-1], direction)
            questions = guard.state()["questions"]
            got = let_in(peer) if direction == "in" else let_out(guard, peer, identity, expected)
            asks = guard.state()["questions"] - questions
            verdict = ("passes" if expected == "passes" else "rejected", expected == "question")
            assert (got, asks) == verdict, (direction, mine, all_others)


def let_in(peer: Peer) -> str:
    return {"answer": "passes", "na": "rejected", "refused": "rejected"}[asked(peer)]


def let_out(guard: Program, peer: Peer, identity: Identity, expected: str) -> str:
    """A request of the guard's own: what passes opens a stream to us, which we reset.

    With a code: a reset without one, before the protocol was echoed, is asked about on another stream.
    """
    before = len(peer.opened)
    guard.tell(do="out", peer=identity.name)
    if expected == "passes":
        assert peer.pump(lambda: len(peer.opened) > before), "nothing came out"
        peer.send(update(peer.opened[-1], Reset.RATE_LIMITED, RST))
    error = guard.read()["error"]
    return {"StreamReset": "passes", "Rejected": "rejected"}[error]


def test_row_77_rules_that_change_under_a_request(arena: Arena) -> None:
    """Tightened, or banned, while a request is half sent, asked about, or being answered"""
    with arena.guard() as guard:
        guard.ask(do="hooks", ask="hold")
        for banned in (False, True):
            for moment in ("half sent", "asked about", "answered"):
                identity = Identity()
                guard.ask(do="forget")
                guard.rules(("ask" if moment == "asked about" else "allow", {}))
                guard.ask(do="hold", on=moment == "answered")
                with guard.connect(identity) as peer:
                    change_under(guard, peer, identity, moment, banned=banned, arena=arena)
                found = until(guard, lambda now: now["connections"] == guard.idle and not now["asks"])
                assert len(found["handled"]) == (moment == "answered")
                guard.ask(do="hold", on=False)
                if banned:
                    guard.ask(do="ban", whom=identity.name, back=True)


def change_under(guard: Program, peer: Peer, identity: Identity, moment: str, *, banned: bool, arena: Arena) -> None:
    body = prefixed(b'"Ping"')
    if moment == "half sent":
        stream = peer.open(GUARDED, body[:3])
        assert peer.pump(lambda: peer.body(stream) == CONFIRM or stream in peer.acked)
    else:
        stream = peer.ask(GUARDED, "Ping")
        until(guard, lambda now: now["questions"] == 1 if moment == "asked about" else len(now["handled"]) == 1)
    start = time.monotonic()
    if banned:
        guard.ask(do="ban", whom=identity.name)
        peer.ends(GoAway.GATED, 1.0)
        arena.took(time.monotonic() - start, 0.1)
        assert peer.body(stream) in {b"", CONFIRM}
        return
    guard.ask(do="rules", entries=[("reject", {"peer": identity.name})], clear=False)
    if moment == "half sent":
        peer.send(data(stream, body[3:], FIN))
    if moment == "answered":
        guard.ask(do="hold", on=False)
    assert outcome(peer, stream) == "refused", (moment, peer.body(stream))
    arena.took(time.monotonic() - start, 0.1)
    if moment == "asked about":
        assert stale(guard, 0)
    assert asked(peer) == "na"


def ask_about_all(guard: Program) -> None:
    guard.rules(("ask", {}))
    guard.ask(do="hooks", ask="hold")


def asked_about(guard: Program, count: int) -> dict[str, Any]:
    """The state, once so many questions wait for an answer."""
    return until(guard, lambda now: now["open"] == count)


def test_row_78_answers_that_come_too_late(arena: Arena) -> None:
    """Approved after disconnect, after time-out, twice, for a question of before the reconnect"""
    wait = arena.pick(0.6, 2.0)
    with arena.guard("--timeout", f"ask={wait}") as guard:
        ask_about_all(guard)
        identity = Identity()
        with guard.connect(identity) as peer:
            peer.ask(GUARDED, "Ping")
            asked_about(guard, 1)
        until(guard, lambda now: now["open"] == 0 and now["asks"] == 0)  # with the connection
        with guard.connect(identity) as peer:
            assert stale(guard, 0)
            assert guard.state()["handled"] == []
            again = peer.ask(GUARDED, "Ping")
            asked_about(guard, 1)
            assert stale(guard, 0)  # not for the one of the new connection
            assert over(peer, again) is False
            assert outcome(peer, again, wait + 2.0) == "refused"  # nobody has answered this one
            assert stale(guard, 1)
            both = [peer.ask(GUARDED, {"Ping": number}) for number in range(2)]
            asked_about(guard, 2)
            answers = [stale(guard, number) for number in (2, 3, 2, 3)]
            assert answers == [False, False, True, True]
            assert [outcome(peer, stream) for stream in both] == ["answer", "answer"]
            reset = peer.ask(GUARDED, "Ping")
            asked_about(guard, 1)
            peer.finish(reset, RST)
            asked_about(guard, 0)
            assert stale(guard, 4)
            assert peer.alive()
        assert sorted(map(str, guard.state()["handled"])) == ["{'Ping': 0}", "{'Ping': 1}"]


def refused_at_once(peer: Peer, streams: list[int], count: int) -> None:
    """As many as this, and no more."""

    def ended() -> list[int]:
        return [stream for stream in streams if over(peer, stream)]

    assert peer.pump(lambda: len(ended()) >= count, 5.0), "not at once"
    assert len(ended()) == count
    assert {outcome(peer, stream) for stream in ended()} <= {"refused"}


def refused_bodies(peer: Peer, body: object, count: int) -> None:
    """Fifteen of these: so many are refused at once."""
    streams = [peer.open(GUARDED) for _ in range(15)]
    for stream in streams:
        peer.write(stream, prefixed(json.dumps(body, separators=(",", ":")).encode()), size=WINDOW)
    refused_at_once(peer, streams, count)


def test_row_79_more_questions_than_anybody_answers(arena: Arena) -> None:
    """10,000 requests of one peer wait to be approved; 300 peers with 16 each; large ones"""
    patience = ("--timeout", "ask=60", "--timeout", "request=60", "--limit", "connections=500")
    with arena.guard(*patience, memory=48 * MIB, tolerated=FULL) as guard:
        ask_about_all(guard)
        with ExitStack() as stack:
            for number in range(arena.pick(18, 300)):
                peer = stack.enter_context(guard.connect())
                refused_at_once(
                    peer, [peer.ask(GUARDED, "Ping") for _ in range(20)], 20 - max(0, min(16, 192 - 16 * number))
                )
                for _ in range(0 if number else arena.pick(4, 125)):
                    refused_at_once(peer, [peer.ask(GUARDED, "Ping") for _ in range(80)], 80)
                assert guard.state()["asks"] == min(192, 16 * (number + 1))  # of 256: the rest is hostile row 132
        until(guard, lambda now: now["asks"] == 0)
        with ExitStack() as stack:  # 24 of 32 MiB of them wait, and 8 of one peer
            for number in range(4):
                peer = stack.enter_context(guard.connect())
                refused_bodies(peer, {"Ping": "x" * (MIB - 500)}, 7 if number < 3 else 15)
            assert 23 * MIB < guard.state()["ask_memory"] <= 24 * MIB
        found = until(guard, lambda now: now["asks"] == 0)
        assert (found["handled"], found["ask_memory"]) == ([], 0)
    with arena.guard(*patience, memory=24 * MIB) as guard:
        ask_about_all(guard)
        with guard.connect() as peer:  # short, but 24 times as long in memory, and as they are reckoned 64 times
            refused_bodies(peer, {"Ping": [{}] * 20_000}, 13)
        until(guard, lambda now: now["asks"] == 0)


def test_row_80_predicates_and_hooks_that_fail(arena: Arena) -> None:
    """They raise, return something else, are cancelled, never return, call the network, take long"""
    wait = arena.pick(0.4, 8.0)
    with arena.guard("--timeout", f"ask={wait}") as guard, guard.connect() as other:
        for predicate in ("raises", "cancels", "number", "coroutine"):
            guard.rules(({"when": predicate, "otherwise": "allow"}, {}))
            with guard.connect() as peer:
                assert [asked(peer) for _ in range(3)] == ["refused"] * 3, predicate
            assert guard.state()["errors"] == 1, predicate
            guard.ask(do="forget")
        for hook in ("raises", "cancelled", "number", "text", "none", "never", "stubborn", "node"):
            guard.rules(("ask", {}))
            guard.ask(do="hooks", ask=hook)
            with guard.connect() as peer:
                start = time.monotonic()
                stream = peer.ask(GUARDED, "Ping")
                other.request(b"not held up", 2.0)
                assert outcome(peer, stream, wait + 2.0) == "refused", hook
                assert time.monotonic() - start < wait * 5, hook
            assert guard.state()["errors"] == (hook in {"raises", "number", "text", "none", "plain"}), hook
            until(guard, lambda now: now["asks"] == 0)
            guard.ask(do="forget")
        assert guard.state()["handled"] == []


def cid(identity: Identity) -> str:
    """CIDv1 with the codec libp2p-key, in base32 (peer-ids, "String representation")."""
    return "b" + base64.b32encode(b"\x01\x72" + identity.peer).decode().rstrip("=").lower()


def test_row_81_other_names_for_the_same(arena: Arena) -> None:
    """A peer under other texts, over two connections; protocol ids that are nearly it; requests where answers belong"""
    identity = Identity()
    with arena.guard() as guard:
        guard.rules(("allow", {"peer": cid(identity)}))
        with guard.connect(identity) as one, guard.connect(identity) as two, guard.connect() as stranger:
            assert [asked(peer) for peer in (one, two, stranger)] == ["answer", "answer", "na"]
            guard.rules(("allow", {}), ("reject", {"peer": identity.name}))
            assert [asked(peer) for peer in (one, two, stranger)] == ["na", "na", "answer"]
            hashed = base58(
                b"\x12\x20" + hashlib.sha256(identity.public).digest()
            )  # a form that an Ed25519 key has not
            guard.rules(("reject", {}), ("allow", {"peer": hashed}))
            assert [asked(peer) for peer in (one, two)] == ["na", "na"]
            guard.rules(("allow", {"protocol": GUARDED}))
            ends = ("/", ".1", " ", ".0.0")
            for name in [*(GUARDED + end for end in ends), GUARDED.upper(), GUARDED[1:], f"/x{GUARDED}", GUARDED[:-1]]:
                stream = one.open(name, prefixed(b'"Ping"'))
                assert outcome(one, stream) == "na", name
            guard.rules(("reject", {}))  # what identify says of us opens nothing
            first = one.opened[0]  # identify asks as soon as we are connected
            assert propose(IDENTIFY) in one.body(first)
            said = identify(identity, protocols=[GUARDED, "/allow", "/ipfs/id/1.0.0"])
            one.send(data(first, propose(IDENTIFY) + prefixed(said), ACK | FIN))
            assert one.alive()
            assert asked(one) == "na"
            guard.rules(("allow", {"protocol": GUARDED}))
            before, opened = len(guard.state()["handled"]), len(one.opened)
            guard.tell(do="out", peer=identity.name)  # its answer, and behind it a request of ours
            assert one.pump(lambda: len(one.opened) > opened)
            one.send(data(one.opened[-1], CONFIRM + prefixed(b'"done"') + prefixed(b'"Ping"'), ACK | FIN))
            assert guard.read()["error"] == "Malformed"
            assert len(guard.state()["handled"]) == before
            guard.ask(do="ban", whom=cid(identity))
            for peer in (one, two):
                peer.ends(GoAway.GATED, 2.0)
            assert asked(stranger) == "answer"
        guard.ask(do="ban", whom=identity.name, back=True)


ALLOW = '[[rules]]\nrule = "allow"\n'
SPOILT = (  # a text, its last part, and how often that is repeated
    *((text, "", 0) for text in ("", ALLOW, f"version = 0\n{ALLOW}", f"version = 2\n{ALLOW}")),
    ('version = 1\n[[rules]]\nper = "x"\nrule = "allow"\n', "", 0),
    ('version = 1\n[[rule]]\nrule = "allow"\n', "", 0),
    ("", "\0\1\2", 100),
    ("version = 1\n#", "\udcff", 10),
    (f"version = 1\n{ALLOW}# ", "x", 1 << 20),
    ("version = 1\nrules = ", "[", 100_000),
)


def test_row_96_rules_that_were_spoilt(arena: Arena) -> None:
    """A rules file cut at every byte, garbage, huge, of another version; two writers, a full disk, a link"""
    friends = [Identity().name for _ in range(3)]
    with arena.start("reader") as reader, TemporaryDirectory() as folder:
        file, link, both = (os.path.join(folder, name) for name in ("rules.toml", "link.toml", "both.toml"))
        made = reader.ask(do="rules", path=file, friends=friends, banned=["203.0.113.0/24"])
        assert made["mode"] == "0o600"
        cut = reader.ask(do="cut", path=file, step=arena.pick(20, 1))
        assert (cut["allows"], cut["denies"]) == (0, 0), "a file that was cut short counts"
        outcomes = reader.ask(do="spoil", path=os.path.join(folder, "spoilt.toml"), texts=SPOILT)["each"]
        assert outcomes == ["refused"] * len(SPOILT)
        before = Path(file).read_bytes()
        reader.ask(do="limit_files", size=100)
        assert "cannot be written" in reader.ask(do="save_rules", path=file, count=1)["text"]
        reader.ask(do="limit_files", size=-1)
        assert (Path(file).read_bytes(), os.listdir(folder)) == (before, ["rules.toml"])
        written_by_two(arena, both, ("save_rules", "load_rules"), "count", (20, 40), arena.pick(10, 300))
        assert sorted(os.listdir(folder)) == ["both.toml", "rules.toml"]
        os.symlink(file, link)
        reader.ask(do="rules", path=link, friends=friends[:1], banned=[])
        assert os.path.islink(link)
        assert friends[1] not in Path(file).read_text(encoding="utf-8")
    bad_edits(arena)


def bad_edits(arena: Arena) -> None:
    """While the network runs: what cannot be understood changes nothing, and is told."""
    identity = Identity()
    with TemporaryDirectory() as folder:
        rules = Path(folder) / "rules.toml"
        good = f'version = 1\n[[rules]]\npeer = "{identity.name}"\nrule = "reject"\n'
        rules.write_text(good, encoding="utf-8")
        start = arena.start("node", *HERE, "--rules", str(rules), tolerated="rules stay as they are: ")
        with start as guard, guard.connect(identity) as peer:
            assert asked(peer) == "na"
            rules.write_text('version = 1\n[[rules]]\nrul = "allow"\n', encoding="utf-8")
            until(guard, lambda now: now["seen"].get("RulesLoaded ConfigError") == 1)
            assert asked(peer) == "na"
            rules.write_text(good.replace("reject", "allow"), encoding="utf-8")
            until(guard, lambda now: now["seen"].get("RulesLoaded") == 1)
            assert asked(peer) == "answer"
