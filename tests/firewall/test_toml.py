"""Rules as text: what is read, what is refused and where, and that what is written is read back."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stronghold_p2p.errors import ConfigError
from stronghold_p2p.firewall.asking.firewall import Firewall
from stronghold_p2p.firewall.entries import Content, Key, key_of
from stronghold_p2p.firewall.rules import Attempt, Rule
from stronghold_p2p.firewall.toml import dumps, loads
from tests.firewall.attempts import ALICE, BOB, CAROL, ECHO, attempt

EXAMPLE = """version = 1
banned = ["203.0.113.0/24"]  # peer ids, subnets
[[rules]]  # the default
rule = "ask"
[[rules]]  # selectors: peer, protocol, subnet, direction
subnet = "10.0.0.0/8"
rule = { only = ["Ping"], otherwise = { when = "short", otherwise = "ask" } }
"""


def is_short(asked: Attempt) -> bool:
    return len(asked.view) < 5


def is_near(asked: Attempt) -> bool:
    return True


PREDICATES: dict[str, Callable[[Attempt], bool]] = {"short": is_short, "near by": is_near}


def load(text: str) -> Content:
    return loads(text, PREDICATES, "rules.toml")


def test_the_example_of_the_design() -> None:
    content = load(EXAMPLE)
    assert content.banned == {ip_network("203.0.113.0/24")}
    assert content.rules == {
        key_of(): Rule.ASK,
        key_of(subnet="10.0.0.0/8"): Rule.only(
            ["Ping"], otherwise=Rule.when(is_short, name="short", otherwise=Rule.ASK)
        ),
    }


def test_every_selector() -> None:
    content = load(f"""
