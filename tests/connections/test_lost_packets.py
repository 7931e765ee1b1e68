"""Packets that the capture lost, and the connections that were open then."""

import pytest

from analyzer import limits

OTHER = ("10.0.0.3", 40001)
QUESTION = ("10.0.0.1", 5353)
ANSWER = ("10.0.0.2", 53)


def lose(wire, packets, capture_index=0, *, is_told=True):
    wire.rows += wire.table.lose(packets, round(wire.now * 1_000_000), capture_index, is_told=is_told)


def lost(wire):
    return {row.client_port: row.dropped_packets for row in wire.connections}


def close(wire, client, server):
    wire.tcp(client, server, "FA", 1001, 5001)
    wire.tcp(server, client, "FA", 5001, 1002)
    wire.tcp(client, server, "A", 1002, 5002)


def test_only_connections_that_are_open_then_may_have_lost_something(wire, client, server):
    lose(wire, 0)
    wire.handshake(client, server)
    lose(wire, 7)
    close(wire, client, server)
    lose(wire, 100)  # while the table still waits for late packets of the closed one
    wire.handshake(OTHER, server)
    close(wire, OTHER, server)
    wire.finish()
    assert lost(wire) == {client[1]: 7, OTHER[1]: 0}


def test_without_a_count_nothing_is_known(wire, client, server):
    wire.handshake(client, server)
    wire.finish()
    assert lost(wire) == {client[1]: None}


def test_a_count_of_another_capture_tells_nothing(wire, client, server):
    wire.handshake(client, server)
    lose(wire, 5, capture_index=1)
    wire.finish()
    assert lost(wire) == {client[1]: None}


def test_a_connection_without_an_end_is_open_until_the_capture_ends(wire, client, server):
    lose(wire, 0)
    wire.handshake(client, server)
    wire.tcp(client, server, "FA", 1001, 5001)
    lose(wire, 3)
    wire.finish()
    assert lost(wire) == {client[1]: 3}


def test_what_is_lost_after_a_reset_that_is_taken_back_counts(wire, client, server):
    lose(wire, 0)
    wire.handshake(client, server)
    wire.tcp(client, server, "R", 1001, at=10)
    lose(wire, 4)
    for number in range(80):  # both go on: it was forged
        wire.tcp(client, server, "A", 1001 + number, 5001 + number, b"c", at=11 + number)
        wire.tcp(server, client, "A", 5001 + number, 1002 + number, b"s", at=11.5 + number)
    wire.elsewhere(200, 20_000)
    lose(wire, 2)
    wire.finish()
    assert lost(wire) == {client[1]: 6}


def test_a_connection_that_takes_the_place_of_another_counts_from_its_own_beginning(wire, client, server):
    lose(wire, 1)
    wire.handshake(client, server)
    lose(wire, 10)
    wire.tcp(client, server, "S", 90_000, scale=7)
    lose(wire, 100)
    wire.tcp(server, client, "SA", 70_000, 90_001, scale=7)
    wire.tcp(client, server, "A", 90_001, 70_001)
    wire.finish()
    assert [row.dropped_packets for row in wire.connections] == [110, 100]


def test_a_flow_is_open_as_long_as_more_may_come(wire):
    lose(wire, 0)
    wire.udp(QUESTION, ANSWER, b"one")
    wire.now = 100_000
    lose(wire, 2)
    wire.now = 130_000
    lose(wire, 50)
    wire.udp(QUESTION, ANSWER, b"two", at=130_000)
    wire.finish()
    assert [row.dropped_packets for row in wire.connections] == [2, 0]


def test_whether_a_flow_is_ended_before_or_at_the_next_packet_makes_no_difference(make_wire):
    found = []
    for is_live in (False, True):
        wire = make_wire()
        lose(wire, 0)
        wire.udp(QUESTION, ANSWER, b"one")
        if is_live:
            wire.rows += wire.table.advance(125_000 * 1_000_000)
        wire.now = 130_000
        lose(wire, 50)
        wire.udp(("10.0.0.9", 1), ANSWER, b"two", at=130_000)
        wire.finish()
        found.append(lost(wire))
    assert found == [{QUESTION[1]: 0, 1: 0}] * 2


def test_rows_of_what_is_open_say_what_was_lost_so_far(wire, client, server):
    lose(wire, 0)
    wire.handshake(client, server)
    lose(wire, 8)
    (row,) = [row for row in wire.table.open_rows(0) if hasattr(row, "dropped_packets")]
    assert row.dropped_packets == 8


@pytest.mark.parametrize("counts", [[limits.DROPPED_PACKETS - 1] * 3, [limits.DROPPED_PACKETS] * 2])
def test_from_a_sum_that_no_capture_can_have_on_nothing_is_known(wire, client, server, counts):
    lose(wire, 0)
    wire.handshake(client, server)
    lose(wire, 5)
    (row,) = [row for row in wire.table.open_rows(0) if hasattr(row, "dropped_packets")]
    assert row.dropped_packets == 5
    for count in counts:
        lose(wire, count)
    wire.handshake(OTHER, server)
    lose(wire, 7)
    wire.finish()
    assert lost(wire) == {client[1]: None, OTHER[1]: None}


def test_a_capture_of_which_a_part_does_not_tell_says_nothing_from_then_on(wire, client, server):
    lose(wire, 0)
    lose(wire, 0, capture_index=1)
    wire.handshake(client, server)
    lose(wire, 3, is_told=False)
    wire.finish()
    assert lost(wire) == {client[1]: None}
