"""Which packets make one connection, and when its rows are written."""

import gc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer import limits
from analyzer.connections.connection import Connection
from analyzer.connections.half import Half
from analyzer.records import ConnectionRecord
from analyzer.stream import Stream


def test_a_whole_connection_is_one_row(wire, client, server):
    wire.handshake()
    wire.tcp(client, server, "PA", 1001, 5001, b"hello")
    wire.tcp(server, client, "A", 5001, 1006)
    wire.tcp(server, client, "PA", 5001, 1006, b"world!")
    wire.tcp(client, server, "A", 1006, 5007)
    wire.tcp(client, server, "FA", 1006, 5007)
    wire.tcp(server, client, "FA", 5007, 1007)
    wire.tcp(client, server, "A", 1007, 5008)
    wire.finish()
    assert wire.connection == ConnectionRecord(
        connection_id=1,
        capture_index=0,
        transport="tcp",
        client_address="10.0.0.1",
        client_port=40000,
        server_address="10.0.0.2",
        server_port=80,
        role_evidence="handshake",
        started_at=1_000_000,
        ended_at=10_000_000,
        duration_ns=9_000_000,
        packets_to_server=6,
        packets_to_client=4,
        bytes_to_server=5,
        bytes_to_client=6,
        handshake_rtt_ns=2_000_000,
        server_rtt_ns=1_000_000,
        client_rtt_ns=1_000_000,
        state="SF",
        history="ShADadFf",
        closed_by="client",
        close_reason="fin",
        protocol="recorder",
        community_id=wire.connection.community_id,
        first_packet=1,
        last_packet=10,
    )
    assert wire.heard().events == [
        ("feed", 0, b"hello", 4_000_000, 4_000_000, 4),
        ("feed", 1, b"world!", 6_000_000, 6_000_000, 6),
        ("close", 0, "fin", 8_000_000, 8),
        ("close", 1, "fin", 9_000_000, 9),
    ]


def test_a_handshake_whose_last_packet_is_missing_has_no_round_trip(wire, client, server):
    """The next packet of the client acknowledges the same, but was sent when there was something to send."""
    wire.tcp(client, server, "S", 1000, at=1)
    wire.tcp(server, client, "SA", 5000, 1001, at=2)
    wire.tcp(client, server, "PA", 1001, 5001, b"hello", at=50)
    wire.tcp(client, server, "A", 1006, 5001, at=60)
    wire.finish()
    row = wire.connection
    assert (row.server_rtt_ns, row.client_rtt_ns, row.handshake_rtt_ns) == (1_000_000, None, None)


def test_rows_of_a_closed_connection_wait_for_late_packets_but_not_for_the_end(wire, client, server):
    wire.handshake()
    wire.tcp(client, server, "FA", 1001, 5001)
    wire.tcp(server, client, "FA", 5001, 1002)
    wire.tcp(client, server, "A", 1002, 5002)
    wire.tcp(server, client, "FA", 5001, 1002, at=2000)
    wire.elsewhere(2, 2000)
    assert wire.connections == []
    wire.elsewhere(2, 2000)
    assert wire.connection.packets_to_client == 3
    wire.finish()
    assert len(wire.connections) == 1


@pytest.mark.parametrize(
    ("dialogue", "state", "history"),
    [
        ([("c", "S", 1000, 0)], "S0", "S"),
        ([("c", "S", 1000, 0), ("s", "RA", 0, 1001)], "REJ", "Sr"),
        ([("c", "S", 1000, 0), ("s", "SA", 5000, 1001)], "S1", "Sh"),
        ([("c", "S", 1000, 0), ("s", "SA", 5000, 1001), ("c", "R", 1001, 0)], "RSTO", "ShR"),
        ([("c", "S", 1000, 0), ("c", "R", 1001, 0)], "RSTOS0", "SR"),
        ([("c", "S", 1000, 0), ("c", "FA", 1001, 1)], "SH", "SF"),
        ([("s", "SA", 5000, 1001), ("s", "FA", 5001, 1001)], "SHR", "^hf"),
        ([("s", "SA", 5000, 1001), ("s", "R", 5001, 0)], "RSTRH", "^hr"),
        ([("c", "A", 1000, 5000), ("s", "A", 5000, 1000)], "OTH", "Aa"),
        ([("c", "S", 1000, 0), ("s", "SA", 5000, 1001), ("c", "A", 1001, 5001), ("c", "FA", 1001, 5001)], "S2", "ShAF"),
        ([("c", "S", 1000, 0), ("s", "SA", 5000, 1001), ("c", "A", 1001, 5001), ("s", "FA", 5001, 1001)], "S3", "ShAf"),
        ([("c", "S", 1000, 0), ("s", "SA", 5000, 1001), ("c", "A", 1001, 5001), ("s", "RA", 5001, 1001)], "RSTR", "ShAr"),
        ([("c", "SF", 1000, 0)], "OTH", "Q"),
    ],
)
def test_states_and_histories_follow_from_the_packets(wire, client, server, dialogue, state, history):
    ends = {"c": (client, server), "s": (server, client)}
    for end, flags, sequence, acknowledgment in dialogue:
        wire.tcp(*ends[end], flags, sequence, acknowledgment)
    wire.finish()
    assert (wire.connection.state, wire.connection.history) == (state, history)