version = 1
banned = ["{ALICE.to_cid()}", '{BOB}', "2001:db8::1", "::ffff:192.0.2.0/120"]
[[rules]]
peer = "{ALICE}"
protocol = '/echo/1.0.0'
subnet = "10.0.0.1"
direction = "out"
rule = "reject"
[[ "rules" ]]
direction = "in"
rule = {{ when = "near by", then = {{ only = [] }}, otherwise = "allow" }}
""")
    assert content.banned == {ALICE, BOB, ip_network("2001:db8::1"), ip_network("192.0.2.0/24")}
    assert content.rules == {
        Key("out", ALICE, ECHO, ip_network("10.0.0.1/32")): Rule.REJECT,
        key_of(): Rule.when(is_near, name="near by", then=Rule.only([]), otherwise=Rule.ALLOW),
    }


@pytest.mark.parametrize("text", ["version = 1", "version = 1\n", "\n# nothing\r\nversion = 1\r\nrules = []\r\n"])
def test_a_file_without_rules(text: str) -> None:
    assert load(text) == Content()


RULE = 'version = 1\n[[rules]]\nrule = "ask"\n\n[[rules]]\n'


@pytest.mark.parametrize(
    ("text", "where", "about"),
    [
        ("", "", "version None: this release reads version = 1"),
        ("# empty\n", "", "version None"),
        ("version = 2\n", ":1", "version 2: this release reads version = 1"),
        ("\nversion = true\n", ":2", "version True"),
        ("\nversion = 1.0\n", ":2", "version 1.0"),
        ('version = "1"\n', ":1", "version '1'"),
        ("version = 1\nban = []\n", ":2", "'ban' unknown: take version, banned and"),
        ("version = 1\n[ruling]\nx = 1\n", ":2", "'ruling' unknown"),
        ("version = 1\nversion = 1\n", ":2", "Cannot overwrite a value"),
        ("version = 1\n\nbanned = [\n", ":4", "Invalid value"),
        ("version = 1\nrule: allow\n", ":2", "Expected '=' after a key"),
        ("version = 1\nx = " + "[" * 41, ":2", "nested too deep: at most 40"),
        ("version = 1\nx = " + "[{a = " * 21, ":2", "nested too deep: at most 40"),
        ("version = 1\nx = " + "9" * 257, ":2", "a key or a number has at most 256 characters"),
        ("version = 1\n" + "x" * 257 + " = 1\n", ":2", "a key or a number has at most 256 characters"),
        ("version = 1\n" + ".".join(["x"] * 21) + " = 1\n", ":2", "a key has at most 20 parts"),
        ("version = 1\n[[" + " . ".join(["'x'", '"x"'] * 11) + "]]\n", ":2", "a key has at most 20 parts"),
        ('version = 1\nx = ["""a"""", {' + ".".join(["x"] * 21) + " = 1}]\n", ":2", "a key has at most 20 parts"),
        ("version = 1\n#" + "x" * 65_536 + "\n", ":2", "a line has at most 65536 characters"),
        ('version = 1\nbanned = "10.0.0.0/8"\n', ":2", "banned is a list"),
        ("version = 1\nbanned = [5]\n", ":2", "banned is a list"),
        ('version = 1\nbanned = ["10.0.0.1/8"]\n', ":2", "banned '10.0.0.1/8': .*host bits"),
        ('version = 1\nbanned = ["somebody"]\n', ":2", "banned 'somebody'"),
        ('version = 1\nbanned = [""]\n', ":2", "banned ''"),
        ("version = 1\nrules = 5\n", ":2", r"begin with \[\[rules\]\]"),
        ("version = 1\nrules = [5]\n", ":2", r"begin with \[\[rules\]\]"),
        ("version = 1\n[rules]\nrule = 5\n", ":2", r"begin with \[\[rules\]\]"),
        (RULE, ":5", r"each entry ends with rule = \.\.\."),
        (RULE + 'rule = "allow"\npeer = "x"\n', ":6", "each entry ends with rule"),
        (RULE + 'peeer = "x"\nrule = "allow"\n', ":6", "'peeer' unknown: take peer, protocol, subnet, direction"),
        (RULE + 'peer = "x"\nrule = "allow"\n', ":6", "peer 'x'"),
        (RULE + 'peer = ""\nrule = "allow"\n', ":6", "peer '': take a text"),
        (RULE + 'protocol = 5\nrule = "allow"\n', ":6", "protocol 5: take a text"),
        (RULE + 'protocol = "conection"\nrule = "reject"\n', ":6", "protocol 'conection': ids begin with '/', and"),
        (RULE + 'subnet = "10.0.0.0/8"\nprotocol = "chat"\nrule = "allow"\n', ":7", "protocol 'chat': ids begin"),
        ('version = 1\n[[rule]]\nprotocol = "/a"\nrule = "allow"\n', ":2", "'rule' unknown: take version, banned"),
        ('version = 1\n\n[ "rule" . x ]\nrule = "allow"\n', ":3", "'rule' unknown"),
        ('version = 1\nrule = "allow"\n', ":2", "'rule' unknown"),
        (RULE + 'protocol = "/a"\nsubnet = "10/8"\nrule = "allow"\n', ":7", "subnet '10/8'"),
        (RULE + 'direction = "both"\nrule = "allow"\n', ":6", "direction 'both': take in or out"),
        (RULE + 'rule = "ask"\n', ":6", "a second rule for the same selectors"),
        (RULE + 'learned = true\nrule = "ask"\n', ":6", "learned = true marks what a hook has said of one peer"),
        (RULE + f'peer = "{ALICE}"\nlearned = false\nrule = "ask"\n', ":7", "learned = true marks"),
        (RULE + 'direction = "in"\nrule = "ask"\n', ":7", "a second rule for the same selectors"),
        (RULE + 'protocol = "/a"\nrule = "maybe"\n', ":7", "rule 'maybe': take allow, reject, ask"),
        (RULE + 'protocol = "/a"\nrule = true\n', ":7", "rule True"),
        (RULE + 'protocol = "/a"\nrule = {}\n', ":7", "either only or when"),
        (RULE + 'protocol = "/a"\nrule = { then = "ask" }\n', ":7", "either only or when"),
        (RULE + 'protocol = "/a"\nrule = { only = [], when = "short" }\n', ":7", "either only or when"),
        (RULE + 'protocol = "/a"\nrule = { only = [], els = "ask" }\n', ":7", "'els' unknown"),
        (RULE + 'protocol = "/a"\nrule = { only = "Ping" }\n', ":7", "list of variants"),
        (RULE + 'protocol = "/a"\nrule = { only = [1] }\n', ":7", "list of variants"),
        (RULE + 'protocol = "/a"\nrule = { only = [], then = 5 }\n', ":7", "rule 5"),
        (RULE + 'protocol = "/a"\n\n"rule" = { when = "Short" }\n', ":8", "'Short' unknown: pass predicates="),
        (RULE + 'protocol = "/a"\nrule = { when = 5 }\n', ":7", "5 unknown: pass predicates="),
        (RULE + 'protocol = "/a"\nrule.when = "long"\n', ":7", "'long' unknown: pass predicates="),
        (
            RULE + 'protocol = "/a"\nrule = ' + "{ only = [], otherwise = " * 17 + '"ask"' + " }" * 17,
            ":7",
            "17 deep: at most 16",
        ),
        ('version = 1\nrules = [{rule = "allow"}, {protocol = "/a", rule = "maybe"}]\n', "", "rule 'maybe'"),
        ('version = 1\n[[rules]]\nprotocol = """/\n[[rules]]\n"""\nrule = "maybe"\n', "", "rule 'maybe'"),
    ],
)
def test_defect_1_what_is_not_understood_is_refused_with_its_line(text: str, where: str, about: str) -> None:
    with pytest.raises(ConfigError, match=about) as caught:
        load(text)
    assert caught.value.where == f"rules.toml{where}"
    assert str(caught.value).startswith(f"rules.toml{where}: ")


@pytest.mark.parametrize(
    "text",
    [
        "# [[[" + "[" * 100 + "\n",
        "# " + "a." * 100 + "\n",
        "banned = [\n" + '  "10.0.0.1",\n' * 100 + "]\n",
        f"banned = [ # {'.' * 100}\n]\n",
        "[[rules]]\nrule = { only = ['" + "[." * 100 + "'] }\n",
        '[[rules]]\nrule = { only = ["' + '\\"[.' * 100 + '"] }\n',
        '[[rules]]\nrule = { only = ["""' + '\n[."' * 100 + ' """] }\n',
        "[[rules]]\nrule = { only = ['''" + "\n[." * 100 + "'''] }\n",
        "[[rules]]\n" + "".join(f"rule.{'otherwise.' * depth}only = []\n" for depth in range(16)),
    ],
)
def test_what_only_looks_like_brackets_and_keys_is_read(text: str) -> None:
    load(f"version = 1\n{text}")


