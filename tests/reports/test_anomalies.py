"""The report ``anomalies``, and what the overview says of faults."""

from analyzer.records import AnomalyRecord, ConnectionRecord


def fault(connection_id, required, found, kind="framing_lost"):
    return AnomalyRecord(connection_id=connection_id, packet=connection_id, kind=kind, required=required, found=found)


def test_faults_of_a_kind_that_protocols_word_differently_stand_apart_and_numbers_do_not(store_of, section):
    rows = [ConnectionRecord(number, 0, "tcp", "a", number, "b", 80, "handshake") for number in (1, 2, 3)]
    rows += [
        fault(1, "HTTP/2 frames without a hole", "a hole of 10 bytes"),
        fault(2, "HTTP/2 frames without a hole", "a hole of 4000 bytes"),
        fault(3, "to know where a frame begins", "5 missing bytes"),
        fault(1, "10 bytes from sequence number 77", "no packet", "missing_bytes"),
        fault(2, "4000 bytes from sequence number 88", "no packet", "missing_bytes"),
    ]
    store = store_of(rows)
    expected = [
        ("framing lost", "required HTTP/2 frames without a hole, found a hole of 10 bytes", 2),
        ("missing bytes", "required 10 bytes from sequence number 77, found no packet", 2),
        ("framing lost", "required to know where a frame begins, found 5 missing bytes", 1),
    ]
    told = [(row["kind"], row["such_as"], row["times"]) for row in section(store, "anomalies", "By kind")]
    assert told == expected
    told = [(row["what"], row["reason"], row["connections"]) for row in section(store, "overview", "Not understood")]
    assert told == expected
