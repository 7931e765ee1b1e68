"""HTTP/2 (RFC 9113): streams told apart, requests matched with responses by stream, flow control and settings followed.

Framing and field compression are in ``codecs``; what frames and holes mean is in ``http2_conversation`` and the files it
leans on: open streams, field sections, flow control, tunnels. Here are the records, how HTTP/2 is recognised, and how
a connection begins and ends.
"""

import base64
import binascii
from typing import Annotated, ClassVar, Final

from mypy_extensions import i64, mypyc_attr

from analyzer.codecs.http1_recognition import is_client
from analyzer.codecs.http2_framer import FRAMES
from analyzer.codecs.http2_frames import (
    ENABLE_CONNECT_PROTOCOL,
    ENABLE_PUSH,
    HEADER_TABLE_SIZE,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    MAX_HEADER_LIST_SIZE,
    PREFACE,
    error_name,
    frame_name,
    parse_settings,
)
from analyzer.codecs.http2_search import BROKEN, CONVINCING, CONVINCING_ALONE, begins, judge
from analyzer.dissector import DIRECTION_NAMES, TO_SERVER, CloseReason, Facts, Match
from analyzer.errors import ProtocolError
from analyzer.http.http2_conversation import Http2Conversation
from analyzer.http.semantics import HttpContentRecord, HttpExchangeRecord, HttpFieldSectionRecord
from analyzer.records import Rows
from analyzer.schema import Record, capture, conversation, record, time
from analyzer.stream import Stream


@mypyc_attr(native_class=False)
@record("http2_connections", "HTTP/2 connection", key=("connection_id", "stream_index"))
class Http2ConnectionRecord(Record):
    """An HTTP/2 connection: what each side allowed, and how it ended. Settings are those announced last, as far as seen."""

    connection_id: "Annotated[int, capture('the connection')]"
    stream_index: "Annotated[int, capture('the stream that HTTP/2 is spoken on: 0, or one inside TLS or after an upgrade')]"
    is_complete: "Annotated[bool, capture('both directions were seen from their first byte, and their framing never lost')]" = (
        False
    )
    client_header_table_size: "Annotated[int | None, capture('SETTINGS_HEADER_TABLE_SIZE of the client, NULL where it sent none')]" = None
    client_enable_push: "Annotated[int | None, capture('SETTINGS_ENABLE_PUSH of the client')]" = None
    client_max_concurrent_streams: "Annotated[int | None, capture('SETTINGS_MAX_CONCURRENT_STREAMS of the client')]" = None
    client_initial_window_bytes: "Annotated[int | None, capture('SETTINGS_INITIAL_WINDOW_SIZE of the client')]" = None
    client_max_frame_bytes: "Annotated[int | None, capture('SETTINGS_MAX_FRAME_SIZE of the client')]" = None
    client_max_header_list_bytes: "Annotated[int | None, capture('SETTINGS_MAX_HEADER_LIST_SIZE of the client')]" = None
    server_header_table_size: "Annotated[int | None, capture('SETTINGS_HEADER_TABLE_SIZE of the server')]" = None
    server_max_concurrent_streams: "Annotated[int | None, capture('SETTINGS_MAX_CONCURRENT_STREAMS of the server')]" = None
    server_initial_window_bytes: "Annotated[int | None, capture('SETTINGS_INITIAL_WINDOW_SIZE of the server')]" = None
    server_max_frame_bytes: "Annotated[int | None, capture('SETTINGS_MAX_FRAME_SIZE of the server')]" = None
    server_max_header_list_bytes: "Annotated[int | None, capture('SETTINGS_MAX_HEADER_LIST_SIZE of the server')]" = None
    server_enable_connect_protocol: "Annotated[int | None, capture('SETTINGS_ENABLE_CONNECT_PROTOCOL of the server (RFC 8441)')]" = None
    streams_opened_by_client: "Annotated[int, capture('streams seen with odd numbers')]" = 0
    streams_opened_by_server: "Annotated[int, capture('streams seen with even numbers: pushes')]" = 0
    max_open_streams: "Annotated[int, capture('most streams open at a time')]" = 0
    frames_to_server: "Annotated[int, capture('frames towards the server')]" = 0
    frames_to_client: "Annotated[int, capture('frames towards the client')]" = 0
    pings_to_server: "Annotated[int, capture('PING frames towards the server, answers not counted')]" = 0
    pings_to_client: "Annotated[int, capture('PING frames towards the client, answers not counted')]" = 0
    resets_to_server: "Annotated[int, capture('RST_STREAM frames towards the server')]" = 0
    resets_to_client: "Annotated[int, capture('RST_STREAM frames towards the client')]" = 0
    smallest_window_to_server_bytes: "Annotated[int | None, capture('smallest flow-control window of the connection for the client, NULL where it is not certain')]" = None
    smallest_window_to_client_bytes: "Annotated[int | None, capture('smallest flow-control window of the connection for the server, NULL where it is not certain')]" = None
    unread_to_server_bytes: "Annotated[int, capture('bytes towards the server that are there, but behind a hole, so that it was not certain what they are')]" = 0
    unread_to_client_bytes: "Annotated[int, capture('the same towards the client')]" = 0
    goaway_to_server_code: "Annotated[str | None, capture('error code of the last GOAWAY towards the server, by its name')]" = (
        None
    )
    goaway_to_server_last_stream_id: "Annotated[int | None, capture('last stream that GOAWAY says was or may be processed')]" = (
        None
    )
    goaway_to_server_debug: "Annotated[bytes | None, capture('its debug data, the first 1,024 bytes')]" = None
    goaway_to_client_code: "Annotated[str | None, capture('error code of the last GOAWAY towards the client, by its name')]" = (
        None
    )
    goaway_to_client_last_stream_id: "Annotated[int | None, capture('last stream that GOAWAY says was or may be processed')]" = (
        None
    )
    goaway_to_client_debug: "Annotated[bytes | None, capture('its debug data, the first 1,024 bytes')]" = None


