"""Ordered bytes: reordering, repetition, holes, stalls, what is cut off, and the end of each direction."""

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer import limits
from analyzer.records import AnomalyRecord, StallRecord

SENT_AT = bytes((1, 1, 8, 10))


def timestamps(value: int) -> bytes:
    """The timestamps option with TSval ``value``."""
    return SENT_AT + value.to_bytes(4, "big") + bytes(4)


def selective(*blocks: tuple[int, int]) -> bytes:
    """The selective acknowledgment option."""
    body = b"".join(edge.to_bytes(4, "big") for block in blocks for edge in block)
    return bytes((1, 1, 5, 2 + len(body))) + body


# --- properties ---


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.tuples(st.integers(0, 59), st.integers(1, 25)), max_size=25),
    st.randoms(use_true_random=False),
)
def test_any_cutting_repetition_and_order_gives_the_same_bytes(wire_class, client, server, isn, extra, shuffle):
    content = bytes(range(60))
    cuts = sorted({0, 60, *(start for start, _ in extra)})
    segments = list(pairwise(cuts)) + [(a, min(60, a + n)) for a, n in extra]
    shuffle.shuffle(segments)
    wire = wire_class()
    wire.handshake(isn=isn)
    for start, end in segments:
        wire.tcp(client, server, "PA", isn + 1 + start, 5001, content[start:end])
    wire.tcp(client, server, "FA", isn + 61, 5001)
    wire.finish()
    assert wire.heard().shape(0) == [("feed", content), ("close", "fin")]
    assert (wire.connection.bytes_to_server, wire.connection.missing_bytes_to_server) == (60, 0)
    assert wire.connection.retransmitted_bytes == sum(b - a for a, b in segments) - 60 or wire.connection.duplicate_packets


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.tuples(st.integers(0, 59), st.integers(1, 12)), min_size=1, max_size=14),
)
def test_what_never_came_is_a_gap_of_just_that_length(wire_class, client, server, isn, segments):
    content = bytes(range(1, 61))
    seen = {position for start, length in segments for position in range(start, min(60, start + length))}
    expected: list[tuple[str, object]] = []
    for position in range(60):
        is_seen = position in seen
        kind = "feed" if is_seen else "gap"
        if not expected or expected[-1][0] != kind:
            expected.append((kind, b"" if is_seen else 0))
        told = expected[-1][1]
        expected[-1] = (kind, told + content[position : position + 1] if is_seen else told + 1)
    wire = wire_class()
    wire.handshake(isn=isn)
    for start, length in segments:
        wire.tcp(client, server, "PA", isn + 1 + start, 5001, content[start : min(60, start + length)])
    wire.tcp(client, server, "FA", isn + 61, 5001)
    wire.finish()
    assert wire.heard().shape(0) == [*expected, ("close", "fin")]
    assert (wire.connection.bytes_to_server, wire.connection.missing_bytes_to_server) == (len(seen), 60 - len(seen))


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.booleans())
def test_whatever_is_lost_no_byte_is_delivered_where_it_was_not_sent(wire_class, client, server, isn, seed, has_handshake):
    chance = random.Random(seed)
    content = b""
    while len(content) < 400:  # any bytes of a packet, at most 39, are at one place of it only
        byte = chance.randbytes(1)
        content += byte if byte not in content[-40:] else b""
    wire = wire_class()
    if has_handshake:
        wire.handshake(isn=isn)
    carried: dict[int, int] = {}  # the position in the content of each packet
    position = 0
    sent: list[tuple[int, int]] = []
    while position < 400:
        end = min(400, position + chance.randint(1, 30))
        sent.append((position, end))
        position = end
    for index, (start, end) in enumerate(list(sent)):
        if chance.random() < 0.3:
            sent.insert(min(len(sent), index + chance.randint(1, 6)), (start, min(400, end + chance.randint(0, 9))))
    for start, end in sent:
        if chance.random() < 0.25:
            continue
        captured = chance.randint(0, end - start) if chance.random() < 0.1 else None
        wire.tcp(client, server, "PA", isn + 1 + start, 5001, content[start:end], captured=captured)
        carried[wire.frame] = start
        if chance.random() < 0.4:
            wire.tcp(server, client, "A", 5001, isn + 1 + chance.randint(0, end))
        if chance.random() < 0.1:
            wire.elsewhere()
        if chance.random() < 0.05:
            wire.now -= 5000
    wire.finish()
    told = [event for event in wire.heard().events if event[1] == 0]
    if not told:
        return
    at = 0
    if not has_handshake:
        first = next((event for event in told if event[0] == "feed"), None)
        lead = sum(event[2] or 0 for event in told[: told.index(first)] if event[0] == "gap") if first else 0
        at = (400 if first is None else content.index(first[2], carried[first[5]])) - lead
    for event in told:
        if event[0] == "feed":
            assert content[at : at + len(event[2])] == event[2]
            assert 0 <= at - carried[event[5]] < 40
            at += len(event[2])
        elif event[0] == "gap" and event[2] is not None:
            at += event[2]
    assert at <= 400


