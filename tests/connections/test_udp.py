"""UDP flows."""

from analyzer.records import ConnectionRecord

QUESTION = ("10.0.0.1", 5353)
ANSWER = ("10.0.0.2", 53)


def test_a_flow_is_one_row_and_its_datagrams_stay_whole(make_wire):
    wire = make_wire(ports=(53,))
    wire.udp(ANSWER, QUESTION, b"answer")
    wire.udp(QUESTION, ANSWER, b"question")
    wire.udp(QUESTION, ANSWER, b"")
    wire.finish()
    assert wire.connection == ConnectionRecord(
        connection_id=1,
        capture_index=0,
        transport="udp",
        client_address="10.0.0.1",
        client_port=5353,
        server_address="10.0.0.2",
        server_port=53,
        role_evidence="port",
        started_at=1_000_000,
        ended_at=3_000_000,
        duration_ns=2_000_000,
        packets_to_server=2,
        packets_to_client=1,
        bytes_to_server=8,
        bytes_to_client=6,
        state="SF",
        history="^dD",
        close_reason="capture_end",
        protocol="recorder",
        community_id=wire.connection.community_id,
        first_packet=1,
        last_packet=3,
    )
    assert [event[:3] for event in wire.heard().events] == [
        ("feed", 1, b"answer"),
        ("feed", 0, b"question"),
        ("feed", 0, b""),
        ("close", 0, "capture_end"),
        ("close", 1, "capture_end"),
    ]


def test_silence_ends_a_flow(wire):
    wire.udp(QUESTION, ANSWER, b"one")
    wire.udp(QUESTION, ANSWER, b"two", at=100_000)
    wire.udp(QUESTION, ANSWER, b"three", at=230_000)
    wire.finish()
    assert [(row.connection_id, row.packets_to_server, row.close_reason) for row in wire.connections] == [
        (1, 2, "timeout"),
        (3, 1, "capture_end"),
    ]


def test_a_silent_flow_is_written_while_others_go_on(wire):
    wire.udp(QUESTION, ANSWER, b"one")
    wire.udp(QUESTION, ANSWER, b"two", at=100_000)
    wire.elsewhere(1, 100_000)
    assert wire.connections == []
    wire.elsewhere(1, 100_000)
    assert wire.connection.packets_to_server == 2


def test_a_snapped_datagram_is_a_gap(wire):
    wire.udp(QUESTION, ANSWER, b"whole")
    wire.udp(QUESTION, ANSWER, b"long question", captured=4)
    wire.finish()
    assert (wire.connection.bytes_to_server, wire.connection.missing_bytes_to_server) == (9, 9)
    assert wire.heard().events[1] == ("gap", 0, 13, None, 2_000_000, 2)
    assert [row.kind for row in wire.anomalies] == ["missing_bytes"]


def test_without_a_dissector_for_udp_flows_are_only_counted(make_wire):
    wire = make_wire(transports=("tcp",))
    wire.udp(QUESTION, ANSWER, b"one")
    wire.finish()
    assert (wire.connection.bytes_to_server, wire.connection.protocol, wire.streams) == (3, None, [])


def test_a_snapped_datagram_that_no_dissector_would_read_is_a_fault_of_the_flow_and_of_no_stream(make_wire):
    wire = make_wire(transports=("tcp",))
    wire.udp(QUESTION, ANSWER, b"long question", captured=4)
    wire.finish()
    assert [(row.kind, row.stream_index, row.missing_bytes) for row in wire.anomalies] == [("missing_bytes", None, 9)]
    assert wire.streams == []


def test_a_snapped_datagram_that_a_dissector_would_read_is_a_fault_of_the_stream(wire):
    wire.udp(QUESTION, ANSWER, b"long question", captured=4)
    wire.finish()
    assert [(row.kind, row.stream_index) for row in wire.anomalies] == [("missing_bytes", 0)]
    assert [row.stream_index for row in wire.streams] == [0]