@mypyc_attr(native_class=False)
@record("http2_frames", "HTTP/2 frame, with --frames")
class Http2FrameRecord(Record):
    """An HTTP/2 frame."""

    connection_id: "Annotated[int, capture('the connection')]"
    stream_index: "Annotated[int | None, capture('the stream it belongs to; of a frame of the connection the one that HTTP/2 is spoken on; NULL where its stream is over, or was never opened')]"
    frame_index: "Annotated[int, capture('number within the connection, in order of the last byte')]"
    direction: "Annotated[str, conversation('to_server or to_client')]"
    frame_type: "Annotated[str, conversation('type by its name, or in hexadecimal')]"
    flags: "Annotated[int, conversation('flags')]"
    protocol_stream_id: "Annotated[int, conversation('number of the stream, 0 for the connection')]"
    payload_bytes: "Annotated[int, conversation('length of the payload, padding included')]"
    started_at: "Annotated[int | None, time('first byte')]"
    ended_at: "Annotated[int | None, time('last byte')]"
    first_packet: "Annotated[int | None, capture('frame number of the packet with its first byte')]"
    last_packet: "Annotated[int | None, capture('frame number of the packet with its last byte')]"


class Http2Dissector(Http2Conversation):
    """Follows an HTTP/2 connection."""

    name: ClassVar[str] = "http2"
    ports: ClassVar[tuple[int, ...]] = ()
    transports: ClassVar[tuple[str, ...]] = ("tcp",)
    records: ClassVar[tuple[type, ...]] = (
        HttpExchangeRecord,
        HttpFieldSectionRecord,
        HttpContentRecord,
        Http2ConnectionRecord,
        Http2FrameRecord,
    )

    def __init__(self, stream: Stream, facts: Facts) -> None:
        """``facts`` may tell of a request that was upgraded to HTTP/2 (``upgrade_request_*``, ``http2-settings``)."""
        super().__init__(stream)
        self._stream = stream
        self._keeps_frames = stream.context.frames
        self._frame_index: i64 = 0
        self._is_over = False
        if "upgrade_request_method" in facts or "http2-settings" in facts:
            self._begin_upgraded(facts)

    @staticmethod
    def probe(first: bytes, second: bytes) -> Match:
        """Recognise the client's preface; else a chain of frames from the first byte of a side on, strictly judged.

        A server may speak first, and to whoever comes: what the client says decides (RFC 9113 section 3.4).
        """
        if first.startswith(PREFACE):
            return Match.YES
        if is_client(first):  # HTTP/1
            return Match.NO
        server = judge(second, True)
        if first and PREFACE.startswith(first):
            return Match.NO if server == BROKEN else Match.MAYBE
        client = judge(first, False)
        if not first:
            if server >= CONVINCING:
                return Match.LIKELY
            return Match.NO if server == BROKEN and _is_said_by(second, False) else Match.MAYBE
        if client != BROKEN and server != BROKEN:
            return Match.YES if client + server >= CONVINCING else Match.MAYBE
        if client >= CONVINCING_ALONE or server >= CONVINCING_ALONE + (CONVINCING if begins(second) else 0):
            return Match.YES
        if not second:
            return Match.NO if _is_said_by(first, True) else Match.MAYBE
        return Match.NO if client == server else Match.MAYBE  # under way on one side

    # --- what Stream calls ---

    def feed(self, direction: i64, data: bytes, timestamp: i64, released: i64, packet: i64) -> Rows:
        """Take bytes in order."""
        framer = self._sides.to_server.framer if direction == TO_SERVER else self._sides.to_client.framer
        framer.feed(self, data, timestamp, released, packet)
        if framer.payload_left > 0 and not framer.is_wanted:
            self._stream.decline(direction, framer.payload_left)
        if self._streams.answers.is_newer:
            self.hear_answers()
        self._stream.hold(self.memory())
        return self._rows.taken()

    def skipped(self, direction: i64, length: i64, timestamp: i64, released: i64, packet: i64) -> Rows:
        """Let payload that nobody wants go by."""
        framer = self._sides.to_server.framer if direction == TO_SERVER else self._sides.to_client.framer
        framer.skip(self, length, timestamp, released, packet)
        return self._rows.taken()

    def gap(self, direction: i64, length: int | None, at_most: int | None, timestamp: i64, packet: i64) -> Rows:
        """Go on where the hole lies inside one frame; else search for the next one."""
        framer = self._sides.to_server.framer if direction == TO_SERVER else self._sides.to_client.framer
        framer.gap(self, -1 if length is None else length, -1 if at_most is None else at_most, timestamp, packet)
        if direction == TO_SERVER:
            self.hear_answers()
        self._stream.hold(self.memory())
        return self._rows.taken()

    def close(self, direction: i64, reason: CloseReason, timestamp: i64, packet: i64) -> Rows:
        """End a direction; after both, hand out what is left."""
        if self._is_over:
            return []
        sides = self._sides
        side = self._side(direction)
        side.is_closed = True
        if reason is not CloseReason.LIMIT:
            side.framer.close(self)
        if direction == TO_SERVER:
            self._streams.give_requests_up()
        self._tunnels.close(direction, reason, timestamp, packet)
        if sides.to_server.is_closed and sides.to_client.is_closed:
            self._is_over = True
            self._streams.close(reason)
            self._rows.made.append(self._row())
        return self._rows.taken()

    def tick(self, now: i64) -> Rows:
        """The connection, the windows that are shut, and the streams that are open, as they stand."""
        if self._is_over:
            return []
        rows: Rows = [self._row()]
        exchanges = self._streams.exchanges
        rows += self._flow_control.open_rows(exchanges)
        for exchange in exchanges.values():
            rows += self._rows.open_rows(exchange)
        return rows + self._tunnels.open_rows(now)

    # --- the connection ---

    def _begin_upgraded(self, facts: Facts) -> None:
        """Stream 1 is the request that asked for HTTP/2 (RFC 7540 section 3.2), and its settings are in force."""
        started_at: i64 = int(facts.get("upgrade_request_started_at", "-1"))
        packet: i64 = int(facts.get("upgrade_request_packet", "-1"))
        self._streams.client_numbers.open(1)
        self._streams.asked = 1
        exchange = self._streams.open(1, started_at, packet)
        exchange.method = _fact(facts, "upgrade_request_method")
        exchange.authority = _fact(facts, "upgrade_request_authority")
        exchange.target = _fact(facts, "upgrade_request_target")
        exchange.scheme = b"http"
        request = exchange.request
        request.has_begun = True
        request.has_header = True
        request.content_bytes = int(facts.get("upgrade_request_content_bytes", "-1"))  # it went by in HTTP/1
        request.is_ended = True
        request.started_at = started_at
        request.ended_at = int(facts.get("upgrade_request_ended_at", "-1"))
        text = facts.get("http2-settings")
        if text is None:
            self._sides.windows_certain = False
            return
        try:
            payload = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
            self._announce(self._sides.to_server, parse_settings(payload))
        except (binascii.Error, ValueError, ProtocolError):
            required = "the payload of SETTINGS in base64url"
            self._rows.note(TO_SERVER, started_at, packet, "stream_error", required, text[:64], "RFC 7540 section 3.2.1")
            self._sides.windows_certain = False
            return
        self._sides.acknowledge(self._sides.to_client)

    def end_frame(self, direction: i64, kind: i64, flags: i64, stream_id: i64, length: i64) -> None:
        """Write the frame down, when frames are asked for."""
        if self._keeps_frames:
            framer = self._side(direction).framer
            index: int | None = self._stream.stream_index
            if stream_id != 0:
                index = self._streams.index_of(stream_id)
            self._rows.made.append(
                Http2FrameRecord(
                    self._stream.connection_id,
                    index,
                    self._frame_index,
                    DIRECTION_NAMES[direction],
                    frame_name(kind),
                    flags,
                    stream_id,
                    length,
                    framer.started_at,
                    framer.timestamp,
                    framer.started_packet,
                    framer.packet,
                )
            )
            self._frame_index += 1

    def _row(self) -> Http2ConnectionRecord:
        """The connection's own row."""
        client = self._sides.to_server
        server = self._sides.to_client
        windows = self._sides.windows_certain and self._sides.is_complete
        return Http2ConnectionRecord(
            connection_id=self._stream.connection_id,
            stream_index=self._stream.stream_index,
            is_complete=self._sides.is_complete and client.framer.state == FRAMES and server.framer.state == FRAMES,
            client_header_table_size=client.settings.get(HEADER_TABLE_SIZE),
            client_enable_push=client.settings.get(ENABLE_PUSH),
            client_max_concurrent_streams=client.settings.get(MAX_CONCURRENT_STREAMS),
            client_initial_window_bytes=client.settings.get(INITIAL_WINDOW_SIZE),
            client_max_frame_bytes=client.settings.get(MAX_FRAME_SIZE),
            client_max_header_list_bytes=client.settings.get(MAX_HEADER_LIST_SIZE),
            server_header_table_size=server.settings.get(HEADER_TABLE_SIZE),
            server_max_concurrent_streams=server.settings.get(MAX_CONCURRENT_STREAMS),
            server_initial_window_bytes=server.settings.get(INITIAL_WINDOW_SIZE),
            server_max_frame_bytes=server.settings.get(MAX_FRAME_SIZE),
            server_max_header_list_bytes=server.settings.get(MAX_HEADER_LIST_SIZE),
            server_enable_connect_protocol=server.settings.get(ENABLE_CONNECT_PROTOCOL),
            streams_opened_by_client=self._streams.opened_by_client,
            streams_opened_by_server=self._streams.opened_by_server,
            max_open_streams=self._streams.most_open,
            frames_to_server=client.framer.frames,
            frames_to_client=server.framer.frames,
            pings_to_server=client.pings,
            pings_to_client=server.pings,
            resets_to_server=client.resets,
            resets_to_client=server.resets,
            smallest_window_to_server_bytes=client.smallest_window if windows else None,
            smallest_window_to_client_bytes=server.smallest_window if windows else None,
            unread_to_server_bytes=client.framer.unread_bytes,
            unread_to_client_bytes=server.framer.unread_bytes,
            goaway_to_server_code=None if client.goaway_code < 0 else error_name(client.goaway_code),
            goaway_to_server_last_stream_id=None if client.goaway_code < 0 else client.goaway_last,
            goaway_to_server_debug=client.goaway_debug or None,
            goaway_to_client_code=None if server.goaway_code < 0 else error_name(server.goaway_code),
            goaway_to_client_last_stream_id=None if server.goaway_code < 0 else server.goaway_last,
            goaway_to_client_debug=server.goaway_debug or None,
        )


def _is_said_by(data: bytes, by_server: bool) -> bool:
    """Whether bytes are those of one side, so that they are not the other's."""
    return judge(data, by_server) >= CONVINCING or (not by_server and data.startswith(PREFACE))


def _fact(facts: Facts, name: str) -> bytes | None:
    value = facts.get(name)
    return None if value is None else value.encode("latin-1", "replace")


DISSECTORS: Final = [Http2Dissector]
