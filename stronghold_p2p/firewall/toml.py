"""Rules as a TOML file (toml.io, version 1.0.0): what a firewall reads, and what it writes.

    version = 1
    banned = ["203.0.113.0/24"]  # peer ids, subnets
    [[rules]]  # the default
    rule = "ask"
    [[rules]]  # selectors: peer, protocol, subnet, direction
    subnet = "10.0.0.0/8"
    rule = { only = ["Ping"], otherwise = { when = "short", otherwise = "ask" } }

A name or a value that is not known is an error, never passed over: a selector that is misspelt would make its rule
one for everybody. A file that was cut short must not allow more than the whole one, so ``rule`` stands last in its
entry, and a file that we wrote begins with a line that promises another one at its end.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, Final, NoReturn

from stronghold_p2p.errors import ConfigError, DecodeError
from stronghold_p2p.firewall.entries import Banned, Content, Key, never_matches
from stronghold_p2p.firewall.rules import Predicate, Rule
from stronghold_p2p.firewall.subnets import parse_subnet
from stronghold_p2p.identity import PeerId

VERSION: Final = 1
# What the TOML reader takes in a time that grows with the text alone; our own files stay far below.
MAX_LINE: Final = 1 << 16  # characters
MAX_NESTING: Final = 40  # brackets inside brackets: sixteen rules inside each other, each with a list
MAX_PARTS: Final = 20  # of a dotted key: the reader's work grows with the square of them
MAX_KEY: Final = 256  # characters of a key without quotes, or of a number

_BEGIN: Final = '# The strongest entries stand first. The line "# end" shows that none is missing; more may follow it.'
_END: Final = "# end"
_VERDICTS: Final = {"allow": Rule.ALLOW, "reject": Rule.REJECT, "ask": Rule.ASK}
_SELECTORS: Final = ("peer", "protocol", "subnet", "direction")
_HEADER: Final = re.compile(r"""[ \t]*\[\[[ \t]*["']?rules["']?[ \t]*\]\]""")
_TOKEN: Final = re.compile(
    r"""(?P<text>"{3}(?:\\.|[^\\])*?(?:"{3,5}|\\?\Z)|'{3}.*?(?:'{3,5}|\Z)|"(?:\\.|[^"\\\n])*"?|'[^'\n]*'?)"""
    r"|(?P<note>#[^\n]*)|(?P<open>[\[{])|(?P<close>[\]}])|(?P<dot>\.)|(?P<next>[,=\n])|(?P<bare>[\w-]+)",
    re.DOTALL,
)
_PLACE: Final = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


def loads(text: str, predicates: Mapping[str, Predicate], name: str) -> Content:
    """What ``text``, the content of the file ``name``, says; ``predicates`` are those that it may name.

    ``ConfigError`` for anything that is not understood, with the line in ``where`` and in front of the message.
    """
    if text.startswith(_BEGIN) and _END not in map(str.rstrip, text.split("\n")):
        raise ConfigError(f"{name}: cut short: there is no line {_END!r}", where=name)
    _check_shape(text, name)
    try:
        document = tomllib.loads(text)
    except ValueError as error:
        place = _PLACE.search(str(error))
        line = place[1] if place is not None and place[1] else str(text.count("\n") + 1)
        where = f"{name}:{line}"
        raise ConfigError(f"{where}: {_PLACE.sub('', str(error))}", where=where) from None
    return _Reader(text, document, predicates, name).content()


def _check_shape(text: str, name: str) -> None:
    """``ConfigError`` for a text over which the TOML reader could sit for long, or fill the memory: hostile row 151."""
    line = 1
    for number, content in enumerate(text.split("\n"), 1):
        if len(content) > MAX_LINE:
            _misshapen(name, number, f"a line has at most {MAX_LINE} characters")
    depth = dots = 0
    for found in _TOKEN.finditer(text):
        kind, token = found.lastgroup, found[0]
        if kind == "open":
            depth, dots = depth + 1, 0
        elif kind == "close":
            depth, dots = max(0, depth - 1), 0
        elif kind == "dot":
            dots += 1
        elif kind == "next":
            dots = 0
        if depth > MAX_NESTING:
            _misshapen(name, line, f"nested too deep: at most {MAX_NESTING}")
        if dots >= MAX_PARTS:
            _misshapen(name, line, f"a key has at most {MAX_PARTS} parts")
        if kind == "bare" and len(token) > MAX_KEY:
            _misshapen(name, line, f"a key or a number has at most {MAX_KEY} characters")
        line += token.count("\n")


def _misshapen(name: str, line: int, told: str) -> NoReturn:
    raise ConfigError(f"{name}:{line}: {told}", where=f"{name}:{line}")


class _Reader:
    """Makes rules of a parsed document."""

    def __init__(self, text: str, document: dict[str, Any], predicates: Mapping[str, Predicate], name: str) -> None:
        self._lines = text.split("\n")
        self._document = document
        self._predicates = predicates
        self._name = name
        self._learned: set[Key] = set()
        self._starts = [number for number, line in enumerate(self._lines) if _HEADER.match(line)]

    def content(self) -> Content:
        document = self._document
        for key in document:
            if key not in ("version", "banned", "rules"):
                self._wrong(f"{key!r} unknown: take version, banned and [[rules]]", key)
        version = document.get("version")
        if type(version) is not int or version != VERSION:
            self._wrong(f"version {version!r}: this release reads version = {VERSION}", "version")
        entries = document.get("rules", [])
        if not _is_list_of(entries, dict):
            self._wrong("rules are entries that begin with [[rules]]", "rules")
        banned, rules = frozenset(self._banned(document.get("banned", []))), self._rules(entries)
        return Content(banned, rules, frozenset(self._learned))

    def _banned(self, banned: Any) -> Iterator[Banned]:
        if not _is_list_of(banned, str):
            self._wrong("banned is a list of peer ids and subnets", "banned")
        for whom in banned:
            try:  # no peer id has a dot or a colon, and no subnet is without
                yield parse_subnet(whom) if {".", ":"} & set(whom) else PeerId(whom)
            except (ConfigError, DecodeError) as error:
                self._wrong(f"banned {whom!r}: {error}", "banned")

    def _rules(self, entries: list[dict[str, Any]]) -> dict[Key, Rule]:
        rules: dict[Key, Rule] = {}
        for index, entry in enumerate(entries):
            for name in entry:
                if name not in (*_SELECTORS, "learned", "rule"):
                    self._wrong(f"{name!r} unknown: take {', '.join(_SELECTORS)} and rule", name, index)
            if next(reversed(entry), "") != "rule":
                self._wrong("each entry ends with rule = ...", "rule", index)
            key = Key(*(self._selector(name, entry.get(name), index) for name in ("direction", *_SELECTORS[:3])))
            if "learned" in entry:
                if entry["learned"] is not True or key.peer is None:
                    self._wrong("learned = true marks what a hook has said of one peer", "learned", index)
                self._learned.add(key)
            if key in rules:
                self._wrong("a second rule for the same selectors: keep one", "rule", index)
            try:
                rules[key] = self._rule(entry["rule"])
            except ConfigError as error:
                self._wrong(str(error), "rule", index)
        return rules

    def _selector(self, name: str, value: Any, index: int) -> Any:
        if value is None:
            return "in" if name == "direction" else None
        try:
            if not isinstance(value, str) or not value:
                raise ConfigError("take a text")
            if name == "direction" and value not in ("in", "out"):
                raise ConfigError("take in or out")
            if name == "protocol" and (wrong := never_matches(value)) is not None:
                raise ConfigError(wrong)
            return PeerId(value) if name == "peer" else parse_subnet(value) if name == "subnet" else value
        except (ConfigError, DecodeError) as error:
            self._wrong(f"{name} {value!r}: {error}", name, index)

    def _rule(self, value: Any) -> Rule:
        if isinstance(value, str) and value in _VERDICTS:
            return _VERDICTS[value]
        if not isinstance(value, dict):
            raise ConfigError(f"rule {value!r}: take allow, reject, ask, or {{ only = [...] }} or {{ when = ... }}")
        for name in value:
            if name not in ("only", "when", "then", "otherwise"):
                raise ConfigError(f"{name!r} unknown: take only or when, then, otherwise")
        if ("only" in value) == ("when" in value):
            raise ConfigError("a rule that looks has either only or when")
        then, otherwise = self._rule(value.get("then", "allow")), self._rule(value.get("otherwise", "reject"))
        if "only" in value:
            if not _is_list_of(value["only"], str):
                raise ConfigError("only = ... is a list of variants")
            return Rule.only(value["only"], then=then, otherwise=otherwise)
        name = value["when"]
        if not isinstance(name, str) or name not in self._predicates:
            raise ConfigError(f"{name!r} unknown: pass predicates=")
        return Rule.when(self._predicates[name], name=name, then=then, otherwise=otherwise)

    def _wrong(self, message: str, key: str, index: int | None = None) -> NoReturn:
        line = self._line(key, index)
        where = f"{self._name}:{line}" if line else self._name
        raise ConfigError(f"{where}: {message}", where=where)

    def _line(self, key: str, index: int | None) -> int | None:
        """Where ``key`` of the entry ``index`` stands (None: before all entries); None if that cannot be told."""
        first, last = 0, self._starts[0] if self._starts else len(self._lines)
        if index is not None:
            if len(self._starts) != len(self._document["rules"]):
                return None  # written in another way, or a text that only looks like an entry
            first, last = [*self._starts, len(self._lines)][index : index + 2]
        name = rf"""["']?{re.escape(key)}["']?[ \t]*"""
        places = [rf"[ \t]*{name}[.=]"]
        if index is None:  # a table of that name comes first: what stands in it may have the name, too
            places.insert(0, rf"[ \t]*\[\[?[ \t]*{name}[.\]]")
        for named in map(re.compile, places):
            for number in range(first, last):
                if named.match(self._lines[number]):
                    return number + 1
        return None if index is None else first + 1


def _is_list_of(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)


def dumps(content: Content, predicates: Mapping[str, Predicate] | None = None) -> str:
    """The text of a file that says this; ``loads`` makes the same of it.

    ``ConfigError``: a predicate without a name, or one that is not among the ``predicates`` that the file may name.
    """
    lines = [_BEGIN, f"version = {VERSION}"]
    if content.banned:
        lines += ["banned = [", *sorted(f"  {_quoted(str(whom))}," for whom in content.banned), "]"]
    for key in sorted(content.rules, key=lambda key: key.place):
        lines += ["", "[[rules]]"]
        selectors = {"peer": key.peer, "protocol": key.protocol, "subnet": key.network}
        lines += [f"{name} = {_quoted(str(value))}" for name, value in selectors.items() if value is not None]
        lines += ['direction = "out"'] if key.direction == "out" else []
        lines += ["learned = true"] if key in content.learned else []
        lines += [f"rule = {_written(content.rules[key], predicates)}"]
    return "\n".join([*lines, "", _END, ""])


def _written(rule: Rule, predicates: Mapping[str, Predicate] | None) -> str:
    if rule.verdict is not None:
        return _quoted(rule.verdict)
    if rule.predicate is None:
        parts = [f"only = [{', '.join(map(_quoted, sorted(rule.variants)))}]"]
    else:
        if not rule.name:
            raise ConfigError(f"{rule!r} cannot be saved: give its predicate a name, Rule.when(..., name=)")
        if predicates is not None and predicates.get(rule.name) != rule.predicate:
            raise ConfigError(f"{rule!r} cannot be saved: {rule.name!r} is not one of the predicates= of load")
        parts = [f"when = {_quoted(rule.name)}"]
    if rule.then is not None and rule.then != Rule.ALLOW:
        parts += [f"then = {_written(rule.then, predicates)}"]
    if rule.otherwise is not None and rule.otherwise != Rule.REJECT:
        parts += [f"otherwise = {_written(rule.otherwise, predicates)}"]
    return f"{{ {', '.join(parts)} }}"


def _quoted(text: str) -> str:
    """A basic string (toml.io, "String"): quotes and backslashes escaped, and whatever would not be seen as it is."""
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(char: str) -> str:
    code = ord(char)
    if 0xD800 <= code < 0xE000:
        raise ConfigError(f"{char!r} is half a character and cannot be saved")
    if char in '"\\':
        return f"\\{char}"
    return char if char.isprintable() else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
