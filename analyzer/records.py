"""The records that every capture yields, whatever protocols it holds. Protocols declare their own beside their dissector.

Times are integers, nanoseconds since the epoch, UTC. A value that is not known is None.
"""

from typing import Annotated, Final, TypeAlias

from mypy_extensions import i64, mypyc_attr

from analyzer.schema import Record, capture, conversation, record, time

Rows: TypeAlias = list[Record]

UNNUMBERED: Final = -1


class FieldLine:
    """A (name, value) pair that many records repeat: an HTTP field line, stored once and referred to by number.

    ``provenance`` is ``witnessed``, ``static`` or ``unknown``; an unknown name or value is None. ``number``
    belongs to the store, which numbers each distinct line when it first sees it.
    """

    def __init__(self, name: bytes | None, value: bytes | None, provenance: str) -> None:
        self.name = name
        self.value = value
        self.provenance = provenance
        self.number: i64 = UNNUMBERED

    def size(self) -> i64:
        """Bytes of name and value."""
        name, value = self.name, self.value
        return (0 if name is None else len(name)) + (0 if value is None else len(value))


class LineNumbers:
    """Numbers field lines: equal lines alike, as long as no more are known than the caller wants to keep.

    Numbers of one instance begin at ``first`` and lie below ``end``, so that the number that another left in a line is
    told by one comparison.
    """

    def __init__(self, first: i64, end: i64) -> None:
        self.first = first
        self.next = first
        self.end = end
        self.new: list[FieldLine] = []  # the first of each kind, in order of their numbers; the caller takes them away
        self.known: dict[tuple[bytes | None, bytes | None, str], int] = {}
        self.known_bytes: i64 = 0

    def number(self, sections: list[list[FieldLine]]) -> None:
        """Give each line of the sections its number."""
        first = self.first
        end = self.end
        for lines in sections:
            for line in lines:
                if line.number < first or line.number >= end:
                    self._number(line)

    def _number(self, line: FieldLine) -> None:
        key = (line.name, line.value, line.provenance)
        number = self.known.get(key)
        if number is None:
            self.known[key] = line.number = self.next
            self.next += 1
            self.new.append(line)
            self.known_bytes += line.size()
        else:
            line.number = number


def by_class(rows: Rows) -> dict[type, Rows]:
    """Sort rows by their class, in order."""
    found: dict[type, Rows] = {}
    last: type | None = None
    same: Rows = []
    for row in rows:
        kind = type(row)
        if kind is not last:
            last = kind
            known = found.get(kind)
            if known is None:
                same = found[kind] = []
            else:
                same = known
        same.append(row)
    return found


@mypyc_attr(native_class=False)
@record("field_lines", "distinct field line; columns of field lines hold lists of line_id")
class FieldLineRecord(Record):
    """A field line that other tables refer to. The store makes these rows; a line may be there more than once."""

    line_id: "Annotated[int, capture('number of the line')]"
    name: "Annotated[bytes | None, conversation('name of the field, NULL when it is not known')]"
    value: "Annotated[bytes | None, conversation('its value, secrets masked, NULL when it is not known')]"
    provenance: "Annotated[str, capture('witnessed, static or unknown')]"


@mypyc_attr(native_class=False)
@record("captures", "input file or interface", key=("capture_index",))
class CaptureRecord(Record):
    """An input: a file, standard input or an interface."""

    capture_index: "Annotated[int, capture('number of the input, from 0, in the order they were read; continues when a store is appended to')]"
    name: "Annotated[str, capture('path as given, - for standard input, or an interface')]"
    format: "Annotated[str | None, capture('pcap, pcapng or live')]" = None
    compression: "Annotated[str | None, capture('gzip, zstd, xz, or NULL')]" = None
    link_types: "Annotated[str | None, capture('link types of the packets, as LINKTYPE_ names, comma-separated')]" = None
    interfaces: "Annotated[str | None, capture('interface names in a pcapng, comma-separated')]" = None
    packets: "Annotated[int, capture('packets read')]" = 0
    snapped_packets: "Annotated[int, capture('packets cut at the snap length: captured length below original length')]" = 0
    untimed_packets: "Annotated[int, capture('packets without a valid time of their own (Simple Packet Blocks, times before 1970 or after 2115); they were given that of the packet before them')]" = 0
    not_decoded_packets: "Annotated[int, capture('packets that belong to no connection or flow: not IP, not TCP or UDP, damaged')]" = 0
    captured_bytes: "Annotated[int, capture('packet bytes in the capture')]" = 0
    original_bytes: "Annotated[int, capture('packet bytes on the wire')]" = 0
    first_packet_at: "Annotated[int | None, time('earliest packet')]" = None
    last_packet_at: "Annotated[int | None, time('latest packet')]" = None
    dropped_packets: "Annotated[int | None, capture('packets the capturing system says it dropped, where it says so')]" = None
    truncation: "Annotated[str | None, capture('why reading stopped before the end of the file, NULL when it did not')]" = None


