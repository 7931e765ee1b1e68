"""UDP flows: datagrams of one pair of addresses and ports, until none has come for a while."""

from mypy_extensions import i64

from analyzer.connections import history
from analyzer.connections.connection import Connection
from analyzer.dissector import TO_CLIENT, TO_SERVER, CloseReason, Context
from analyzer.packets.segment import Segment
from analyzer.records import ConnectionRecord, Rows


class UdpFlow(Connection):
    """A UDP flow."""

    def __init__(
        self, context: Context, segment: Segment, timestamp: i64, frame: i64, capture_index: i64, interface: str | None
    ) -> None:
        super().__init__(context, "udp", segment, timestamp, frame, capture_index, interface)
        self.key: bytes = segment.flow_key
        self.reverse_key: bytes = segment.reverse_key()
        self.packets: i64 = 0  # of side 0
        self.peer_packets: i64 = 0
        self.delivered: i64 = 0
        self.peer_delivered: i64 = 0
        self.missing: i64 = 0
        self.peer_missing: i64 = 0
        self.guess_roles()

    def take(self, segment: Segment, timestamp: i64, frame: i64, is_dissected: bool) -> Rows:
        """Count a datagram and, where some dissector reads UDP, deliver it."""
        side = 0 if segment.flow_key == self.key else 1
        length = segment.original_payload_length
        captured = segment.payload_length
        missing = length - captured
        self.history.note(side, history.DATA)
        self.last_packet = frame
        if timestamp > self.ended_at:
            self.ended_at = timestamp
        if side == 0:
            self.packets += 1
            self.delivered += captured
            self.missing += missing
        else:
            self.peer_packets += 1
            self.peer_delivered += captured
            self.peer_missing += missing
        stream = self.need_stream() if is_dissected else None
        rows: Rows = []
        if missing > 0:
            rows = self.anomaly(
                "missing_bytes",
                side,
                timestamp,
                frame,
                f"a datagram of {length} bytes",
                f"{captured}, cut at the snap length",
                "",
                missing,
            )
        if stream is None:
            return rows
        direction = side ^ self.client_side
        if missing > 0:  # a dissector is given whole datagrams
            rows += stream.gap(direction, length, None, timestamp, frame)
        else:
            rows += stream.deliver(direction, segment.data, segment.payload_offset, length, timestamp, timestamp, frame)
        self.follow_roles()
        return rows

    def finish(self, reason: CloseReason) -> Rows:
        """End the flow and write its row."""
        rows: Rows = []
        stream = self.stream
        if stream is not None:
            for direction in (TO_SERVER, TO_CLIENT):
                rows += stream.close(direction, reason, self.ended_at, self.last_packet)
            self.follow_roles()
        record = self.record(reason)
        rows += self.release()
        rows.append(record)
        return rows

    def record(self, reason: CloseReason | None) -> ConnectionRecord:
        """The flow's row; ``reason`` is why it ended, None while it is open."""
        record = self.base_record()
        if self.client_side == 0:
            record.packets_to_server, record.packets_to_client = self.packets, self.peer_packets
            record.bytes_to_server, record.bytes_to_client = self.delivered, self.peer_delivered
            record.missing_bytes_to_server, record.missing_bytes_to_client = self.missing, self.peer_missing
        else:
            record.packets_to_server, record.packets_to_client = self.peer_packets, self.packets
            record.bytes_to_server, record.bytes_to_client = self.peer_delivered, self.delivered
            record.missing_bytes_to_server, record.missing_bytes_to_client = self.peer_missing, self.missing
        record.state = history.flow_state(record.packets_to_server, record.packets_to_client)
        if reason is not None:
            record.close_reason = reason.value
        return record
