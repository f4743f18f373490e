"""The main scenarios once more on uvloop, which nothing of ours depends on."""

# ruff: noqa: E402, F401

from __future__ import annotations

import asyncio

import pytest

uvloop = pytest.importorskip("uvloop")

from tests.connection.test_connection import (
    test_a_broken_invariant,
    test_a_peer_that_does_not_take_our_answers,
    test_a_record_that_does_not_open,
    test_returning_closes_raising_resets,
    test_the_peer_goes_away,
    test_we_go_away,
)
from tests.connection.test_connection import test_an_orderly_close as test_orderly_close
from tests.streams.test_negotiation import (
    test_refused_after_the_first_data,
    test_the_stream_ends_while_the_application_is_asked,
)
from tests.streams.test_over_connections import (
    test_a_reset_ends_both_and_tells_its_code,
    test_each_direction_ends_by_itself,
    test_many_streams_at_once_do_not_mix,
)
from tests.swarm.test_dialer import (
    test_a_wrong_peer_beside_the_right_one,
    test_all_leave,
    test_dial,
    test_fifty_callers_one_connection,
    test_the_limit_is_reached_while_we_dial,
)
from tests.swarm.test_listener import (
    test_several_listeners,
    test_the_limit_of_one_peer,
    test_the_oldest_gives_way,
)
from tests.swarm.test_swarm import (
    test_a_ban_ends_connections,
    test_peers_that_end_in_every_way,
    test_several_swarms_share_a_loop_and_nothing_else,
)
from tests.test_closing import test_closing_again_and_several_times_at_once, test_closing_from_inside
from tests.test_events import test_sockets_wait_and_their_deadline_does_not
from tests.transport.test_socket_wire import (
    test_congestion_begins_and_ends,
    test_finish_lets_everything_leave_and_reads_on,
    test_two_wires_share_an_inbox_and_keep_their_own_rest,
    test_what_was_not_used_comes_again,
)

for _ in range(3):  # libuv keeps a pipe for signals from its first loop on
    _loop = uvloop.new_event_loop()
    _loop.run_until_complete(asyncio.sleep(0))
    _loop.close()

LOOPS = {"uvloop": uvloop.new_event_loop}