@mypyc_attr(native_class=False)
@record("connections", "TCP connection or UDP flow", key=("connection_id",))
class ConnectionRecord(Record):
    """A TCP connection or UDP flow."""

    connection_id: (
        "Annotated[int, capture('capture_index * 2^40 + frame number of the packet that completes the first datagram')]"
    )
    capture_index: "Annotated[int, capture('input in which it begins')]"
    transport: "Annotated[str, conversation('tcp or udp')]"
    client_address: "Annotated[str, conversation('address of the end that opened it')]"
    client_port: "Annotated[int, conversation('port of the end that opened it')]"
    server_address: "Annotated[str, conversation('address of the other end')]"
    server_port: "Annotated[int, conversation('port of the other end')]"
    role_evidence: "Annotated[str, capture('how the client is known: handshake (a SYN), protocol (only one end can have said what was said), port (the server has a known one), or first_sender, which is a guess: the ends may be the other way round')]"
    vlan_id: "Annotated[int | None, capture('VLAN of its first packet, the outermost')]" = None
    encapsulation: "Annotated[str | None, capture('tunnels around its first packet, outermost first, such as vxlan:42')]" = None
    interface: "Annotated[str | None, capture('capture interface of its first packet, where the file names it')]" = None
    started_at: "Annotated[int | None, time('first packet')]" = None
    ended_at: "Annotated[int | None, time('last packet')]" = None
    duration_ns: "Annotated[int | None, time('first to last packet')]" = None
    packets_to_server: "Annotated[int, capture('packets towards the server, all of them')]" = 0
    packets_to_client: "Annotated[int, capture('packets towards the client, all of them')]" = 0
    bytes_to_server: "Annotated[int, capture('payload bytes towards the server, each byte once')]" = 0
    bytes_to_client: "Annotated[int, capture('payload bytes towards the client, each byte once')]" = 0
    missing_bytes_to_server: "Annotated[int, capture('payload bytes towards the server that the capture lacks')]" = 0
    missing_bytes_to_client: "Annotated[int, capture('payload bytes towards the client that the capture lacks')]" = 0
    retransmitted_packets: "Annotated[int, capture('packets that carried bytes a second time')]" = 0
    retransmitted_bytes: "Annotated[int, capture('payload bytes carried a second time')]" = 0
    out_of_order_packets: "Annotated[int, capture('packets that arrived after a later one of their direction and carried new bytes')]" = 0
    duplicate_packets: "Annotated[int, capture('exact copies of a packet: mirror ports, several interfaces')]" = 0
    keep_alive_packets: "Annotated[int, capture('TCP keep-alive probes')]" = 0
    zero_window_packets: "Annotated[int, capture('packets that announced a receive window of zero')]" = 0
    dropped_packets: "Annotated[int | None, capture('packets, of whichever connection, that the capturing system says it lost while this one was open: some of them may have been its own, which TCP shows as missing_bytes and nothing shows for UDP; NULL where the capture does not say when it lost packets')]" = None
    handshake_rtt_ns: "Annotated[int | None, time('SYN to the ACK that ends the handshake')]" = None
    server_rtt_ns: "Annotated[int | None, time('SYN to SYN-ACK: the path between capture point and server')]" = None
    client_rtt_ns: "Annotated[int | None, time('SYN-ACK to ACK: the path between capture point and client')]" = None
    state: "Annotated[str | None, capture('Zeek conn_state: S0 S1 SF REJ S2 S3 RSTO RSTR RSTOS0 RSTRH SH SHR OTH')]" = None
    history: "Annotated[str | None, capture('Zeek history letters: capital for the client, small for the server')]" = None
    closed_by: "Annotated[str | None, capture('client or server: who sent the first FIN or RST')]" = None
    close_reason: "Annotated[str | None, capture('fin, reset, timeout, capture_end or limit')]" = None
    protocol: "Annotated[str | None, capture('protocol of its bytes, NULL when none was recognised')]" = None
    streams: "Annotated[int, capture('streams inside it, at every depth, its own bytes not counted')]" = 0
    community_id: "Annotated[str | None, capture('Community ID v1, seed 0')]" = None
    first_packet: "Annotated[int | None, capture('frame number of its first packet')]" = None
    last_packet: "Annotated[int | None, capture('frame number of its last packet, in the input it ends in')]" = None