# --- holes ---


def test_a_hole_is_declared_when_its_acknowledgment_is_older_than_reordering(wire, client, server):
    wire.handshake()
    wire.tcp(client, server, "PA", 1001, 5001, b"one")
    wire.tcp(client, server, "PA", 1007, 5001, b"three")
    wire.tcp(server, client, "A", 5001, 1012)
    assert wire.heard().content(0) == b"one"
    wire.elsewhere(70, 10)  # packets enough, time not
    wire.elsewhere(2, 30)
    assert wire.heard().content(0) == b"one"
    wire.elsewhere(2, 30)
    assert wire.heard().events == [
        ("feed", 0, b"one", 4_000_000, 4_000_000, 4),
        ("gap", 0, 3, None, 5_000_000, 5),
        ("feed", 0, b"three", 5_000_000, 5_000_000, 5),
    ]
    (row,) = wire.anomalies
    assert (row.kind, row.direction, row.packet, row.missing_bytes, row.is_assumed) == ("missing_bytes", "to_server", 5, 3, False)
    assert row.required == "3 bytes from sequence number 1004"
    wire.tcp(client, server, "PA", 1004, 5001, b"two")
    wire.finish()
    assert wire.heard().content(0) == b"onethree"
    assert (wire.connection.missing_bytes_to_server, wire.connection.history) == (3, "ShADaGT")
    assert wire.stalls == []


def test_time_alone_does_not_declare_a_hole(wire, client, server):
    wire.handshake()
    wire.tcp(client, server, "PA", 1004, 5001, b"two")
    wire.tcp(server, client, "A", 5001, 1007)
    wire.elsewhere(10, 10_000)
    assert wire.heard().events == []
    wire.tcp(client, server, "PA", 1001, 5001, b"one")
    wire.finish()
    assert wire.heard().content(0) == b"onetwo"


def test_an_acknowledgment_that_no_window_allowed_declares_nothing(wire, client, server):
    wire.handshake(scale=0)
    wire.tcp(client, server, "PA", 1004, 5001, b"two")
    wire.tcp(server, client, "A", 5001, 1001 + 70_000)
    wire.elsewhere()
    assert wire.heard().events == []


def test_without_an_acknowledgment_a_hole_waits_for_the_end(wire, client, server):
    wire.handshake()
    wire.tcp(client, server, "PA", 1004, 5001, b"two")
    wire.elsewhere(200, 60_000)
    assert wire.heard().events == []
    wire.finish()
    assert wire.heard().shape(0) == [("gap", 3), ("feed", b"two"), ("close", "capture_end")]


def test_where_one_direction_was_captured_the_window_alone_decides_and_says_so(wire, client, server):
    wire.tcp(client, server, "S", 1000)
    wire.tcp(client, server, "PA", 1001, 5001, b"one")
    wire.tcp(client, server, "PA", 1007, 5001, b"three")
    wire.elsewhere()
    assert wire.heard().shape(0) == [("feed", b"one"), ("gap", 3), ("feed", b"three")]
    assert [row.is_assumed for row in wire.anomalies] == [True]