def test_a_reset_after_both_fins_leaves_the_state(wire, client, server):
    wire.handshake()
    wire.tcp(client, server, "FA", 1001, 5001)
    wire.tcp(server, client, "FA", 5001, 1002)
    wire.tcp(client, server, "R", 1002)
    wire.finish()
    assert (wire.connection.state, wire.connection.history, wire.connection.close_reason) == ("SF", "ShAFfR", "fin")


def test_a_reset_outside_the_window_is_not_believed(wire, client, server):
    wire.handshake(scale=0)
    wire.tcp(client, server, "R", 1001 + 70_000)
    wire.tcp(client, server, "PA", 1001, 5001, b"still here")
    wire.finish()
    assert (wire.connection.state, wire.connection.close_reason) == ("S1", "capture_end")
    assert wire.heard().content(0) == b"still here"


def test_a_port_that_is_used_again_after_the_end_is_another_connection(wire, client, server):
    for isn in (1000, 900_000):
        wire.handshake(isn=isn)
        wire.tcp(client, server, "PA", isn + 1, 5001, b"x%d" % isn)
        wire.tcp(client, server, "FA", isn + 1 + len(b"x%d" % isn), 5001)
        wire.tcp(server, client, "FA", 5001, isn + 2 + len(b"x%d" % isn))
    wire.finish()
    assert [row.connection_id for row in wire.connections] == [1, 7]
    assert [row.state for row in wire.connections] == ["SF", "SF"]
    assert wire.heard(7).content(0) == b"x900000"


def test_a_syn_in_the_middle_of_a_connection_is_another_one_only_when_it_is_answered(wire, client, server):
    wire.handshake()
    wire.tcp(client, server, "PA", 1001, 5001, b"before")
    wire.tcp(client, server, "S", 77_000)  # forged, or the client has restarted
    wire.tcp(server, client, "A", 5001, 1007)  # what the server says to it: it knows another connection
    wire.tcp(client, server, "PA", 1007, 5001, b" and after")
    wire.finish()
    assert [(row.connection_id, row.state) for row in wire.connections] == [(1, "S1"), (5, "S0")]
    assert wire.heard(1).content(0) == b"before and after"


def test_an_answered_syn_in_the_middle_of_a_connection_takes_its_place(wire, client, server):
    wire.handshake()
    wire.tcp(client, server, "PA", 1001, 5001, b"old")
    wire.handshake(isn=77_000, server_isn=88_000)
    wire.tcp(client, server, "PA", 77_001, 88_001, b"new")
    wire.tcp(server, client, "PA", 88_001, 77_004, b"yes")
    wire.finish()
    assert [(row.connection_id, row.state, row.history, row.close_reason) for row in wire.connections] == [
        (1, "S1", "ShAD", "timeout"),
        (5, "S1", "ShADd", "capture_end"),
    ]
    assert (wire.heard(1).content(0), wire.heard(5).content(0), wire.heard(5).content(1)) == (b"old", b"new", b"yes")


def test_where_only_the_client_was_captured_its_next_segment_answers_for_the_server(wire, client, server):
    wire.handshake()
    wire.tcp(client, server, "S", 77_000)
    wire.tcp(client, server, "PA", 77_001, 88_001, b"new")
    wire.finish()
    assert [(row.connection_id, row.bytes_to_server) for row in wire.connections] == [(1, 0), (4, 3)]


