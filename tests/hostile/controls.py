"""The negative control of each row: what is taken away from the program under test, and where the row fails then.

    python -m tests.hostile.controls [row ...]

plays the rows against such programs, several at a time, one line each; a row that does not fail where it should is
played again, alone. ``table`` prints the table of tests/hostile/README.md.
"""

from __future__ import annotations

import linecache
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import pytest

from tests.hostile import weak
from tests.hostile.arena import Arena
from tests.hostile.rows import Row, rows

HERE = Path(__file__).resolve().parent
TOGETHER = 6


@dataclass(frozen=True)
class Control:
    """``options`` of tests/hostile/settings.py, and the text of the line at which the row ``test`` fails with them.

    On a busy machine it may be another line: ``|`` stands between them.
    """

    test: str
    options: str
    fails_at: str

    @property
    def row(self) -> int:
        return int(self.test.split("_")[2])

    @property
    def told(self) -> str:
        """For people: a limit with its value, or what is not checked."""
        kind, what, *_ = given = self.options.split()
        if kind != "--without":
            return ", ".join(f"`{setting}`" for setting in given[1::2])
        words = " ".join((weak.CHECKS[what].__doc__ or "").split()).rstrip(".")
        return f"not checked: {words[0].lower()}{words[1:]}"


NO_PAUSE = "assert grown <= memory|assert target.descriptors() < sockets"  # it takes memory as fast as it can