@pytest.mark.parametrize(
    ("size", "step", "packets"),
    [(60_000, 60_001, limits.HELD_BYTES // 60_000 + 1), (1, 2, limits.HELD_SEGMENTS + 1)],
    ids=["bytes", "segments"],
)
def test_at_a_limit_a_hole_is_assumed(wire, client, server, size, step, packets):
    wire.handshake()
    for number in range(packets):
        assert wire.heard().events == []
        wire.tcp(client, server, "PA", 1002 + step * number, 5001, b"x" * size)
    assert wire.heard().shape(0) == [("gap", 1), ("feed", b"x" * size)]
    assert [row.is_assumed for row in wire.anomalies] == [True]


def test_at_the_limit_of_all_connections_the_one_that_adds_gives_its_holes_up(wire, client, server):
    wire.table.most_held_bytes = 25 + 2 * limits.HELD_SEGMENT_BYTES
    other = ("10.0.0.1", 40001)
    wire.handshake()
    wire.handshake(other, server)
    wire.tcp(client, server, "PA", 1011, 5001, b"0123456789")
    wire.tcp(other, server, "PA", 1011, 5001, b"0123456789")
    wire.tcp(other, server, "PA", 1031, 5001, b"0123456789")
    assert wire.heard(1).events == []
    assert wire.heard(4).shape(0) == [("gap", 10), ("feed", b"0123456789"), ("gap", 10), ("feed", b"0123456789")]
    assert {row.is_assumed for row in wire.anomalies} == {True}


def test_acknowledged_bytes_that_never_came_are_missing_at_the_end(wire, client, server):
    wire.handshake()
    wire.tcp(client, server, "PA", 1001, 5001, b"one")
    wire.tcp(server, client, "PA", 5001, 1024, b"answer")
    wire.finish()
    assert wire.connection.missing_bytes_to_server == 20
    assert wire.heard().shape(0) == [("feed", b"one"), ("gap", None), ("close", "capture_end")]


def test_an_acknowledged_fin_that_never_came_is_no_missing_byte(wire, client, server):
    wire.handshake()
    wire.tcp(client, server, "PA", 1001, 5001, b"one")
    wire.tcp(server, client, "PA", 5001, 1005, b"answer")
    wire.finish()
    assert wire.connection.missing_bytes_to_server == 0


def test_what_a_direction_that_was_not_captured_sent_is_told_by_its_acknowledgments(wire, client, server):
    wire.tcp(client, server, "PA", 1001, 5001, b"one")
    wire.tcp(client, server, "PA", 1004, 5401, b"two")
    wire.finish()
    assert (wire.connection.packets_to_client, wire.connection.missing_bytes_to_client) == (0, 400)


def test_a_connection_that_began_before_the_capture_begins_with_a_gap_of_unknown_length(wire, client, server):
    wire.tcp(client, server, "PA", 1001, 5001, b"one")
    wire.tcp(server, client, "PA", 5001, 1004, b"two")
    wire.finish()
    assert wire.heard().events == [
        ("gap", 0, None, None, 1_000_000, 1),
        ("feed", 0, b"one", 1_000_000, 1_000_000, 1),
        ("gap", 1, None, None, 2_000_000, 2),
        ("feed", 1, b"two", 2_000_000, 2_000_000, 2),
        ("close", 0, "capture_end", 2_000_000, 2),
        ("close", 1, "capture_end", 2_000_000, 2),
    ]
    assert (wire.connection.state, wire.connection.history) == ("OTH", "Dd")


def test_bytes_missing_before_the_first_that_were_captured_are_told_where_an_acknowledgment_shows_their_beginning(
    wire, client, server
):
    wire.tcp(client, server, "S", 1000, scale=0)
    wire.tcp(client, server, "A", 1001, 5001)
    wire.tcp(client, server, "PA", 1001, 5001, b"request")
    wire.tcp(server, client, "PA", 5401, 1008, b"end")
    wire.tcp(client, server, "A", 1008, 5404)
    wire.elsewhere()
    assert wire.heard().shape(1) == [("gap", None), ("gap", 400), ("feed", b"end")]
    wire.finish()
    assert wire.connection.missing_bytes_to_client == 400


def test_the_first_segments_of_a_connection_begun_before_the_capture_may_swap_places(wire, client, server):
    wire.tcp(client, server, "A", 1001, 5001)
    wire.tcp(server, client, "PA", 5004, 1001, b"two")
    wire.tcp(server, client, "PA", 5001, 1001, b"one")
    wire.finish()
    assert wire.heard().shape(1) == [("gap", None), ("feed", b"onetwo"), ("close", "capture_end")]


def test_bytes_that_no_window_allowed_and_nobody_acknowledged_are_dropped_at_the_end(wire, client, server):
    wire.handshake(scale=0)
    wire.tcp(client, server, "PA", 1001, 5001, b"one")
    wire.tcp(client, server, "PA", 1001 + 500_000_000, 5001, b"forged")
    wire.finish()
    assert wire.heard().shape(0) == [("feed", b"one"), ("close", "capture_end")]
    assert (wire.connection.missing_bytes_to_server, [row.kind for row in wire.anomalies]) == (0, ["out_of_window"])


def test_a_capture_that_paused_for_more_than_a_window_goes_on_after_a_gap(wire, client, server):
    wire.handshake(scale=0)
    wire.tcp(client, server, "PA", 1001, 5001, b"one")
    wire.tcp(client, server, "PA", 10_001_001, 5001, b"later")
    wire.tcp(server, client, "A", 5001, 10_001_006)
    wire.elsewhere()
    assert wire.heard().shape(0) == [("feed", b"one"), ("gap", 9_999_997), ("feed", b"later")]


# --- stalls ---


def test_bytes_that_waited_are_released_when_the_hole_is_filled(wire, client, server):
    wire.handshake()
    wire.tcp(client, server, "PA", 1001, 5001, b"one")
    wire.tcp(client, server, "PA", 1007, 5001, b"three", at=10)
    wire.tcp(client, server, "PA", 1012, 5001, b"four", at=11)
    wire.tcp(client, server, "PA", 1004, 5001, b"two", at=210)
    wire.finish()
    assert wire.heard().events[:4] == [
        ("feed", 0, b"one", 4_000_000, 4_000_000, 4),
        ("feed", 0, b"two", 210_000_000, 210_000_000, 7),
        ("feed", 0, b"three", 10_000_000, 210_000_000, 5),
        ("feed", 0, b"four", 11_000_000, 210_000_000, 6),
    ]
    (stall,) = wire.stalls
    assert (stall.stall_index, stall.direction, stall.kind, stall.evidence) == (0, "to_server", "tcp_hole", "retransmission")
    assert (stall.started_at, stall.ended_at, stall.duration_ns) == (10_000_000, 210_000_000, 200_000_000)
    assert (stall.waiting_bytes, stall.first_packet, stall.last_packet) == (9, 5, 7)
    assert [(row.stall_index, row.stream_index, row.stalled_ns) for row in wire.stalled_streams] == [(0, 0, 200_000_000)]
    assert wire.streams[0].stalled_ns == 200_000_000
    assert (wire.connection.out_of_order_packets, wire.connection.retransmitted_packets) == (1, 0)


@pytest.mark.parametrize(
    ("evidence", "first", "second", "filled_after"),
    [
        ("late", {"options": timestamps(20)}, {"options": timestamps(19)}, 500),
        ("retransmission", {"options": timestamps(20)}, {"options": timestamps(21)}, 0.01),
        ("late", {"identification": 70}, {"identification": 69}, 500),
        ("retransmission", {"identification": 70}, {"identification": 71}, 0.01),
        ("late", {"is_bare": True}, {"is_bare": True}, 1),
        ("retransmission", {"is_bare": True}, {"is_bare": True}, 2),
    ],
)
def test_what_filled_a_hole_is_told_by_clock_counter_or_round_trip(wire, client, server, evidence, first, second, filled_after):
    wire.handshake()  # 2 ms round trip
    wire.tcp(client, server, "PA", 1004, 5001, b"two", at=10, **first)
    wire.tcp(client, server, "PA", 1001, 5001, b"one", at=10 + filled_after, **second)
    assert [stall.evidence for stall in wire.stalls] == [evidence]


def test_a_loss_beyond_the_capture_point_is_told_by_repeated_acknowledgments(wire, client, server):
    wire.handshake()
    for number in range(4):
        wire.tcp(client, server, "PA", 1001 + 10 * number, 5001, b"0123456789", at=10 + number)
    wire.tcp(server, client, "A", 5001, 1011, at=20)
    wire.tcp(server, client, "A", 5001, 1011, at=21, options=selective((1021, 1031)))
    wire.tcp(server, client, "A", 5001, 1011, at=22, options=selective((1021, 1041)))
    wire.tcp(client, server, "PA", 1011, 5001, b"0123456789", at=30)
    wire.tcp(server, client, "A", 5001, 1041, at=40)
    wire.finish()
    (stall,) = wire.stalls
    assert (stall.evidence, stall.started_at, stall.ended_at) == ("duplicate_acknowledgments", 21_000_000, 40_000_000)
    assert (stall.waiting_bytes, stall.first_packet, stall.last_packet) == (20, 9, 12)
    assert wire.connection.retransmitted_packets == 1
    assert wire.heard().content(0) == b"0123456789" * 4


# --- copies ---


def test_exact_copies_are_duplicates_and_change_nothing(wire, client, server):
    for arguments in (
        (client, server, "S", 1000, 0),
        (server, client, "SA", 5000, 1001),
        (client, server, "A", 1001, 5001),
        (client, server, "PA", 1001, 5001, b"hello"),
        (server, client, "A", 5001, 1006),
        (client, server, "FA", 1006, 5001),
        (server, client, "FA", 5001, 1007),
    ):
        wire.tcp(*arguments, copies=3)
    wire.finish()
    assert (wire.connection.duplicate_packets, wire.connection.retransmitted_packets) == (14, 0)
    assert (wire.connection.history, wire.connection.state, wire.connection.server_rtt_ns) == ("ShADaFf", "SF", 1_000_000)
    assert (wire.connection.packets_to_server, wire.connection.packets_to_client) == (12, 9)


def test_copies_may_come_in_bursts(wire, client, server):
    wire.handshake()
    for _ in range(2):
        for number in range(5):
            wire.tcp(client, server, "PA", 1001 + number, 5001, b"x", at=10, identification=100 + number)
    for _ in range(2):
        for number in range(5, 10):
            wire.tcp(client, server, "PA", 1001 + number, 5001, b"x", at=11, identification=100 + number)
    wire.finish()
    # the first burst's copies are told by what the first of them made the connection remember
    assert wire.connection.duplicate_packets >= 5
    assert wire.connection.duplicate_packets + wire.connection.retransmitted_packets == 10


def test_the_same_segment_sent_again_is_a_retransmission(wire, client, server):
    wire.handshake()
    wire.tcp(client, server, "PA", 1001, 5001, b"hello")
    wire.tcp(client, server, "PA", 1001, 5001, b"hello")
    wire.tcp(client, server, "PA", 1003, 5001, b"llo, world")
    wire.finish()
    assert (wire.connection.retransmitted_packets, wire.connection.retransmitted_bytes) == (2, 8)
    assert (wire.connection.duplicate_packets, wire.connection.history) == (0, "ShADT")
    assert wire.heard().content(0) == b"hello, world"


def test_of_differing_copies_the_one_with_a_valid_checksum_is_delivered(wire, client, server):
    wire.handshake()
    wire.tcp(client, server, "PA", 1004, 5001, b"bad", is_damaged=True)
    wire.tcp(client, server, "PA", 1004, 5001, b"two")
    wire.tcp(client, server, "PA", 1001, 5001, b"one")
    assert wire.heard().content(0) == b"onetwo"
    assert wire.anomalies == []


@pytest.mark.parametrize("is_damaged", [False, True])
def test_of_differing_copies_as_good_as_each_other_the_first_is_delivered(wire, client, server, is_damaged):
    wire.handshake()
    wire.tcp(client, server, "PA", 1004, 5001, b"two", is_damaged=is_damaged)
    wire.tcp(client, server, "PA", 1004, 5001, b"TWO", is_damaged=is_damaged)
    wire.tcp(client, server, "PA", 1001, 5001, b"one")
    assert wire.heard().content(0) == b"onetwo"
    assert [(row.kind, row.packet) for row in wire.anomalies] == [("conflicting_copies", 5)]


# --- what is cut off ---


def test_a_snapped_segment_is_delivered_as_far_as_it_goes(wire, client, server):
    wire.handshake()
    wire.tcp(client, server, "PA", 1001, 5001, b"0123456789", captured=4)
    wire.tcp(client, server, "PA", 1011, 5001, b"next")
    wire.finish()
    assert wire.heard().shape(0) == [("feed", b"0123"), ("gap", 6), ("feed", b"next"), ("close", "capture_end")]
    assert (wire.connection.bytes_to_server, wire.connection.missing_bytes_to_server) == (8, 6)


def test_a_later_copy_fills_in_what_was_cut_off_only_while_it_waits(wire, client, server):
    wire.handshake()
    wire.tcp(client, server, "PA", 1004, 5001, b"0123456789", captured=4)
    wire.tcp(client, server, "PA", 1004, 5001, b"0123456789", captured=8)
    wire.tcp(client, server, "PA", 1001, 5001, b"one")
    wire.tcp(client, server, "PA", 1004, 5001, b"0123456789")
    wire.finish()
    assert wire.heard().shape(0) == [("feed", b"one01234567"), ("gap", 2), ("close", "capture_end")]


# --- probes ---


def test_keep_alives_are_no_retransmissions(wire, client, server):
    wire.handshake()
    wire.tcp(client, server, "PA", 1001, 5001, b"hello")
    wire.tcp(server, client, "A", 5001, 1006)
    wire.tcp(client, server, "A", 1005, 5001)
    wire.tcp(server, client, "A", 5001, 1006)
    wire.tcp(client, server, "A", 1005, 5001, b"\0")
    wire.tcp(server, client, "A", 5001, 1006)
    wire.finish()
    assert (wire.connection.keep_alive_packets, wire.connection.retransmitted_packets) == (2, 0)
    assert wire.heard().content(0) == b"hello"


def test_bytes_that_waited_for_a_window_of_zero_to_open_are_a_stall(wire, client, server):
    wire.handshake()
    wire.tcp(client, server, "PA", 1001, 5001, b"hello", at=10)
    wire.tcp(server, client, "A", 5001, 1006, window=0, at=11)
    wire.tcp(client, server, "A", 1005, 5001, b"o", at=20)  # a probe
    wire.tcp(server, client, "A", 5001, 1006, window=0, at=21)
    wire.tcp(server, client, "A", 5001, 1006, window=500, at=31)
    wire.tcp(server, client, "A", 5001, 1006, window=900, at=32)
    wire.tcp(client, server, "PA", 1006, 5001, b", world", at=33)
    wire.tcp(server, client, "A", 5001, 1013, at=34)
    wire.tcp(client, server, "PA", 1013, 5001, b"!", at=35)
    wire.finish()
    assert wire.stalls == [
        StallRecord(
            connection_id=1,
            stall_index=0,
            direction="to_server",
            kind="tcp_window",
            started_at=11_000_000,
            ended_at=31_000_000,
            duration_ns=20_000_000,
            evidence="data_after_update",
            first_packet=5,
            last_packet=8,
        )
    ]
    assert wire.heard().content(0) == b"hello, world!"


def test_a_window_of_zero_has_a_row_without_a_number_while_it_lasts(wire, client, server):
    wire.handshake()
    wire.tcp(client, server, "PA", 1001, 5001, b"hello", at=10)

    def shut():
        return [row for row in wire.table.open_rows(0) if isinstance(row, StallRecord)]

    assert shut() == []
    wire.tcp(server, client, "A", 5001, 1006, window=0, at=11)
    expected = StallRecord(
        connection_id=1, stall_index=None, direction="to_server", kind="tcp_window", started_at=11_000_000, first_packet=5
    )
    assert shut() == [expected]
    wire.tcp(client, server, "A", 1005, 5001, b"o", at=20)  # a probe
    wire.tcp(server, client, "A", 5001, 1006, window=0, at=21)
    assert shut() == [expected]
    wire.tcp(server, client, "A", 5001, 1006, window=500, at=31)
    assert shut() == []
    wire.tcp(client, server, "PA", 1006, 5001, b", world", at=33)
    assert [stall.stall_index for stall in wire.stalls] == [0]
    wire.tcp(server, client, "A", 5001, 1013, window=0, at=34)
    wire.tcp(client, server, "FA", 1013, 5001, at=35)
    assert shut() == []  # nothing more comes that could wait


def test_faults_that_name_a_direction_are_there_while_it_is_not_known_who_is_the_client(make_wire, client, server):
    wire = make_wire(begins_with=b"something else")
    wire.tcp(client, server, "PA", 1001, 5001, b"hello", at=10)
    wire.tcp(client, server, "PA", 1106, 5001, b"world", at=11)
    wire.tcp(server, client, "A", 5001, 1111, at=12)
    wire.elsewhere()
    wire.tcp(server, client, "A", 5001, 1111, at=500)
    assert wire.anomalies == []
    (told,) = [row for row in wire.table.open_rows(0) if isinstance(row, AnomalyRecord)]
    assert (told.kind, told.direction) == ("missing_bytes", "to_server")
    wire.finish()
    assert [row for row in wire.anomalies if row.kind == "missing_bytes"] == [told]


def test_a_window_of_zero_that_nobody_wanted_to_send_into_is_no_stall(wire, client, server):
    wire.handshake()
    wire.tcp(client, server, "PA", 1001, 5001, b"hello", at=10)
    wire.tcp(server, client, "A", 5001, 1006, window=0, at=11)
    wire.tcp(server, client, "A", 5001, 1006, window=500, at=31)
    wire.tcp(server, client, "PA", 5001, 1006, b"bye", at=32)
    wire.tcp(client, server, "FA", 1006, 5004, at=40)
    wire.finish()
    assert wire.stalls == []


def test_zero_window_probes_are_no_keep_alives_and_deliver_their_byte_once(wire, client, server):
    wire.handshake()
    wire.tcp(client, server, "PA", 1001, 5001, b"hello")
    wire.tcp(server, client, "A", 5001, 1006, window=0)
    wire.tcp(client, server, "A", 1005, 5001)
    wire.tcp(server, client, "A", 5001, 1006, window=0)
    wire.tcp(client, server, "A", 1006, 5001, b",")
    wire.tcp(server, client, "A", 5001, 1006, window=0)
    wire.tcp(client, server, "A", 1006, 5001, b", world")
    wire.finish()
    assert (wire.connection.keep_alive_packets, wire.connection.zero_window_packets) == (0, 3)
    assert (wire.connection.history, wire.heard().content(0)) == ("ShADwaT", b"hello, world")


@pytest.mark.parametrize("is_acknowledged", [False, True])
def test_a_single_byte_where_the_capture_begins_may_be_a_keep_alive_s_and_is_not_delivered(wire, client, server, is_acknowledged):
    if is_acknowledged:
        wire.tcp(server, client, "A", 5001, 1006)
    for _ in range(2):
        wire.tcp(client, server, "A", 1005, 5001, b"\0")
        wire.tcp(server, client, "A", 5001, 1006)
    wire.tcp(client, server, "PA", 1006, 5001, b"world")
    wire.finish()
    assert wire.heard().shape(0) == [("gap", None), ("feed", b"world"), ("close", "capture_end")]
    found = wire.connection
    assert (found.keep_alive_packets, found.retransmitted_packets) == (1 + is_acknowledged, 0)
    assert (found.bytes_to_server, found.missing_bytes_to_server) == (5, 0)


def test_a_single_byte_where_the_capture_begins_is_delivered_when_its_receiver_was_waiting_for_it(wire, client, server):
    wire.tcp(server, client, "A", 5001, 1005)
    wire.tcp(client, server, "PA", 1005, 5001, b",")
    wire.tcp(client, server, "PA", 1006, 5001, b"world")
    wire.finish()
    assert wire.heard().shape(0) == [("gap", None), ("feed", b",world"), ("close", "capture_end")]


def test_a_byte_that_may_be_a_keep_alive_s_is_delivered_when_it_comes_again_with_others(wire, client, server):
    wire.tcp(client, server, "A", 1005, 5001, b",")
    wire.tcp(server, client, "A", 5001, 1005, window=0)
    wire.tcp(client, server, "PA", 1005, 5001, b", world")
    wire.finish()
    assert wire.heard().shape(0) == [("gap", None), ("feed", b", world"), ("close", "capture_end")]


def test_a_stream_of_single_bytes_lacks_only_the_first_where_the_capture_begins(wire, client, server):
    for position, byte in enumerate(b"hello"):
        wire.tcp(client, server, "PA", 1005 + position, 5001, bytes([byte]))
    wire.finish()
    assert wire.heard().shape(0) == [("gap", None), ("feed", b"ello"), ("close", "capture_end")]


# --- beginnings and ends ---


def test_data_beside_a_syn_counts_once(wire, client, server):
    wire.tcp(client, server, "S", 1000, 0, b"early")
    wire.tcp(server, client, "SA", 5000, 1001)  # not taken
    wire.tcp(client, server, "PA", 1001, 5001, b"early and late")
    wire.finish()
    assert wire.heard().shape(0) == [("feed", b"early and late"), ("close", "capture_end")]


def test_a_half_closed_connection_goes_on_the_other_way(wire, client, server):
    wire.handshake()
    wire.tcp(client, server, "PFA", 1001, 5001, b"question")
    wire.elsewhere(3, 20_000)
    wire.tcp(server, client, "PFA", 5001, 1010, b"answer")
    wire.finish()
    assert [event[:3] for event in wire.heard().events] == [
        ("feed", 0, b"question"),
        ("close", 0, "fin"),
        ("feed", 1, b"answer"),
        ("close", 1, "fin"),
    ]


def test_a_direction_that_ended_before_the_first_byte_is_closed_all_the_same(wire, client, server):
    wire.handshake()
    wire.tcp(client, server, "FA", 1001, 5001)
    wire.tcp(server, client, "PA", 5001, 1002, b"banner")
    wire.finish()
    assert wire.heard().shape(0) == [("close", "fin")]
    assert wire.heard().shape(1) == [("feed", b"banner"), ("close", "capture_end")]


def test_a_fin_waits_for_the_bytes_before_it(wire, client, server):
    wire.handshake()
    wire.tcp(client, server, "FA", 1004, 5001)
    assert wire.heard().events == []
    wire.tcp(client, server, "PA", 1001, 5001, b"one")
    assert wire.heard().shape(0) == [("feed", b"one"), ("close", "fin")]


def test_a_hole_before_a_fin_is_declared_like_any_other(wire, client, server):
    wire.handshake()
    wire.tcp(client, server, "FA", 1004, 5001)
    wire.tcp(server, client, "PA", 5001, 1005, b"answer")
    wire.elsewhere()
    assert wire.heard().shape(0) == [("gap", 3), ("close", "fin")]


def test_bytes_after_a_fin_are_an_anomaly(wire, client, server):
    wire.handshake()
    wire.tcp(client, server, "PFA", 1001, 5001, b"one")
    wire.tcp(client, server, "PA", 1005, 5001, b"more")
    wire.finish()
    assert wire.heard().content(0) == b"one"
    assert [row.kind for row in wire.anomalies] == ["data_after_fin"]


def test_after_a_reset_both_directions_end_when_reordering_is_ruled_out(wire, client, server):
    wire.handshake()
    wire.tcp(client, server, "PA", 1001, 5001, b"one")
    wire.tcp(client, server, "R", 1007)
    wire.tcp(client, server, "PA", 1004, 5001, b"two")  # recorded late
    wire.tcp(server, client, "PA", 5001, 1004, b"answer")  # under way
    wire.elsewhere()
    assert wire.heard().shape(0) == [("feed", b"onetwo"), ("close", "reset")]
    assert wire.heard().shape(1) == [("feed", b"answer"), ("close", "reset")]
    wire.finish()
    assert (wire.connection.closed_by, wire.connection.close_reason) == ("client", "reset")


def test_a_reset_that_both_ends_survive_ends_nothing(wire, client, server):
    wire.handshake()
    wire.tcp(client, server, "PA", 1001, 5001, b"one")
    wire.tcp(server, client, "R", 5001)  # forged
    wire.tcp(server, client, "PA", 5001, 1004, b"answer")
    wire.tcp(client, server, "PA", 1004, 5007, b"two")
    wire.elsewhere()
    wire.tcp(server, client, "PA", 5007, 1007, b"more")
    wire.elsewhere(milliseconds=9000)
    wire.tcp(client, server, "PA", 1007, 5011, b"three")
    wire.finish()
    assert wire.heard().shape(0) == [("feed", b"onetwothree"), ("close", "capture_end")]
    assert wire.heard().shape(1) == [("feed", b"answermore"), ("close", "capture_end")]
    row = wire.connection
    assert (row.state, row.close_reason, row.closed_by, row.history) == ("S1", "capture_end", None, "ShADrd")
    assert [(row.kind, row.direction, row.packet) for row in wire.anomalies] == [("ignored_reset", "to_client", 5)]


def test_a_reset_that_is_in_the_window_but_not_next_is_not_believed_if_its_sender_goes_on(wire, client, server):
    """As RFC 5961 section 3.2 wants; its sender is asked whether it is meant."""
    wire.handshake()
    wire.tcp(client, server, "PA", 1001, 5001, b"one")
    wire.tcp(server, client, "R", 8001)
    wire.tcp(client, server, "A", 1004, 5001)
    wire.tcp(client, server, "PA", 1004, 5001, b"two")
    wire.tcp(server, client, "A", 5001, 1007)
    wire.elsewhere()
    wire.tcp(client, server, "PA", 1007, 5001, b"three")
    wire.finish()
    assert wire.heard().content(0) == b"onetwothree"
    assert [row.kind for row in wire.anomalies] == ["ignored_reset"]


def test_bytes_after_a_reset_that_was_taken_are_an_anomaly(wire, client, server):
    wire.handshake()
    wire.tcp(client, server, "PA", 1001, 5001, b"one")
    wire.tcp(server, client, "R", 5001)
    wire.elsewhere()
    wire.tcp(client, server, "PA", 1004, 5001, b"two")
    wire.finish()
    assert wire.heard().shape(0) == [("feed", b"one"), ("close", "reset")]
    assert [(row.kind, row.found, row.missing_bytes) for row in wire.anomalies] == [("data_after_reset", "3 bytes from 1004", 3)]


@pytest.mark.parametrize("flag", ["F", "R"])
def test_an_end_with_a_wrong_checksum_ends_nothing(wire, client, server, flag):
    wire.handshake()
    wire.tcp(client, server, "PA", 1001, 5001, b"one")
    wire.tcp(client, server, flag + "A", 1004, 5001, is_damaged=True)
    wire.elsewhere()
    wire.tcp(client, server, "PA", 1004, 5001, b"two")
    wire.finish()
    assert wire.heard().content(0) == b"onetwo"
    assert (wire.connection.state, wire.connection.history) == ("S1", "ShADC")
    assert [row.kind for row in wire.anomalies] == ["bad_checksum"]


def test_where_checksums_are_left_to_the_network_card_a_wrong_one_means_nothing(wire, client, server):
    wire.tcp(client, server, "S", 1000, is_damaged=True)
    wire.tcp(server, client, "SA", 5000, 1001)
    wire.tcp(client, server, "A", 1001, 5001, is_damaged=True)
    wire.tcp(client, server, "FA", 1001, 5001, is_damaged=True)
    wire.finish()
    assert (wire.connection.history, wire.connection.closed_by) == ("ShAF", "client")
    assert wire.anomalies == []


def test_where_one_direction_is_captured_a_stray_segment_far_ahead_hides_nothing(wire, client, server):
    wire.tcp(client, server, "S", 1000)
    wire.tcp(client, server, "PA", 1001, 5001, b"one")
    wire.tcp(client, server, "PA", 1004 + 2**30, 5001, b"!")
    wire.elsewhere()
    wire.tcp(client, server, "PA", 1004, 5001, b"two")
    wire.elsewhere()
    wire.tcp(client, server, "PA", 1010, 5001, b"four")
    wire.elsewhere()
    wire.finish()
    assert wire.heard().shape(0) == [("feed", b"onetwo"), ("gap", 3), ("feed", b"four"), ("close", "capture_end")]
    assert [row.kind for row in wire.anomalies] == ["missing_bytes", "out_of_window"]


# --- demand ---


def test_declined_bytes_go_by_without_being_given(make_wire, client, server):
    wire = make_wire(declines=8)
    wire.handshake()
    wire.tcp(client, server, "PA", 1001, 5001, b"0123")
    wire.tcp(client, server, "PA", 1005, 5001, b"456789")
    wire.finish()
    assert [event[:3] for event in wire.heard().events if event[1] == 0][-2:] == [("feed", 0, b"89"), ("close", 0, "capture_end")]
    assert wire.connection.bytes_to_server == 10


def test_declined_bytes_that_waited_are_told_with_their_wait(make_wire, client, server):
    wire = make_wire(declines=100)
    wire.handshake()
    wire.tcp(client, server, "PA", 1001, 5001, b"one")
    wire.tcp(client, server, "PA", 1007, 5001, b"three", at=10)
    wire.tcp(client, server, "PA", 1004, 5001, b"two", at=210)
    assert wire.heard().events[-2:] == [
        ("skipped", 0, 6, 210_000_000, 210_000_000, 6),
        ("skipped", 0, 5, 10_000_000, 210_000_000, 5),
    ]


@pytest.mark.parametrize(
    ("segments", "found"),
    [
        ([("s", "A", 5001, b"", 1101)], [("missing_bytes", None)]),
        ([("c", "PA", 500_000_000, b"forged", 5001)], [("out_of_window", None)]),
        ([("c", "PA", 1011, b"later", 5001)], [("missing_bytes", 0)]),
        (
            [("c", "PA", 1011, b"later", 5001), ("c", "PA", 1011, b"other", 5001)],
            [("conflicting_copies", 0), ("missing_bytes", 0)],
        ),
        ([("c", "FA", 1001, b"", 5001), ("c", "PA", 1002, b"more", 5001)], [("data_after_fin", 0)]),
    ],
)
def test_a_fault_names_a_stream_only_where_the_stream_has_a_row(wire, client, server, segments, found):
    wire.handshake(scale=0)
    ends = {"c": (client, server), "s": (server, client)}
    for end, flags, sequence, data, acknowledgment in segments:
        wire.tcp(*ends[end], flags, sequence, acknowledgment, data)
    wire.finish()
    assert [(row.kind, row.stream_index) for row in wire.anomalies] == found
    assert [row.stream_index for row in wire.streams] == ([] if found[0][1] is None else [0])


def test_a_stream_ends_at_its_latest_bytes_though_others_come_after_them_in_order(wire, client, server):
    wire.handshake()
    wire.tcp(client, server, "PA", 1006, 5001, b"world", at=10)
    wire.tcp(client, server, "PA", 1001, 5001, b"hello", at=20)
    wire.finish()
    (stream,) = wire.streams
    assert (stream.ended_at, stream.last_packet) == (20_000_000, 5)