def test_syns_of_one_port_that_nobody_answers_are_a_connection_each(wire, client, server):
    for isn in (1000, 1000, 2000, 3000):
        wire.tcp(client, server, "S", isn)
    wire.finish()
    assert [(row.state, row.packets_to_server) for row in wire.connections] == [("S0", 2), ("S0", 1), ("S0", 1)]


def test_both_ends_may_open_at_the_same_time(wire, client, server):
    wire.tcp(client, server, "S", 1000)
    wire.tcp(server, client, "S", 5000)
    wire.tcp(client, server, "SA", 1000, 5001)
    wire.tcp(server, client, "SA", 5000, 1001)
    wire.tcp(client, server, "PA", 1001, 5001, b"one")
    wire.tcp(server, client, "PA", 5001, 1004, b"two")
    wire.finish()
    assert (wire.connection.client_port, wire.connection.role_evidence, wire.connection.state) == (40000, "handshake", "S1")
    assert wire.connection.history == "SsHhDd"
    assert wire.heard().shape(0) == [("feed", b"one"), ("close", "capture_end")]
    assert wire.heard().shape(1) == [("feed", b"two"), ("close", "capture_end")]


def test_an_answer_recorded_before_its_syn_is_the_same_connection(wire, client, server):
    wire.tcp(server, client, "SA", 5000, 1001)
    wire.tcp(client, server, "S", 1000)
    wire.tcp(client, server, "A", 1001, 5001)
    wire.tcp(client, server, "PA", 1001, 5001, b"hello")
    wire.finish()
    assert (wire.connection.client_port, wire.connection.state, wire.connection.server_rtt_ns) == (40000, "S1", None)
    assert wire.heard().shape(0) == [("feed", b"hello"), ("close", "capture_end")]


def test_data_recorded_before_its_syn_is_the_same_connection(wire, client, server):
    wire.tcp(client, server, "PA", 1001, 5001, b"hello")
    wire.tcp(client, server, "S", 1000)
    wire.finish()
    assert wire.connection.bytes_to_server == 5


def test_sides_are_guessed_by_port_and_turned_by_the_protocol(make_wire, client, server):
    wire = make_wire(ports=(80,))
    wire.tcp(server, client, "PA", 5001, 1001, b"response")
    wire.finish()
    assert (wire.connection.client_port, wire.connection.role_evidence) == (40000, "port")

    wire = make_wire(begins_with=b"hello")
    wire.tcp(server, client, "PA", 5001, 1001, b"response")
    wire.tcp(client, server, "PA", 1001, 5009, b"hello")
    wire.tcp(server, client, "PA", 5009, 1006, b" again")
    wire.finish()
    assert (wire.connection.client_port, wire.connection.role_evidence) == (40000, "protocol")
    assert wire.connection.history == "^dD"
    assert (wire.connection.bytes_to_server, wire.connection.bytes_to_client) == (5, 14)
    assert wire.heard().content(0) == b"hello"
    assert wire.heard().content(1) == b"response again"


def test_what_was_found_before_the_sides_turned_names_the_right_direction(make_wire, client, server):
    wire = make_wire(begins_with=b"hello")
    wire.tcp(server, client, "PA", 5001, 1001, b"one")
    wire.tcp(server, client, "PA", 5007, 1001, b"three")
    wire.tcp(client, server, "A", 1001, 5012)
    wire.elsewhere()
    wire.tcp(server, client, "PA", 5015, 1001, b"five")
    wire.tcp(server, client, "PA", 5012, 1001, b"iv?")
    assert wire.anomalies == []
    wire.tcp(client, server, "PA", 1001, 5019, b"hello")
    wire.finish()
    assert [(row.kind, row.direction) for row in wire.anomalies] == [("missing_bytes", "to_client")]
    assert [stall.direction for stall in wire.stalls] == ["to_client"]
    assert wire.heard().shape(1) == [
        ("gap", None),
        ("feed", b"one"),
        ("gap", 3),
        ("feed", b"threeiv?five"),
        ("close", "capture_end"),
    ]


def test_the_first_sender_is_the_client_where_nothing_else_tells(wire, client, server):
    other = (server[0], 50_000)
    wire.tcp(other, client, "PA", 5001, 1001, b"response")
    wire.finish()
    assert (wire.connection.client_port, wire.connection.role_evidence) == (50_000, "first_sender")


def test_a_port_that_only_servers_take_tells_who_the_server_is(wire, client, server):
    wire.tcp(server, client, "PA", 5001, 1001, b"response")
    wire.finish()
    assert (wire.connection.server_port, wire.connection.role_evidence) == (80, "port")


