"""What the overview and the captures say of what is not there."""

from analyzer import protocols
from analyzer.protocols.tls import TlsHandshakeRecord
from analyzer.records import CaptureRecord, ConnectionRecord
from analyzer.store import Store


def lines(section, store, heading):
    return [row["line"] for row in section(store, "overview", heading) if row["line"] is not None]


def connection(number, packets_to_client=1, **more):
    return ConnectionRecord(
        number, 0, "tcp", "a", number, "b", 80, "handshake", packets_to_server=2, packets_to_client=packets_to_client, **more
    )


def test_a_store_says_that_reading_was_interrupted(section):
    with Store(records=[record for dissector in protocols.dissectors() for record in dissector.records]) as store:
        store.add([CaptureRecord(0, "first.pcap"), CaptureRecord(1, "second.pcap", truncation="cut")])
        store.finish(complete=False)
        assert lines(section, store, "Not all of it") == ["Reading was interrupted, or goes on: this is what was read so far."]
        assert [row["problem"] for row in section(store, "captures", "Captures")] == [
            None,
            "cut; reading was interrupted, or goes on",
        ]


def test_connections_of_which_one_direction_was_captured_are_told_and_refused_ones_are_none(store_of, section):
    rows = [connection(1, 0, bytes_to_server=5), connection(2, 0, state="S0"), connection(3, bytes_to_server=5)]
    store = store_of(rows)
    assert lines(section, store, "Not all of it") == [
        "Only one direction of 1 of 3 TCP connections was captured: what the other side said is not there, nor the times between."
    ]
    assert {row["protocol"]: row["one_direction"] for row in section(store, "connections", "By server")} == {
        "tcp, not recognised": 1,
        "tcp, no data": None,
    }


def test_tls_that_was_not_decrypted_is_told_with_the_reasons_and_what_to_do(store_of, section):
    rows = [connection(number, protocol="tls") for number in (1, 2, 3)]
    rows += [TlsHandshakeRecord(number, 0, not_decrypted_reason="no keys given") for number in (1, 2)]
    rows.append(TlsHandshakeRecord(3, 0, is_decrypted=True))
    assert lines(section, store_of(rows), "TLS") == [
        "2 connections were not decrypted: no keys given; --keylog FILE gives keys, `unmux report tls` tells more"
    ]


def test_a_drop_is_told_with_the_connections_that_were_open_then(store_of, section):
    capture = CaptureRecord(0, "first.pcapng", dropped_packets=1200)
    rows = [capture, connection(1, dropped_packets=1200), connection(2, dropped_packets=0), connection(3, dropped_packets=1)]
    store = store_of(rows)
    (line,) = lines(section, store, "Not all of it")
    assert line == (
        "1,200 packets were dropped when capturing, while 2 connections were open: of TCP it is known what is missing, "
        "of UDP it is not (report trust)."
    )
    meanwhile = {row["connection"]: row["dropped_meanwhile"] for row in section(store, "connections", "One by one")}
    assert meanwhile == {1: 1200, 2: None, 3: 1}


def test_a_drop_of_which_it_is_not_said_when_is_told_as_that(store_of, section):
    store = store_of([CaptureRecord(0, "first.pcapng", dropped_packets=1), connection(1)])
    assert lines(section, store, "Not all of it") == [
        "1 packet was dropped when capturing, it is not said when: of TCP it is known what is missing, of UDP it is not (report trust)."
    ]
