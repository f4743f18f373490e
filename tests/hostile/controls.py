"""The negative control of each row: what is taken away from the program under test, and where it fails then.

    python -m tests.hostile.controls [row ...]

plays the rows against such programs, several at a time, one line each; a row that does not fail as it should is
played again, alone. The table of tests/hostile/README.md tells people what is taken away.
"""

from __future__ import annotations

import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest

from tests.hostile.arena import Arena
from tests.hostile.rows import Row, chosen

TOGETHER = 6


CONTROLS: Final = {
    # TCP, listener and dialer
    "1_slowloris": ("--timeout upgrade=20", "max(lives) <"),
    "2_accept_flood": ("--limit accept_rate=None", "served <="),
    "3_many_connections_of_one_address": ("--limit per_subnet=80", "len(refused) == 8"),
    "3_many_connections_of_one_customer": ("--limit per_subnet=80", "alive(1.0)]) == 8"),
    "4_no_descriptors_left": ("--constant transport.tcp.TOGETHER=1024", "said <="),
    "5_reset_before_accept": ("--without loss", "soon("),
    "6_silent_death": ("--timeout keepalive=5", "lasts:"),
    "7_fin_at_every_byte": ("--without fin", "until_closed:"),
    "8_another_protocol": ("--without header", "until_closed:"),
    "10_addresses_that_lead_inwards": ("--without reachable", "inner in text"),
    "9_black_holes": ("--constant swarm.dialer.IN_FLIGHT=4", "accept:"),
    "10_no_packet_leads_inwards": ("--without reachable", "called =="),
    "11_names_without_end": ("--constant resolving.expansion.LOOKUPS=320", "lookups <= LOOKUPS"),
    "11_names_that_lead_inwards": ("--without permitted", '== "NameResolutionError", (ip'),
    "11_nameservers_that_say_nothing": ("--timeout resolve=10", '<= answer["seconds"] <='),
    "123_banned_addresses": ("--without early-bans", "until_closed:"),
    "111_the_end_with_stalled_peers": ("--timeout close=60 --constant muxing.yamux_muxer.CLOSE_GRACE=60", "stop:"),
    # WebSocket
    "12_requests_that_are_none": ("--constant transport.websocket_opening.MAX_HEAD=1048576", "== status"),
    "13_frames_that_are_none": ("--constant websocket.frames.NOTHINGS=1000000", "closed_with:"),
    "14_the_end_of_a_websocket": ("--constant transport.websocket_wire.CLOSE_GRACE=20", "soon("),
    # TLS
    "160_what_is_no_tls": ("--constant transport.tls_wire.HELLO=10485760", "until_closed:"),
    "161_records_that_say_nothing": ("--constant transport.tls_wire.SILENT=1000000", "until_closed:"),
    # multistream-select
    "15_bad_headers": ("--without header", "until_closed:"),
    "16_bad_lengths": ("--without line-length", "until_closed:"),
    "17_too_many_proposals": ("--constant multistream.MAX_PROPOSALS=640", "reset_with:"),
    "18_any_segments": ("--without coalesced", "1 in peer.finished"),
    "19_answers_to_another_question": ("--without echo --timeout upgrade=1", "== error"),
    "20_parked_negotiations": ("--constant connection.handlers.NEGOTIATING=1280", "reset_with:"),
    "21_lazy_dialer": ("--without lazy-answer", "== error"),
    "23_stripped_security": ("--without security", "expect_lines:"),
    "24_many_failed_negotiations": ("--constant yamux.session.RESET_BURST=10240", "ends:"),
    # Yamux
    "26_frames_that_are_none": ("--without invariants", "ends:"),
    "27_lengths_refused_at_the_header": ("--without window", "ends:"),
    "28_one_byte_too_many": ("--without window", "ends:"),
    "30_credit_is_no_body": ("--without delta", "stream in peer.pongs"),
    "31_a_body_that_does_not_come": ("--constant muxing.yamux_muxer.INCOMPLETE=20", "lasts:"),
    "32_frames_for_streams_that_are_gone": ("--limit receive_memory=335544320", "ends:"),
    "33_pings_and_nobody_reads": ("--without pause", "grown: or < sockets"),
    "34_answers_that_are_owed": ("--without pause", "grown: or < sockets"),
    "35_acknowledgements": ("--constant yamux.session.ACK_BACKLOG=2560", "in_use <= 1"),
    "37_streams_beyond_the_limit": ("--limit streams_in=5120", "reset_with:"),
    "38_unread_bodies": ("--limit receive_memory=335544320", "budget * 0.9"),
    "38_unread_bodies_of_all": ("--limit receive_memory_total=167772160", "total * 0.6"),
    "39_rapid_reset": ("--constant yamux.session.RESET_BURST=102400", "ends:"),
    "40_made_you_reset": ("--constant yamux.session.RESET_BURST=102400", "ends:"),
    "41_both_write_before_they_read": ("--without turns", "no credit"),
    "44_stalled_reader": ("--timeout write_stall=15", "stall + 3"),
    "45_keep_alive": ("--timeout keepalive_answer=5", "lasts:"),
    # Noise and the identity
    "46_handshake_messages": ("--without proof", "third_messages:"),
    "47_transport_records": ("--without tags", "ends:"),
    "48_the_last_counters": ("--constant noise.records.MAX_NONCE=18446744073709551616", "ends:"),
    "49_points_of_low_order": ("--without low-order", "until_closed:"),
    "50_identity_signatures": ("--without signature", "third_messages:"),
    "51_keys_for_which_anybody_signs": ("--without sound-keys", "third_messages:"),
    "52_identity_keys": ("--without key-sizes", "third_messages:"),
    "53_data_before_the_proof": ("--without proof", "third_messages:"),
    "54_somebody_else_answers": ("--without expected", "PeerIdMismatch"),
    "55_after_the_handshake": ("--without tags", "ends:"),
    # identify, ping, protobuf
    "57_signed_records": ("--without records", '"record"] is False'),
    "58_parts_without_end": ("--timeout identify=15", "slow in dribbles.resets"),
    "59_ping": ("--constant protocols.ping.STREAMS_IN=20", "reset_with:"),
    "60_protocol_names": ("--constant protocols.identify_messages.MAX_PROTOCOLS=10240", "== 1_024"),
    "61_addresses_that_are_none": ("--constant protocols.identify_messages.MAX_ADDRESSES=640", "== 64"),
    "62_pushes": ("--without one-push", "reset_with:"),
    "120_addresses_that_cost": ("--constant protocols.identify_messages.MAX_EXAMINED=1280", "== few"),
    "121_pushes_that_cost": ("--constant protocols.identify.PUSH_EVERY=0.1", "<= taken <="),
    "122_identify_asked_without_end": ("--constant protocols.identify.ASKS=100", "reset_with:"),
    "64_protobuf": ("--without decoding", "stream in peer.resets"),
    "65_length_prefixes": ("--constant protocols.identify_messages.MAX_PART=81920", "peer.over(stream, 1.0)"),
    # the application
    "71_events_that_nobody_takes": ("--constant events.backlog.SHARES=0.8", "0 < through"),
    "76_each_option_alone": ("--without options", "== [option]"),
    # requests
    "66_malformed_beside_others": ("--without read-json", "Reset.PROTOCOL_VIOLATION"),
    "67_dribbled": ("--timeout request=20", "dribble:"),
    "68_answers_that_are_none": ("--without answer-length", "{expected: 1}"),
    "69_more_requests_than_places": ("--limit requests_per_peer=1000", "reset_with:"),
    "70_the_connection_ends": ("--without endings", "soon(told)"),
    "72_answers_after_the_end": ("--without requester", "== never"),
    # the firewall, and its rules in a file
    "73_a_rejected_peer_sends": ("--without foresight", "over(peer, stream), within"),
    "74_json_that_costs_or_deceives": ("--without strict-json", "Reset.PROTOCOL_VIOLATION"),
    "75_every_rule_set_and_removed": ("--without removal", "== verdict"),
    "77_rules_that_change_under_a_request": ("--without last-look", "(moment, peer.body"),
    "78_answers_that_come_too_late": ("--without withdrawal", '["open"] == 0'),
    "79_more_questions_than_anybody_answers": ("--limit asks_per_peer=160", "refused_at_once:"),
    "80_predicates_and_hooks_that_fail": ("--timeout ask=80", "over(peer, stream), within"),
    "81_other_names_for_the_same": ("--without exact-ids", '== "na", name'),
    "96_rules_that_were_spoilt": ("--without end-line", 'cut["allows"]'),
    # mDNS
    "101_packets_that_are_none": ("--limit mdns_rate=2000", "found <="),
    "102_what_the_lan_may_say": ("--limit mdns_peers=2560", '["peers"] <= 256'),
    "104_spoofed": ("--constant mdns.speaker.EVERY=0.01", "answers <="),
    # rules that change and rules in files, and the log
    "150_a_rule_for_one_peer": ("--without one-peer", "max(judged) <="),
    "150_rules_that_hooks_have_learned": ("--constant firewall.entries.LEARNED=400", '["learned"] <='),
    "151_rules_of_a_costly_shape": ("--without shape", 'about in got["text"]'),
    "151_files_that_others_may_write": ("--without others", "refused:"),
    "152_a_log_that_strangers_write": ("--without first-line", '["written"] <='),
    "152_handlers_that_fail": ("--constant logs.AT_ONCE=1000", '["written"] <='),
    # what requests cost everybody else
    "130_long_bodies_that_end_together": (
        "--constant request_response.server.LONG=1073741824 --constant streams.waiter.SLICE=60",
        "everybody waited",
    ),
    "130_short_bodies_that_end_together": ("--constant streams.waiter.SLICE=60", "everybody waited"),
    "131_memory_of_requests": (
        "--limit request_memory=83886080 --limit request_memory_per_peer=20971520",
        "<= total * 3 // 4",
    ),
    "131_events_that_show_requests": ("--without held-by-events", "of {fit}"),
    "132_questions_of_strangers": ("--without reserve", "asked_about:"),
    "132_brackets_in_a_text": ("--constant request_response.codecs.codec.WEIGHED=1073741824", "asked_about:"),
    "133_any_id_of_a_protocol": ("--without all-ids", '== "na", name'),
    "133_requests_without_a_name": ("--without names", '== "refused", message'),
    # shares of a turn, of the timer, of the places
    "36_stream_ids_that_run_out": ("--constant yamux.session.WORN=0", "accept:"),
    "42_frames_of_the_least_size": (
        ("--constant yamux.receiver.TURN_SECONDS=60 --constant transport.socket_wire.INBOX_BYTES=2621440"),
        '["busy"]',
    ),
    "107_time_outs_in_the_turn_of_success": ("--without unwanted", "<= ALLOWED"),
    "140_streams_that_say_nothing": ("--constant connection.handlers.SILENT_BURST=12800", "ends:"),
    "141_pieces_while_the_application_is_asked": ("--without joined", "grown:"),
    "142_strangers_take_all_places": ("--constant firewall.limits.gate.RESERVED=1000000", "ends:"),
    # names and files
    "93_peer_ids": ("--without inlined-keys", '== "DecodeError"'),
    "93_addresses": ("--constant addressing.parse.MAX_COMPONENTS=320", '== "DecodeError"'),
    "94_invented_peers": ("--constant book.store.PEERS=100000", "<= 10_000"),
    "94_connected_and_protected": ("--without in-use", "staying <= known"),
    "95_records_that_roll_back": ("--without editions", 'info["record"] is taken'),
    "96_damaged_books": ("--without damaged-books", '== "ConfigError", (data'),
    "96_two_writers": ("--without one-step", "written_by_two:"),
    "96_key_files": ("--without owner-only", "(mode, got)"),
}
"""By the name behind ``test_row_``: options of tests/hostile/settings.py, and where the row fails with them.

That is a piece of the line, or the function with a colon: ``"ends:"``. Where it depends on the machine which of two
fails first, ``or`` stands between them.
"""