def test_what_hooks_have_said_is_marked() -> None:
    learned, own = key_of(ALICE, ECHO), key_of(BOB)
    content = Content(frozenset(), {learned: Rule.ALLOW, own: Rule.ASK}, frozenset([learned]))
    assert dumps(content).count("learned = true") == 1
    assert load(dumps(content)) == content


LEAVES = st.sampled_from((Rule.ALLOW, Rule.REJECT, Rule.ASK))
TEXTS = st.text(max_size=8)


def looks(inner: st.SearchStrategy[Rule]) -> st.SearchStrategy[Rule]:
    only = st.builds(
        lambda names, then, other: Rule.only(names, then=then, otherwise=other), st.sets(TEXTS), inner, inner
    )
    when = st.builds(
        lambda name, then, other: Rule.when(PREDICATES[name], name=name, then=then, otherwise=other),
        st.sampled_from(sorted(PREDICATES)),
        inner,
        inner,
    )
    return only | when


RULES = st.recursive(LEAVES, looks, max_leaves=5)
NETWORKS = st.ip_addresses().flatmap(
    lambda address: (
        st.integers(0, address.max_prefixlen).map(lambda size: ip_network((int(address), size), strict=False))
        if address.version == 4 or int(address) >> 96
        else st.just(ip_network("10.0.0.0/8"))
    )
)
KEYS = st.builds(
    lambda direction, peer, protocol, network: key_of(peer, protocol, network and str(network), direction),
    st.sampled_from(("in", "out")),
    st.sampled_from((None, ALICE, BOB)),
    st.none() | st.text(max_size=20).map("/".__add__),
    st.none() | NETWORKS,
)
CONTENTS = st.builds(
    Content, st.frozensets(st.sampled_from((ALICE, BOB, CAROL)) | NETWORKS), st.dictionaries(KEYS, RULES, max_size=6)
)


@pytest.mark.long(4)
@settings(max_examples=150)
@given(CONTENTS)
def test_what_is_written_is_read_back(content: Content) -> None:
    text = dumps(content, PREDICATES)
    assert loads(text, PREDICATES, "x") == content
    assert loads(text.replace("\n", "\r\n"), PREDICATES, "x") == content
    assert dumps(loads(text, PREDICATES, "x")) == text
    assert all(char.isprintable() or char == "\n" for char in text)


@pytest.mark.parametrize(
    "text", ['"', "\\", "\n", "\t", "\x00\x1f\x7f", "\u202e\u2028\ufeff", "é\U0001f600", "\U000e0001"]
)
def test_texts_are_escaped(text: str) -> None:
    content = Content(rules={key_of(protocol="/" + text): Rule.only([text])})
    written = dumps(content)
    assert load(written) == content
    assert tomllib.loads(written)["rules"][0]["protocol"] == "/" + text
    assert written.isprintable() is False  # but for the ends of its lines
    assert "".join(written.split("\n")).isprintable()