def test_connections_end_in_order_and_the_least_recently_used_make_room(wire, client, server):
    wire.table.most_bytes = 16 * limits.CONNECTION_BYTES
    for port in range(20):
        wire.tcp((client[0], 1000 + port), server, "S", 1)
    put_away = [row.client_port for row in wire.connections]
    assert put_away == [1000, 1001, 1002, 1003]
    assert {row.close_reason for row in wire.connections} == {"limit"}
    wire.finish()
    assert [row.connection_id for row in wire.of(ConnectionRecord)] == list(range(1, 21))


def test_an_idle_connection_is_never_forgotten(wire, client, server):
    wire.handshake()
    wire.tcp(client, server, "PA", 1001, 5001, b"one")
    wire.elsewhere(3, 1000 * 86_400_000)
    wire.tcp(client, server, "PA", 1004, 5001, b"two")
    wire.finish()
    assert wire.heard().content(0) == b"onetwo"


def test_a_lone_syn_has_no_stream(wire, client, server):
    wire.tcp(client, server, "S", 1)
    wire.finish()
    assert wire.streams == []


def test_closing_leaves_nothing_to_the_garbage_collector(wire, client, server):
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        wire.handshake()
        wire.tcp(client, server, "PA", 1004, 5001, b"two")
        wire.tcp(client, server, "PA", 1001, 5001, b"one")
        wire.tcp(client, server, "S", 99_000)
        wire.udp(client, server, b"datagram")
        wire.finish()
        kept = [type(found).__name__ for found in gc.get_objects() if isinstance(found, (Connection, Half, Stream))]
        assert kept == []
    finally:
        if was_enabled:
            gc.enable()


def test_a_socket_connected_to_itself_does_no_harm(wire):
    end = ("10.0.0.1", 7)
    wire.tcp(end, end, "S", 1000)
    wire.tcp(end, end, "SA", 1000, 1001)
    wire.tcp(end, end, "PA", 1001, 1001, b"echo")
    wire.finish()
    assert wire.connection.packets_to_server + wire.connection.packets_to_client == 3


def test_strays_in_time_do_not_end_what_lingers(wire, client, server):
    wire.handshake()
    wire.tcp(client, server, "FA", 1001, 5001)
    wire.tcp(server, client, "FA", 5001, 1002)
    for _ in range(50):
        wire.tcp(client, server, "A", 1002, 5002, at=1)
        wire.tcp(client, server, "A", 1002, 5002, at=4000)
    wire.finish()
    assert wire.connection.packets_to_server == 103


def test_closed_connections_do_not_gather_where_time_stands_still(wire, server):
    wire.table.most_lingering = 10
    for number in range(100):
        client = ("10.0.0.1", 40_000 + number)
        wire.tcp(client, server, "S", 1000, at=1)
        wire.tcp(server, client, "RA", 0, 1001, at=1)
    assert len(wire.connections) == 89
    assert [row.client_port for row in wire.connections] == list(range(40_000, 40_089))
    wire.finish()
    assert [row.state for row in wire.connections] == ["REJ"] * 100


def test_a_clock_set_back_does_not_stop_time(wire, client, server):
    wire.elsewhere(2, 1000 * 3_600_000)
    wire.handshake()
    wire.tcp(client, server, "R", 1001, at=10)
    wire.elsewhere(limits.CLOCK_STEP_PACKETS + 10, 10)
    wire.elsewhere(10, 6000)
    assert wire.connection.state == "RSTO"


def test_an_acknowledgment_recorded_before_the_syn_is_the_same_connection(wire, client, server):
    wire.tcp(client, server, "A", 1001, 5001)
    wire.tcp(client, server, "S", 1000)
    wire.tcp(server, client, "SA", 5000, 1001)
    wire.tcp(client, server, "PA", 1001, 5001, b"request")
    wire.finish()
    assert (wire.connection.role_evidence, wire.connection.bytes_to_server) == ("handshake", 7)


def test_an_answer_with_bytes_recorded_before_the_syn_is_the_same_connection(wire, client, server):
    wire.tcp(server, client, "PA", 5001, 1001, b"hello")
    wire.tcp(client, server, "S", 1000)
    wire.tcp(server, client, "SA", 5000, 1001)
    wire.finish()
    assert (len(wire.connections), wire.connection.packets_to_server + wire.connection.packets_to_client) == (1, 3)