def fails(error: BaseException, at: str) -> bool:
    """Whether the error, or what caused it, has come through there."""
    frames = traceback.extract_tb(error.__traceback__)
    own = any(at == f"{frame.name}:" or at in (frame.line or "") for frame in frames)
    return own or (error.__cause__ is not None and fails(error.__cause__, at))


def missed(row: Row) -> str | None:
    """What is wrong with the control; None: the row fails as it should, or cannot be played here."""
    options, places = CONTROLS[row.short]
    try:
        row.play(Arena(full=False, weak=tuple(options.split())))
    except pytest.skip.Exception:
        return None
    except Exception as error:
        as_it_should = any(fails(error, at) for at in places.split(" or "))
        return None if as_it_should else f"fails elsewhere: {''.join(traceback.format_exception(error))}"
    return "does not fail"


def report(row: Row) -> bool:
    """Whether it fails as it should, and one line about it."""
    start = time.monotonic()
    wrong = missed(row)
    print(f"{row.test:50} {time.monotonic() - start:5.1f} s  {wrong or 'fails as it should'}", flush=True)
    return wrong is None


def main(numbers: list[str]) -> int:
    wanted = chosen(numbers)
    with ThreadPoolExecutor(TOGETHER) as pool:  # they wait, most of the time
        outcomes = list(pool.map(report, wanted))
    failures = [row for row, well in zip(wanted, outcomes, strict=True) if not well and not report(row)]
    print(f"{len(wanted) - len(failures)} of {len(wanted)} rows fail without their check")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