CONTROLS = (
    # TCP, listener and dialer
    Control("test_row_1_slowloris", "--timeout upgrade=20", "assert max(lives) < float"),
    Control("test_row_2_accept_flood", "--limit accept_rate=None", "assert served <= allowed"),
    Control("test_row_3_many_connections_of_one_address", "--limit per_subnet=80", "assert len(refused) == 8"),
    Control("test_row_3_many_connections_of_one_customer", "--limit per_subnet=80", "== 8  # 16 networks"),
    Control("test_row_4_no_descriptors_left", "--constant transport.tcp.TOGETHER=1024", "assert said <= 20"),
    Control("test_row_5_reset_before_accept", "--without loss", '["pending_in"] == 0'),
    Control("test_row_6_silent_death", "--timeout keepalive=5", "assert silent.wire.ending is not None"),
    Control("test_row_7_fin_at_every_byte", "--without fin", "wire.until_closed(2.0)"),
    Control("test_row_8_another_protocol", "--without header", "wire.until_closed(1.0)"),
    Control("test_row_10_addresses_that_lead_inwards", "--without reachable", "assert not [text for text in dialed"),
    Control(
        "test_row_111_the_end_with_stalled_peers",
        "--timeout close=60 --constant connection.live.CLOSE_GRACE=60",
        "target.stop()",
    ),
    # multistream-select
    Control("test_row_15_bad_headers", "--without header", "wire.until_closed(1.0)"),
    Control("test_row_16_bad_lengths", "--without line-length", "wire.until_closed(1.0)"),
    Control("test_row_17_too_many_proposals", "--constant multistream.MAX_PROPOSALS=640", "peer.reset_with("),
    Control("test_row_18_any_segments", "--without coalesced", "assert peer.pump(lambda: 1 in peer.finished)"),
    Control(
        "test_row_19_answers_to_another_question", "--without echo --timeout upgrade=1", '"NegotiationError", (name'
    ),
    Control("test_row_20_parked_negotiations", "--constant connection.live.NEGOTIATING=1280", "peer.reset_with(last"),
    Control("test_row_21_lazy_dialer", "--without lazy-answer", 'assert got["error"] == error'),
    Control("test_row_23_stripped_security", "--without security", 'assert wire.read_line() == b"na'),
    Control("test_row_24_many_failed_negotiations", "--constant yamux.session.RESET_BURST=10240", "peer.ends(0x1002)"),
    # Yamux
    Control("test_row_26_frames_that_are_none", "--without invariants", "peer.ends(code, 2.0)"),
    Control("test_row_27_lengths_refused_at_the_header", "--without window", "peer.ends(code, 2.0)"),
    Control("test_row_28_one_byte_too_many", "--without window", "peer.ends(code, 2.0)"),
    Control("test_row_30_credit_is_no_body", "--without delta", "in peer.pongs"),
    Control("test_row_31_a_body_that_does_not_come", "--constant swarm.timer.INCOMPLETE=20", "PROTOCOL_ERROR"),
    Control("test_row_32_frames_for_streams_that_are_gone", "--limit receive_memory=335544320", "peer.ends("),
    Control("test_row_33_pings_and_nobody_reads", "--without pause", NO_PAUSE),
    Control("test_row_34_answers_that_are_owed", "--without pause", NO_PAUSE),
    Control("test_row_35_acknowledgements", "--constant yamux.session.ACK_BACKLOG=2560", "assert 0 <= in_use"),
    Control("test_row_37_streams_beyond_the_limit", "--limit streams_in=5120", "peer.reset_with(stream"),
    Control("test_row_38_unread_bodies", "--limit receive_memory=335544320", "assert budget * 0.9 <="),
    Control(
        "test_row_38_unread_bodies_of_all", "--limit receive_memory_total=167772160", "assert total * 0.6 <= count"
    ),
    Control("test_row_39_rapid_reset", "--constant yamux.session.RESET_BURST=102400", "peer.ends(RATE_LIMITED)"),
    Control("test_row_40_made_you_reset", "--constant yamux.session.RESET_BURST=102400", "peer.ends(RATE_LIMITED)"),
    Control("test_row_41_both_write_before_they_read", "--without turns", "peer.write(stream"),
    Control("test_row_44_stalled_reader", "--timeout write_stall=15", "assert soon(lambda: target.descriptors()"),
    Control("test_row_45_keep_alive", "--timeout keepalive_answer=5", "assert peer.wire.ending is not None"),
    # Noise and the identity
    Control("test_row_46_handshake_messages", "--without proof", 'raise AssertionError(f"message 3'),
    Control("test_row_47_transport_records", "--without tags", "peer.ends(None, 1.0)"),
    Control(
        "test_row_48_the_last_counters", "--constant noise.records.MAX_NONCE=18446744073709551616", "peer.ends(0, 1.0)"
    ),
    Control("test_row_49_points_of_low_order", "--without low-order", "silent_close(wire)"),
    Control("test_row_50_identity_signatures", "--without signature", 'raise AssertionError(f"message 3'),
    Control("test_row_52_identity_keys", "--without key-sizes", 'raise AssertionError(f"message 3'),
    Control("test_row_53_data_before_the_proof", "--without proof", 'raise AssertionError(f"message 3'),
    Control("test_row_54_somebody_else_answers", "--without expected", '"PeerIdMismatch"'),
    Control("test_row_55_after_the_handshake", "--without tags", "peer.ends(None, 1.0)"),
    # identify, ping, protobuf
    Control("test_row_57_signed_records", "--without records", 'assert info["record"] is False'),
    Control("test_row_58_parts_without_end", "--timeout identify=15", "assert slow in dribbles.resets"),
    Control("test_row_59_ping", "--constant protocols.ping.STREAMS_IN=20", "peer.reset_with(streams[2]"),
    Control(
        "test_row_60_protocol_names",
        "--constant protocols.identify_messages.MAX_PROTOCOLS=10240",
        'assert info["protocols"] == 1_024',
    ),
    Control(
        "test_row_61_addresses_that_are_none",
        "--constant protocols.identify_messages.MAX_ADDRESSES=640",
        'assert len(info["addresses"]) == 64',
    ),
    Control("test_row_62_pushes", "--without one-push", "peer.reset_with(stream, RATE_LIMITED)"),
    Control("test_row_64_protobuf", "--without decoding", "assert stream in peer.resets, name"),
    Control(
        "test_row_65_length_prefixes",
        "--constant protocols.identify_messages.MAX_PART=81920",
        "assert over(peer, stream, 1.0)",
    ),
    # the application
    Control("test_row_71_events_that_nobody_takes", "--constant events.backlog.SHARES=0.8", "assert 0 < through <="),
    Control("test_row_76_each_option_alone", "--without options", "assert changes[kind][option] == [option]"),
    # requests
    Control("test_row_66_malformed_beside_others", "--without read-json", "== PROTOCOL_VIOLATION, name"),
    Control("test_row_67_dribbled", "--timeout request=20", "took = dribble("),
    Control("test_row_68_answers_that_are_none", "--without answer-length", 'assert outcome["outcomes"] == {expected'),
    Control("test_row_69_more_requests_than_places", "--limit requests_per_peer=1000", "peer.reset_with(ask("),
    Control("test_row_70_the_connection_ends", "--without endings", "assert soon(told)"),
    Control("test_row_72_answers_after_the_end", "--without requester", '{"Answer": 1})) == never'),
    # the firewall, and its rules in a file
    Control("test_row_73_a_rejected_peer_sends", "--without foresight", "stream {stream} does not end"),
    Control("test_row_74_json_that_costs_or_deceives", "--without strict-json", '{PROTOCOL_VIOLATION:#x}", name'),
    Control("test_row_75_every_rule_set_and_removed", "--without removal", "assert (got, asks) == ("),
    Control("test_row_77_rules_that_change_under_a_request", "--without last-look", '== "refused", (moment'),
    Control("test_row_78_answers_that_come_too_late", "--without withdrawal", 'now["open"] == 0 and now["asks"] == 0'),
    Control("test_row_79_more_questions_than_anybody_answers", "--limit asks_per_peer=160", '"not at once"'),
    Control("test_row_80_predicates_and_hooks_that_fail", "--timeout ask=80", "stream {stream} does not end"),
    Control("test_row_81_other_names_for_the_same", "--without exact-ids", '== "na", name'),
    Control("test_row_96_rules_that_were_spoilt", "--without end-line", "a file that was cut short counts"),
    # names and files
    Control("test_row_93_peer_ids", "--without inlined-keys", 'assert one["error"] == "DecodeError"'),
    Control(
        "test_row_93_addresses",
        "--constant addressing.parse.MAX_COMPONENTS=320",
        'assert one["error"] == "DecodeError"',
    ),
    Control("test_row_94_invented_peers", "--constant book.store.PEERS=100000", 'assert state["peers"] <= 10_000'),
    Control("test_row_94_connected_and_protected", "--without in-use", "assert staying <= known"),
    Control("test_row_96_damaged_books", "--without damaged-books", 'assert got["error"] == "ConfigError"'),
    Control("test_row_96_two_writers", "--without one-step", 'assert read["errors"] == {}'),
    Control("test_row_96_key_files", "--without owner-only", '"IdentityError", (name, got)'),
)


