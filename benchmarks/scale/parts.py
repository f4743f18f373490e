"""The three parts of the measurement: a server in a process of its own, clients in another, and their figures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from benchmarks.runner.processes import CLIENT_CORE, SERVER_CORE, can_pin, children_on
from benchmarks.scale.figures import Figure
from harness.commands import Line
from harness.process import Process, soon

KIB, MIB = 1 << 10, 1 << 20
RESIDENT = "resident for each"
WARM_UP = 300  # peers that come and go before the first look at the memory
AT_ONCE = 32
PARALLEL, CONNECTIONS, GIVEN_UP = 64, 8, 0.01
BULK = 16 << 20
QUIET_WITHIN = 20.0


@dataclass(frozen=True)
class Stage:
    """The two processes, and what the server had before anything happened."""

    server: Process
    client: Process
    before: Line

    def quiet(self, connections: int) -> Line:
        """The state of the server once there are so many connections and nothing happens on them, or after a while."""
        wanted = {"connections": connections, "identified": connections, "busy": 0}
        wanted |= {name: self.before[name] + extra for name, extra in (("tasks", 0), ("files", connections))}
        soon(lambda: all(self.server.ask(do="counts")[name] == value for name, value in wanted.items()), QUIET_WITHIN)
        return self.server.ask(do="state")

    def expect(self, total: int) -> None:
        """Requests will be numbered; what that takes is not what is measured."""
        self.server.ask(do="expect", total=total)
        self.before.update(self.server.ask(do="state"))


@contextmanager
def stage(connections: int) -> Iterator[Stage]:
    """``connections``: what the server has to take at once."""
    pinned = can_pin()
    with ExitStack() as stack:
        with children_on(SERVER_CORE if pinned else None):
            server = stack.enter_context(Process("benchmarks.scale.server", str(connections + AT_ONCE)))
        with children_on(CLIENT_CORE if pinned else None):
            client = stack.enter_context(Process("benchmarks.scale.client", server.ready["address"]))
        server.ask(do="expect", total=WARM_UP)
        client.ask(do="visit", total=WARM_UP, at_once=AT_ONCE)
        server.ask(do="state")
        yield Stage(server, client, server.ask(do="state"))


def left_behind(part: str, before: Line, after: Line) -> list[Figure]:
    """What the server has at the end and did not have at the start."""
    left = {name: count - before["ours"].get(name, 0) for name, count in after["ours"].items()}
    left = {name: count for name, count in left.items() if count}
    told = ", ".join(f"{count} {name}" for name, count in left.items())
    return [
        Figure(part, "tasks left behind", after["tasks"] - before["tasks"], least=0, most=0),
        Figure(part, "descriptors left behind", after["files"] - before["files"], least=0, most=0),
        Figure(part, "objects left behind", sum(left.values()), least=0, most=0, note=told),
    ]


def idle(count: int) -> list[Figure]:
    """Connections that are identified and then do nothing."""
    part = "idle"
    with stage(count) as on:
        coming = on.client.ask(do="come", count=count, at_once=AT_ONCE)["seconds"]
        full = on.quiet(count)
        leaving = on.client.ask(do="leave")["seconds"]
        after = on.quiet(0)
    each = (full["memory"] - on.before["memory"]) / count / KIB
    rest = (after["collected"] - full["collected"]) / count
    kept = (after["memory"] - on.before["memory"]) / MIB
    return [
        Figure(part, "connections, identified", full["identified"], least=count, most=count),
        Figure(part, RESIDENT, each, "KiB", 1, most=14.5),
        Figure(part, "tasks for all of them", full["tasks"] - on.before["tasks"], least=0, most=0),
        Figure(part, "objects that the collector had to free, for each", rest, digits=1),
        Figure(part, "opened", count / coming, "/s"),
        Figure(part, "closed", count / leaving, "/s"),
        Figure(part, "resident when they are closed, more than before", kept, "MiB", 2),
        *left_behind(part, on.before, after),
    ]


def visits(total: int) -> list[Figure]:
    """Fresh peers that connect, ask once and leave."""
    part = "visits"
    with stage(AT_ONCE) as on:
        on.expect(total)
        began = on.server.cpu()
        ended = on.client.ask(do="visit", total=total, at_once=AT_ONCE)
        worked = on.server.cpu() - began
        after = on.quiet(0)
        came = on.server.ask(do="came")
    failed = total - ended["right"]
    grown = (after["memory"] - on.before["memory"]) / MIB
    return [
        Figure(part, "connects with one request each", total),
        Figure(part, "failed", failed, least=0, most=0, note=reasons(ended)),
        Figure(part, "requests that came twice or never", came["again"] + came["never"], least=0, most=0),
        Figure(part, f"{AT_ONCE} at a time", total / ended["seconds"], "/s", least=300),
        Figure(part, "the server's processor took for each", worked / total * 1e6, "µs"),
        Figure(part, "memory grown", grown, "MiB", 2, most=1),
        *left_behind(part, on.before, after),
    ]


def requests(total: int) -> list[Figure]:
    """Many requests over few connections, some of them given up."""
    return _requests("requests", total, CONNECTIONS, 0)


def soak(total: int, cuts: int) -> list[Figure]:
    """Many requests over one connection, which is cut again and again; some are given up."""
    return _requests("soak", total, 1, cuts)


def _requests(part: str, total: int, connections: int, cuts: int) -> list[Figure]:
    with stage(connections) as on:
        on.expect(total)
        began = on.server.cpu()
        load = {"parallel": PARALLEL, "connections": connections, "share": GIVEN_UP, "cuts": cuts}
        on.client.tell(do="ask", total=total, **load)
        ended = on.client.read(within=60 + total / 200)
        worked = on.server.cpu() - began
        after = on.quiet(0)
        came = on.server.ask(do="came")
    lost = total - ended["right"] - ended["wrong"] - ended["cancelled"] - ended["cut"]
    unseen = max(0, came["never"] - ended["cancelled"] - ended["cut"])
    # Of a few requests a cut strikes more than 3 %: then all but those, and those given up, are to be answered.
    answered = min(97, 100 * (1 - GIVEN_UP - cuts * PARALLEL / total))
    over = f"over {connections} connections" if connections > 1 else "over one connection"
    cut = [
        Figure(part, "times that the connection was cut", ended["ends"], least=cuts, most=cuts),
        Figure(part, "in flight at a cut, and told so", ended["cut"], most=cuts * PARALLEL),
    ]
    return [
        Figure(part, f"requests, {PARALLEL} in parallel {over}", total),
        *(cut if cuts else []),
        Figure(part, "answered with their own hash", 100 * ended["right"] / total, "%", 2, least=answered),
        Figure(part, "answered otherwise", ended["wrong"], least=0, most=0),
        Figure(part, "cancelled", ended["cancelled"]),
        Figure(part, "to be cancelled, and answered before", ended["late"]),
        Figure(part, "neither answered nor cancelled", lost, least=0, most=0, note=reasons(ended)),
        Figure(part, "that the server saw twice", came["again"], least=0, most=0),
        Figure(part, "not cancelled, and the server never saw them", unseen, least=0, most=0),
        Figure(part, "rate", total / ended["seconds"], "/s"),
        Figure(part, "the server's processor took for each", worked / total * 1e6, "µs"),
        *left_behind(part, on.before, after),
    ]


def bulk(count: int) -> list[Figure]:
    """Connections on which as much flows as can: to the server, then from it."""
    part = "bulk"
    figures = [Figure(part, f"connections, {BULK // MIB} MiB on each, all at once", count)]
    left: list[list[Figure]] = []
    for way, up, down in (("to the server", BULK, 0), ("from the server", 0, BULK)):
        with stage(count) as on:
            on.client.ask(do="come", count=count, at_once=AT_ONCE)
            idle = on.quiet(count)
            on.server.forget_peak()
            on.client.ask(do="bulk", up=up, down=down)
            peak = (on.server.peak() - idle["memory"]) / count / KIB
            on.client.ask(do="leave")
            after = on.quiet(0)
        figures.append(Figure(part, f"most that each added, bytes going {way}", peak, "KiB"))
        left.append(left_behind(part, on.before, after))
    return figures + [max(both, key=lambda figure: figure.value) for both in zip(*left, strict=True)]


def reasons(ended: Line) -> str:
    """The three most frequent errors."""
    found = sorted(ended["failed"].items(), key=lambda one: -one[1])[:3]
    return "; ".join(f"{count} {what}" for what, count in found)