def test_an_answer_to_a_syn_that_was_not_captured_is_another_connection(wire, client, server):
    wire.tcp(client, server, "S", 1000)
    wire.tcp(client, server, "PA", 1001, 5001, b"first")
    wire.tcp(server, client, "SA", 900_000, 700_001)
    wire.tcp(client, server, "A", 700_001, 900_001)
    wire.tcp(server, client, "PA", 900_001, 700_001, b"second")
    wire.finish()
    assert [(row.bytes_to_server, row.bytes_to_client) for row in wire.connections] == [(5, 0), (0, 6)]


def test_a_syn_that_nobody_answered_keeps_its_row_when_the_connection_it_came_amid_has_ended(wire, client, server):
    wire.handshake()
    wire.tcp(client, server, "S", 900_000)
    wire.tcp(client, server, "RA", 1001, 5001)
    wire.tcp(client, server, "S", 7_000_000)
    wire.finish()
    assert [(row.connection_id, row.state, row.packets_to_server, row.close_reason) for row in wire.connections] == [
        (1, "RSTO", 3, "reset"),
        (4, "S0", 1, "timeout"),
        (6, "S0", 1, "capture_end"),
    ]


ISNS = (1000, 900_000, 7_000_000)
OF_CLIENT = [("S", isn, 0, b"") for isn in ISNS]
OF_CLIENT += [(flags, isn + 1, 5001, data) for isn in ISNS for flags, data in (("A", b""), ("PA", b"x"), ("FA", b""), ("R", b""))]
OF_SERVER = [("SA", 5000, isn + 1, b"") for isn in ISNS] + [("S", 5000, 0, b""), ("S", 80_000, 0, b""), ("SF", 5000, 0, b"")]
OF_SERVER += [(flags, 5001, isn + 1, data) for isn in ISNS for flags, data in (("PA", b"yes"), ("FA", b""), ("RA", b""))]
STEPS = st.one_of(st.tuples(st.just(0), st.sampled_from(OF_CLIENT)), st.tuples(st.just(1), st.sampled_from(OF_SERVER)))
PACKETS = st.tuples(STEPS, st.sampled_from([40_000, 40_000, 40_001]), st.sampled_from([1, 1, 60, 6000]))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(packets=st.lists(PACKETS, max_size=30), most=st.sampled_from([2, 1000]), has_udp=st.booleans(), is_alive=st.booleans())
def test_every_packet_is_counted_in_one_row(wire_class, client, server, packets, most, has_udp, is_alive):
    wire = wire_class()
    wire.table.most_bytes = most * limits.CONNECTION_BYTES
    if is_alive:
        wire.handshake()
    for (side, (flags, sequence, acknowledgment, data)), port, later in packets:
        ends = ((client[0], port), server)
        wire.tcp(ends[side], ends[1 - side], flags, sequence, acknowledgment, data, at=wire.now + later)
        if has_udp:
            wire.udp(ends[side], ends[1 - side], data, at=wire.now)
    wire.finish()
    assert sum(row.packets_to_server + row.packets_to_client for row in wire.connections) == wire.frame
    assert len({row.connection_id for row in wire.connections}) == len(wire.connections)


def connections_in_memory() -> int:
    return sum(isinstance(found, Connection) for found in gc.get_objects())


def test_flows_put_away_do_not_stay_in_memory_until_time_goes_on(wire, server):
    wire.table.most_bytes = 16 * limits.CONNECTION_BYTES
    before = connections_in_memory()
    for number in range(4000):
        wire.udp((f"10.1.{number >> 8}.{number & 255}", 5353), server, b"", at=1)
    assert connections_in_memory() - before <= 4 * 16 + 2 * limits.FINISHED_WAITING
    wire.finish()
    assert len(wire.connections) == 4000


def test_closed_connections_whose_port_is_used_again_do_not_stay_in_memory_until_time_goes_on(wire, client, server):
    before = connections_in_memory()
    for number in range(4000):
        wire.tcp(client, server, "S", 1000 * number, at=1)
        wire.tcp(server, client, "RA", 0, 1000 * number + 1, at=1)
    assert connections_in_memory() - before <= 2 * limits.FINISHED_WAITING
    wire.finish()
    assert {row.state for row in wire.connections} == {"REJ"}
    assert len(wire.connections) == 4000