def missed(control: Control, row: Row) -> str | None:
    """What is wrong with the control; None: the row fails where it should, or cannot be played here."""
    try:
        row.play(Arena(full=False, weak=tuple(control.options.split())))
    except pytest.skip.Exception:
        return None
    except Exception as error:
        lines = list(failing(error.__traceback__))
        found = any(text in line for text in control.fails_at.split("|") for line in lines)
        return None if found else f"fails elsewhere: {lines[-1:]}: {error}"
    return "does not fail"


def failing(trace: TracebackType | None) -> Iterator[str]:
    """The lines of the suite that an exception has come through."""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if Path(file).parent == HERE:
            yield linecache.getline(file, trace.tb_lineno).strip()
        trace = trace.tb_next


def table() -> str:
    """Markdown."""
    module = {row.test: row.module for row in rows()}
    lines = ["| row | test | raised tenfold or more, or taken out |", "|---|---|---|"]
    lines += [f"| {one.row} | `{module[one.test]}::{one.test}` | {one.told} |" for one in CONTROLS]
    return "\n".join(lines) + "\n"


def report(control: Control, row: Row) -> str | None:
    """``missed``, and one line about it."""
    start = time.monotonic()
    wrong = missed(control, row)
    print(f"{control.test:50} {time.monotonic() - start:5.1f} s  {wrong or 'fails as it should'}", flush=True)
    return wrong


def main(wanted: list[str]) -> int:
    by_test = {row.test: row for row in rows()}
    chosen = [control for control in CONTROLS if not wanted or str(control.row) in wanted]
    with ThreadPoolExecutor(TOGETHER) as pool:  # they wait, most of the time
        outcomes = list(pool.map(lambda control: report(control, by_test[control.test]), chosen))
    again = [control for control, wrong in zip(chosen, outcomes, strict=True) if wrong is not None]
    failures = [control.test for control in again if report(control, by_test[control.test]) is not None]
    print(f"{len(chosen) - len(failures)} of {len(chosen)} rows fail without their check")
    return 1 if failures else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["table"]:
        print(table(), end="")
    else:
        sys.exit(main(sys.argv[1:]))
