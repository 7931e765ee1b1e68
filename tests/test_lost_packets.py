"""Captures that say where packets were lost: as a store of them tells it."""

import io

import pytest

import analyzer
from analyzer import limits
from analyzer.capture.pcapng_writer import PcapngWriter

RAW_IP = 101
SECOND = 1_000_000_000


def datagram(port):
    ends = bytes((10, 0, 0, 1, 10, 0, 0, 2))
    header = bytes.fromhex("4500001d 00004000 40110000") + ends
    return header + port.to_bytes(2, "big") + bytes.fromhex("0035 0009 0000 61")


@pytest.fixture
def written(tmp_path):
    """Writes a capture of datagrams: (second, port, packets lost before)."""

    def write(packets, dropped=None):
        file = io.BytesIO()
        writer = PcapngWriter(file)
        number = writer.interface(RAW_IP, 0, "eth0")
        for second, port, lost in packets:
            writer.packet(number, second * SECOND, datagram(port), 29, lost)
        if dropped is not None:
            writer.statistics(number, 100 * SECOND, None, dropped)
        path = tmp_path / "written.pcapng"
        path.write_bytes(file.getvalue())
        return path

    return write


def test_each_loss_is_a_row_and_a_number_on_the_flows_of_that_time(written):
    path = written([(1, 1, 0), (2, 2, 5), (3, 1, -1), (200, 3, 2), (201, 4, -1)], dropped=11)
    with analyzer.analyze(path) as store:
        found = store.sql("SELECT client_port, dropped_packets FROM connections ORDER BY client_port").fetchall()
        # what came after the last packet may have been of what was open then
        assert found == [(1, 5), (2, 0), (3, 4), (4, 4)]
        told = store.sql(
            "SELECT packet, epoch_ns(occurred_at) // 1000000000, occurrences, found FROM anomalies WHERE kind = 'dropped_packets' ORDER BY 1, 2, 3"
        )
        assert told.fetchall() == [
            (2, 2, 5, "5 lost when capturing"),
            (4, 200, 2, "2 lost when capturing"),
            (5, 201, 4, "4 lost when capturing"),
        ]
        assert store.sql("SELECT dropped_packets FROM captures").fetchall() == [(11,)]


def test_without_such_counts_only_the_sum_is_known(written):
    path = written([(1, 1, -1), (2, 2, -1)], dropped=11)
    with analyzer.analyze(path) as store:
        assert store.sql("SELECT DISTINCT dropped_packets FROM connections").fetchall() == [(None,)]
        assert store.sql("SELECT dropped_packets FROM captures").fetchall() == [(11,)]
        assert store.sql("SELECT count(*) FROM anomalies WHERE kind = 'dropped_packets'").fetchall() == [(0,)]


def test_a_count_that_no_capture_can_have_is_not_believed_and_stops_nothing(written):
    path = written([(1, 1, 0), (2, 1, limits.DROPPED_PACKETS), (3, 1, (1 << 63) - 1), (200, 2, 7)], dropped=1 << 64)
    with analyzer.analyze(path) as store:
        assert store.sql("SELECT dropped_packets FROM captures").fetchall() == [(None,)]
        found = store.sql("SELECT packets_to_server, dropped_packets FROM connections ORDER BY client_port").fetchall()
        assert found == [(3, None), (1, None)]