def test_how_it_looks() -> None:
    content = Content(
        frozenset({ALICE, ip_network("10.0.0.0/8")}),
        {
            key_of(): Rule.ASK,
            key_of(direction="out", protocol=ECHO): Rule.REJECT,
            key_of(BOB, subnet="::1"): Rule.only(["Say", "Ping"], otherwise=Rule.when(is_short, name="short")),
        },
    )
    assert (
        dumps(content)
        == f"""# The strongest entries stand first. The line "# end" shows that none is missing; more may follow it.
version = 1
banned = [
  "10.0.0.0/8",
  "{ALICE}",
]

[[rules]]
peer = "{BOB}"
subnet = "::1/128"
rule = {{ only = ["Ping", "Say"], otherwise = {{ when = "short" }} }}

[[rules]]
protocol = "/echo/1.0.0"
direction = "out"
rule = "reject"

[[rules]]
rule = "ask"

# end
"""
    )


@pytest.mark.parametrize(
    ("rule", "about"),
    [
        (Rule.when(is_short), r"give its predicate a name, Rule.when\(\.\.\., name=\)"),
        (Rule.only([], otherwise=Rule.when(is_short)), "give its predicate a name"),
        (Rule.when(is_short, name="tall"), "'tall' is not one of the predicates="),
        (Rule.when(is_near, name="short"), "'short' is not one of the predicates="),
        (Rule.only(["\ud800"]), "half a character"),
    ],
)
def test_what_cannot_be_read_back_is_not_written(rule: Rule, about: str) -> None:
    with pytest.raises(ConfigError, match=about):
        dumps(Content(rules={key_of(): rule}), PREDICATES)


@settings(max_examples=30)
@given(CONTENTS)
def test_a_file_of_ours_that_was_cut_short_is_refused(content: Content) -> None:
    """Hostile row 96: at every byte; only the last line feed may be missing."""
    data = dumps(content).encode()
    for size in range(len(data) - 1):
        with pytest.raises(ConfigError):
            loads(data[:size].decode(errors="replace"), PREDICATES, "x")
    assert loads(data[:-1].decode(), PREDICATES, "x") == content


def test_what_a_person_adds_below_the_end_counts() -> None:
    text = dumps(Content(rules={key_of(): Rule.ASK})) + '[[rules]]\nprotocol = "/echo/1.0.0"\nrule = "allow"\n'
    assert load(text).rules == {key_of(): Rule.ASK, key_of(protocol=ECHO): Rule.ALLOW}


CASES = [
    attempt(peer, variant=variant, view=view, address=f"/ip4/{host}/tcp/1")
    for peer in (ALICE, BOB)
    for variant, view in (("Ping", "Ping"), ("Say", "hi"), ("Say", "long enough"), (None, None))
    for host in ("10.0.0.1", "192.0.2.1", "203.0.113.9")
]


def test_an_example_that_was_cut_short_never_allows_more() -> None:
    """Hostile row 96, for a file that a person has written."""
    whole = Firewall()
    whole._entries.replace(load(EXAMPLE))
    refused = 0
    for size in range(len(EXAMPLE)):
        part = Firewall()
        try:
            part._entries.replace(load(EXAMPLE[:size]))
        except ConfigError:
            refused += 1
            continue
        for case in CASES:
            assert part.decide(case) != Rule.ALLOW or whole.decide(case) == Rule.ALLOW
    assert refused > 0.8 * len(EXAMPLE)


@settings(max_examples=300)
@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")) | st.text("version=1[rules]\n\"{}, '#askonly"))
def test_garbage_ends_in_one_error(text: str) -> None:
    try:
        content = load(text)
    except ConfigError as error:
        assert error.where.startswith("rules.toml")
    else:
        assert content == Content()


@pytest.mark.parametrize(
    ("scope", "line"),
    [
        ({"protocol": "conection"}, 'protocol = "conection"'),
        ({"protocol": ""}, 'protocol = ""'),
        ({"protocol": 5}, "protocol = 5"),
        ({"subnet": "10.0.0.1/8"}, 'subnet = "10.0.0.1/8"'),
        ({"subnet": "fe80::1%eth0"}, 'subnet = "fe80::1%eth0"'),
        ({"subnet": ""}, 'subnet = ""'),
        ({"direction": "both"}, 'direction = "both"'),
        ({"direction": ""}, 'direction = ""'),
        ({"peer": ""}, 'peer = ""'),
    ],
)
def test_defect_1_what_set_refuses_is_refused_in_a_file(scope: Any, line: str) -> None:
    with pytest.raises(ConfigError):
        key_of(**scope)
    with pytest.raises(ConfigError) as caught:
        load(f'version = 1\n\n[[rules]]\n{line}\nrule = "reject"\n')
    assert caught.value.where.endswith(":4")
