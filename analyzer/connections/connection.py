"""What TCP connections and UDP flows have in common: two ends, one of them the client, and a stream of their bytes."""

from typing import Final

from mypy_extensions import i64

from analyzer import limits
from analyzer.connections.community_id import TCP_PROTOCOL_NUMBER, UDP_PROTOCOL_NUMBER, community_id
from analyzer.connections.history import History
from analyzer.dissector import DIRECTION_NAMES, CloseReason, Context
from analyzer.packets.addresses import address_text
from analyzer.packets.segment import Segment
from analyzer.records import AnomalyRecord, ConnectionRecord, Rows, StallRecord
from analyzer.scope import Carrier, Scope
from analyzer.stream import Stream

CAPTURE_SHIFT: Final = 40  # connection_id = capture_index * 2^40 + frame number
HANDSHAKE: Final = "handshake"
PROTOCOL: Final = "protocol"
PORT: Final = "port"
FIRST_SENDER: Final = "first_sender"

SYSTEM_PORTS: Final = 1024  # below it are the ports that only servers take (RFC 6335 section 6)


class Connection(Carrier):
    """A TCP connection or UDP flow. Side 0 is the end whose packet came first."""

    def __init__(
        self,
        context: Context,
        transport: str,
        segment: Segment,
        timestamp: i64,
        frame: i64,
        capture_index: i64,
        interface: str | None,
    ) -> None:
        self.context = context
        self.transport = transport
        self.connection_id: i64 = (capture_index << CAPTURE_SHIFT) + frame
        self.capture_index = capture_index
        self.addresses: tuple[bytes, bytes] = segment.address_bytes()
        self.port: i64 = segment.source_port
        self.peer_port: i64 = segment.destination_port
        self.client_side: i64 = 0
        self.role_evidence = FIRST_SENDER
        self.vlan_id: i64 = segment.vlan_id
        self.encapsulation: str | None = segment.encapsulation
        self.interface = interface
        self.started_at = timestamp
        self.ended_at = timestamp
        self.first_packet = frame
        self.last_packet = frame
        self.history = History()
        self.scope: Scope | None = None
        self.stream: Stream | None = None
        self.undecided: Rows | None = None  # rows that name a direction, from before it was known who is the client
        self.is_finished = False  # its rows are written
        self.own_bytes: i64 = limits.CONNECTION_BYTES  # of memory, beside what its streams take
        self.counted_bytes: i64 = 0  # what the table has counted of both
        self.used_at: i64 = 0  # the table's clock
        # of all packets that the captures lost, those before it was opened and, once it is closed, before that
        self.lost_before: i64 = 0
        self.lost_until: i64 = -1
        self.lost_packets: int | None = None  # while it was open, told by the table before it asks for rows

    def guess_roles(self) -> None:
        """Decide who is the client by the ports that servers are known to use, else by who sent first."""
        is_server = self._is_server_port(self.port)
        if is_server != self._is_server_port(self.peer_port):
            self.client_side = 1 if is_server else 0
            self.role_evidence = PORT

    def _is_server_port(self, port: i64) -> bool:
        if 0 < port < SYSTEM_PORTS:
            return True
        key = (self.transport, port)
        return key in self.context.server_ports or key in self.context.decode_as

    def server_port(self) -> i64:
        """The port of the end that is the server, as far as is known."""
        return self.peer_port if self.client_side == 0 else self.port

    def need_scope(self) -> Scope:
        """What the streams share, made when it is first needed."""
        scope = self.scope
        if scope is None:
            is_proven = self.role_evidence == HANDSHAKE
            scope = Scope(self.context, self.connection_id, self.transport, self.server_port(), is_proven, self)
            self.scope = scope
        return scope

    def need_stream(self) -> Stream:
        """The connection's own bytes as a stream, made when the first of them come."""
        stream = self.stream
        if stream is None:
            stream = Stream(self.need_scope())
            self.stream = stream
        return stream

    def follow_roles(self) -> None:
        """Turn client and server if the bytes have shown that they are the other way round."""
        stream = self.stream
        if stream is not None and stream.reversed:
            stream.reversed = False
            self.client_side = 1 - self.client_side
            self.role_evidence = PROTOCOL
            for row in self.undecided or []:
                if isinstance(row, (AnomalyRecord, StallRecord)):
                    row.direction = DIRECTION_NAMES[1 if row.direction == DIRECTION_NAMES[0] else 0]

    def is_role_told(self) -> bool:
        """Whether the bytes themselves tell who the client is, which no handshake did."""
        stream = self.stream
        return self.role_evidence != HANDSHAKE and stream is not None and stream.tells_roles

    def when_roles_are_known(self, rows: Rows) -> Rows:
        """Keep rows that name a direction while the bytes may still turn the sides around; else return them."""
        stream = self.stream
        if self.role_evidence == HANDSHAKE or (stream is not None and stream.protocol is not None):
            return rows
        undecided = self.undecided
        if undecided is None:
            undecided = self.undecided = []
        if len(undecided) >= limits.PROBE_HELD_EVENTS:  # then no probe is waiting any more
            return rows
        undecided += rows
        self.own_bytes += len(rows) * limits.ROW_BYTES
        return []

    def memory(self) -> i64:
        """How many bytes it takes, without those behind holes and those of contents."""
        scope = self.scope
        return self.own_bytes if scope is None else self.own_bytes + scope.held_bytes

    def anomaly(
        self,
        kind: str,
        side: i64,
        timestamp: i64,
        packet: i64,
        required: str,
        found: str,
        section: str,
        missing_bytes: int | None = None,
        is_assumed: bool = False,
    ) -> Rows:
        """The row of a fault in the bytes that ``side`` sent; it names their stream if that is open and so has a row."""
        found_rows = self.need_scope().anomaly(
            AnomalyRecord(
                stream_index=None if self.stream is None else 0,
                direction=DIRECTION_NAMES[side ^ self.client_side],
                occurred_at=timestamp,
                packet=packet,
                kind=kind,
                required=required,
                found=found,
                section=section or None,
                missing_bytes=missing_bytes,
                is_assumed=is_assumed,
            )
        )
        return self.when_roles_are_known(found_rows)

    def base_record(self) -> ConnectionRecord:
        """The connection's row with what every connection has."""
        client = self.client_side
        stream = self.stream
        scope = self.scope
        source, destination = self.addresses
        number = TCP_PROTOCOL_NUMBER if self.transport == "tcp" else UDP_PROTOCOL_NUMBER
        return ConnectionRecord(
            connection_id=self.connection_id,
            capture_index=self.capture_index,
            transport=self.transport,
            client_address=address_text(source if client == 0 else destination),
            client_port=self.port if client == 0 else self.peer_port,
            server_address=address_text(destination if client == 0 else source),
            server_port=self.server_port(),
            role_evidence=PROTOCOL if self.is_role_told() else self.role_evidence,
            vlan_id=None if self.vlan_id < 0 else self.vlan_id,
            encapsulation=self.encapsulation,
            interface=self.interface,
            started_at=self.started_at,
            ended_at=self.ended_at,
            duration_ns=self.ended_at - self.started_at,
            history=self.history.text(client),
            protocol=None if stream is None else stream.protocol,
            streams=0 if scope is None else scope.streams,
            community_id=community_id(number, source, self.port, destination, self.peer_port),
            first_packet=self.first_packet,
            last_packet=self.last_packet,
            dropped_packets=self.lost_packets,
        )

    def record(self, reason: CloseReason | None) -> ConnectionRecord:
        """The connection's row; ``reason`` is why it ended, where its packets do not say, None while it is open."""
        return self.base_record()

    def open_rows(self, timestamp: i64) -> Rows:
        """The rows, as they stand, of the connection and of the streams in it that are open."""
        rows: Rows = [self.record(None)]
        if self.undecided is not None:
            rows += self.undecided
        rows += self.open_stalls()
        if self.scope is not None:
            rows += self.scope.open_rows()
        stream = self.stream
        return rows if stream is None else rows + stream.tick(timestamp)

    def open_stalls(self) -> Rows:
        """The rows of windows that are at zero."""
        return []

    def release(self) -> Rows:
        """Let go of the streams; returns the rows that counted further faults."""
        self.is_finished = True
        scope = self.scope
        rows: Rows = [] if scope is None else scope.finish()
        if self.undecided is not None:
            rows += self.undecided
            self.undecided = None
        self.stream = None
        self.scope = None
        return rows