@mypyc_attr(native_class=False)
@record("streams", "stream, at every depth; stream 0 is the connection's own bytes", key=("connection_id", "stream_index"))
class StreamRecord(Record):
    """A stream: a connection's bytes, an HTTP/2 stream, a WebSocket inside either."""

    connection_id: "Annotated[int, capture('the connection')]"
    stream_index: "Annotated[int, capture('number within the connection in order of opening; 0 is the connection itself')]"
    parent_index: "Annotated[int | None, capture('stream_index of the stream it is in; NULL for 0')]" = None
    depth: "Annotated[int, capture('0 for the connection, 1 for a stream in it, and so on')]" = 0
    protocol: "Annotated[str | None, conversation('protocol of its bytes, NULL when none was recognised')]" = None
    protocol_stream_id: "Annotated[str | None, conversation('its name in the protocol it is in: an HTTP/2 stream number, a channel name')]" = None
    started_at: "Annotated[int | None, time('first byte')]" = None
    ended_at: "Annotated[int | None, time('last byte')]" = None
    bytes_to_server: "Annotated[int, capture('bytes towards the server')]" = 0
    bytes_to_client: "Annotated[int, capture('bytes towards the client')]" = 0
    messages_to_server: "Annotated[int, capture('messages of its protocol towards the server')]" = 0
    messages_to_client: "Annotated[int, capture('messages of its protocol towards the client')]" = 0
    missing_bytes: "Annotated[int, capture('bytes, both ways, that the capture lacks')]" = 0
    stalled_ns: "Annotated[int | None, capture('time in which its bytes had arrived and waited behind a hole, or for a flow-control window of HTTP/2; NULL where such windows could not be followed')]" = 0
    end_reason: "Annotated[str | None, capture('how it ended: complete, fin, reset, timeout, capture_end, limit, protocol_error')]" = None
    first_packet: "Annotated[int | None, capture('frame number of its first packet')]" = None
    last_packet: "Annotated[int | None, capture('frame number of its last packet')]" = None


@mypyc_attr(native_class=False)
@record(
    "stalls",
    "time in which bytes that had arrived, or were ready to be sent, could not be delivered",
    key=("connection_id", "stall_index"),
)
class StallRecord(Record):
    """A hole in TCP that was filled, or a window at zero: the receive window of TCP, a flow-control window of HTTP/2."""

    connection_id: "Annotated[int, capture('the connection')]"
    stall_index: "Annotated[int | None, capture('number within the connection, NULL while it lasts')]"
    direction: "Annotated[str, capture('to_server or to_client: the way the bytes went')]"
    kind: "Annotated[str, capture('tcp_hole, tcp_window, connection_window or stream_window')]"
    stream_index: "Annotated[int | None, capture('the stream whose window it was, for stream_window')]" = None
    started_at: "Annotated[int | None, time('first byte that had to wait, or the window reaching zero')]" = None
    ended_at: "Annotated[int | None, time('the hole filled, or the window opened; NULL while it is at zero')]" = None
    duration_ns: "Annotated[int | None, time('started_at to ended_at')]" = None
    waiting_bytes: "Annotated[int | None, capture('bytes that waited behind the hole; NULL for a window, where it is not known how many were ready to be sent')]" = None
    evidence: "Annotated[str | None, capture('tcp_hole: late, retransmission or duplicate_acknowledgments; window: data_after_update, NULL while it is at zero: whether anything waits for it is not known')]" = None
    first_packet: "Annotated[int | None, capture('frame that showed it')]" = None
    last_packet: "Annotated[int | None, capture('frame that ended it')]" = None


@mypyc_attr(native_class=False)
@record("stalled_streams", "stream that a stall made wait", key=("connection_id", "stall_index", "stream_index"))
class StalledStreamRecord(Record):
    """Which stream waited, and how long, because of a stall."""

    connection_id: "Annotated[int, capture('the connection')]"
    stall_index: "Annotated[int, capture('the stall')]"
    stream_index: "Annotated[int, capture('the stream that waited')]"
    stalled_ns: "Annotated[int, time('how long its first waiting byte waited behind the hole, or how long its content waited for the window')]"


@mypyc_attr(native_class=False)
@record("anomalies", "fault found, named once")
class AnomalyRecord(Record):
    """A fault: where, what was required, what was there."""

    capture_index: "Annotated[int | None, capture('the input, for faults of a file')]" = None
    connection_id: "Annotated[int | None, capture('the connection')]" = None
    stream_index: "Annotated[int | None, capture('the stream')]" = None
    direction: "Annotated[str | None, capture('to_server or to_client')]" = None
    occurred_at: "Annotated[int | None, time('when')]" = None
    packet: "Annotated[int | None, capture('frame number')]" = None
    kind: "Annotated[str, capture('what sort of fault: missing_bytes, protocol_error, limit, conflicting_copies, not_understood, recognised_late, truncated_capture, time_order, …')]" = ""
    required: "Annotated[str | None, capture('what was required')]" = None
    found: "Annotated[str | None, capture('what was there')]" = None
    section: "Annotated[str | None, capture('section of the standard')]" = None
    missing_bytes: "Annotated[int | None, capture('bytes concerned, where known: missing, or there and not read')]" = None
    occurrences: "Annotated[int, capture('how many times; above 1 where further ones of this kind were only counted')]" = 1
    is_assumed: "Annotated[bool, capture('true where it rests on an assumption, such as a hole declared at a limit')]" = False


@mypyc_attr(native_class=False)
@record("store_metadata", "fact about the store")
class StoreMetadataRecord(Record):
    """What a run that added to the store was made with."""

    key: "Annotated[str, capture('schema_version, unmux_version, build, is_complete, option names, …')]"
    value: "Annotated[str, capture('its value')]"
    first_capture_index: (
        "Annotated[int, capture('the run: the first capture it read; its last is the one before that of the next run')]"
    )
