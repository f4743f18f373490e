"""The negative control of each row: what is taken away from the program under test, and which fact fails then.

    python -m tests.hostile.controls [row ...]

plays the rows against such programs, several at a time, one line each; a row that does not fail as it should is
played again, alone. ``table`` prints the table of tests/hostile/README.md.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.hostile import weak
from tests.hostile.arena import Arena
from tests.hostile.facts import facts
from tests.hostile.rows import Row, rows

TOGETHER = 6


@dataclass(frozen=True)
class Control:
    """``options`` of tests/hostile/settings.py, and the fact by which ``test_row_`` with ``name`` fails with them.

    ``facts``: where it depends on the machine which of them fails first, there are two.
    """

    name: str
    options: str
    facts: str

    @property
    def test(self) -> str:
        return f"test_row_{self.name}"

    @property
    def row(self) -> int:
        return int(self.name.partition("_")[0])

    @property
    def told(self) -> str:
        """For people: a limit with its value, or what is not checked."""
        kind, what, *_ = given = self.options.split()
        if kind != "--without":
            return ", ".join(f"`{setting}`" for setting in given[1::2])
        return f"not checked: {weak.TOLD[what]}"


CONTROLS = (
    # TCP, listener and dialer
    Control("1_slowloris", "--timeout upgrade=20", "deadline"),
    Control("2_accept_flood", "--limit accept_rate=None", "rate"),
    Control("3_many_connections_of_one_address", "--limit per_subnet=80", "subnet"),
    Control("3_many_connections_of_one_customer", "--limit per_subnet=80", "subnet"),
    Control("4_no_descriptors_left", "--constant transport.tcp.TOGETHER=1024", "log"),
    Control("5_reset_before_accept", "--without loss", "place"),
    Control("6_silent_death", "--timeout keepalive=5", "ended"),
    Control("7_fin_at_every_byte", "--without fin", "closed"),
    Control("8_another_protocol", "--without header", "closed"),
    Control("10_addresses_that_lead_inwards", "--without reachable", "dialed"),
    Control(
        "111_the_end_with_stalled_peers", "--timeout close=60 --constant muxing.yamux_muxer.CLOSE_GRACE=60", "exit"
    ),
    # multistream-select
    Control("15_bad_headers", "--without header", "closed"),
    Control("16_bad_lengths", "--without line-length", "closed"),
    Control("17_too_many_proposals", "--constant multistream.MAX_PROPOSALS=640", "reset"),
    Control("18_any_segments", "--without coalesced", "answered"),
    Control("19_answers_to_another_question", "--without echo --timeout upgrade=1", "error"),
    Control("20_parked_negotiations", "--constant connection.handlers.NEGOTIATING=1280", "reset"),
    Control("21_lazy_dialer", "--without lazy-answer", "error"),
    Control("23_stripped_security", "--without security", "na"),
    Control("24_many_failed_negotiations", "--constant yamux.session.RESET_BURST=10240", "ended"),
    # Yamux
    Control("26_frames_that_are_none", "--without invariants", "ended"),
    Control("27_lengths_refused_at_the_header", "--without window", "ended"),
    Control("28_one_byte_too_many", "--without window", "ended"),
    Control("30_credit_is_no_body", "--without delta", "answered"),
    Control("31_a_body_that_does_not_come", "--constant muxing.yamux_muxer.INCOMPLETE=20", "ended"),
    Control("32_frames_for_streams_that_are_gone", "--limit receive_memory=335544320", "ended"),
    Control("33_pings_and_nobody_reads", "--without pause", "memory closed"),
    Control("34_answers_that_are_owed", "--without pause", "memory closed"),
    Control("35_acknowledgements", "--constant yamux.session.ACK_BACKLOG=2560", "opened"),
    Control("37_streams_beyond_the_limit", "--limit streams_in=5120", "reset"),
    Control("38_unread_bodies", "--limit receive_memory=335544320", "kept"),
    Control("38_unread_bodies_of_all", "--limit receive_memory_total=167772160", "kept"),
    Control("39_rapid_reset", "--constant yamux.session.RESET_BURST=102400", "ended"),
    Control("40_made_you_reset", "--constant yamux.session.RESET_BURST=102400", "ended"),
    Control("41_both_write_before_they_read", "--without turns", "written"),
    Control("44_stalled_reader", "--timeout write_stall=15", "closed"),
    Control("45_keep_alive", "--timeout keepalive_answer=5", "ended"),
    # Noise and the identity
    Control("46_handshake_messages", "--without proof", "proof"),
    Control("47_transport_records", "--without tags", "ended"),
    Control("48_the_last_counters", "--constant noise.records.MAX_NONCE=18446744073709551616", "ended"),
    Control("49_points_of_low_order", "--without low-order", "closed"),
    Control("50_identity_signatures", "--without signature", "proof"),
    Control("52_identity_keys", "--without key-sizes", "proof"),
    Control("53_data_before_the_proof", "--without proof", "proof"),
    Control("54_somebody_else_answers", "--without expected", "error"),
    Control("55_after_the_handshake", "--without tags", "ended"),
    # identify, ping, protobuf
    Control("57_signed_records", "--without records", "record"),
    Control("58_parts_without_end", "--timeout identify=15", "reset"),
    Control("59_ping", "--constant protocols.ping.STREAMS_IN=20", "reset"),
    Control("60_protocol_names", "--constant protocols.identify_messages.MAX_PROTOCOLS=10240", "protocols"),
    Control("61_addresses_that_are_none", "--constant protocols.identify_messages.MAX_ADDRESSES=640", "addresses"),
    Control("62_pushes", "--without one-push", "reset"),
    Control("64_protobuf", "--without decoding", "reset"),
    Control("65_length_prefixes", "--constant protocols.identify_messages.MAX_PART=81920", "reset"),
    # the application
    Control("71_events_that_nobody_takes", "--constant events.backlog.SHARES=0.8", "through"),
    Control("76_each_option_alone", "--without options", "options"),
    # requests
    Control("66_malformed_beside_others", "--without read-json", "reset"),
    Control("67_dribbled", "--timeout request=20", "reset"),
    Control("68_answers_that_are_none", "--without answer-length", "outcome"),
    Control("69_more_requests_than_places", "--limit requests_per_peer=1000", "reset"),
    Control("70_the_connection_ends", "--without endings", "told"),
    Control("72_answers_after_the_end", "--without requester", "never"),
    # the firewall, and its rules in a file
    Control("73_a_rejected_peer_sends", "--without foresight", "over"),
    Control("74_json_that_costs_or_deceives", "--without strict-json", "reset"),
    Control("75_every_rule_set_and_removed", "--without removal", "verdict"),
    Control("77_rules_that_change_under_a_request", "--without last-look", "refused"),
    Control("78_answers_that_come_too_late", "--without withdrawal", "withdrawn"),
    Control("79_more_questions_than_anybody_answers", "--limit asks_per_peer=160", "refused"),
    Control("80_predicates_and_hooks_that_fail", "--timeout ask=80", "over"),
    Control("81_other_names_for_the_same", "--without exact-ids", "na"),
    Control("96_rules_that_were_spoilt", "--without end-line", "cut"),
    # names and files
    Control("93_peer_ids", "--without inlined-keys", "error"),
    Control("93_addresses", "--constant addressing.parse.MAX_COMPONENTS=320", "error"),
    Control("94_invented_peers", "--constant book.store.PEERS=100000", "peers"),
    Control("94_connected_and_protected", "--without in-use", "known"),
    Control("96_damaged_books", "--without damaged-books", "error"),
    Control("96_two_writers", "--without one-step", "read"),
    Control("96_key_files", "--without owner-only", "error"),
)


def missed(control: Control, row: Row) -> str | None:
    """What is wrong with the control; None: the row fails as it should, or cannot be played here."""
    try:
        row.play(Arena(full=False, weak=tuple(control.options.split())))
    except pytest.skip.Exception:
        return None
    except Exception as error:
        failed = facts(error)
        return None if failed & set(control.facts.split()) else f"fails by {failed or 'something else'}: {error}"
    return "does not fail"


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
