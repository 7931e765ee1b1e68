"""TLS (RFC 8446, RFC 5246): its records framed, and the directions made to wait for each other where keys need both.

**Waiting.** What a client sends after its ClientHello cannot be understood before the ServerHello, nor what a server sends
protected before the ClientHello; and one direction may be delivered before the other. Records then wait, within
``limits.TLS_HELD_BYTES``.

**After a hole** inside one record the next one begins where its header said. After any other hole the places that look like a header are
tried: one is believed when its record authenticates. Without keys nothing proves a place, and the direction is not followed further.
"""

from typing import ClassVar, Final

from mypy_extensions import i64

from analyzer import limits
from analyzer.codecs.tls_handshake import CLIENT_HELLO, SERVER_HELLO
from analyzer.codecs.tls_records import HEADER_BYTES, RecordSearch, count_records, ends_with_record, is_alert, is_hello
from analyzer.codecs.tls_side import (
    A_HOLE,
    AN_END,
    ASTRAY,
    IN_BODY,
    IN_HEADER,
    RESTARTING,
    SEARCHING,
    UNKNOWN_LENGTH,
    Record,
    Side,
)
from analyzer.dissector import TO_SERVER, CloseReason, Dissector, Facts, Match
from analyzer.records import Rows
from analyzer.stream import EVERYTHING, Stream
from analyzer.tls.tls_conversation import TlsConversation
from analyzer.tls.tls_rows import TlsAlertRecord, TlsHandshakeRecord

_RECORDS_ALONE: Final = 2  # protected records in a row that show TLS without its handshake


class TlsDissector:
    """Follows one TLS connection."""

    name: ClassVar[str] = "tls"
    ports: ClassVar[tuple[int, ...]] = (443, 8443, 4443, 6443, 9443, 465, 636, 853, 989, 990, 992, 993, 995, 5061, 5671, 8883)
    transports: ClassVar[tuple[str, ...]] = ("tcp",)
    records: ClassVar[tuple[type, ...]] = (TlsHandshakeRecord, TlsAlertRecord)

    def __init__(self, stream: Stream, facts: Facts) -> None:
        self._stream = stream
        self._conversation = TlsConversation(stream)

    @staticmethod
    def probe(first: bytes, second: bytes) -> Match:
        """A ClientHello, a ServerHello, or records of a connection whose handshake was not seen."""
        client = is_hello(first, CLIENT_HELLO)
        server = is_hello(second, SERVER_HELLO)
        if client is True:
            return Match.YES if server is not False or not second or is_alert(second[:7]) else Match.MAYBE
        if server is True:
            return Match.YES if not first or client is None else Match.MAYBE
        if client is None and (server is None or not second):
            return Match.MAYBE
        counts = count_records(first), count_records(second)
        if counts[0] >= 0 and counts[1] >= 0:
            return Match.YES if counts[0] + counts[1] >= _RECORDS_ALONE else Match.MAYBE
        if is_hello(first, SERVER_HELLO) or is_hello(second, CLIENT_HELLO) or counts[0] == counts[1]:
            return Match.NO
        if max(counts) >= _RECORDS_ALONE:  # the other side is under way in a record
            return Match.YES
        records = first if counts[0] > 0 else second
        return Match.LIKELY if max(counts) > 0 and ends_with_record(records) else Match.MAYBE

    def feed(self, direction: i64, data: bytes, timestamp: i64, released: i64, packet: i64) -> Rows:
        """Take bytes in order."""
        side = self._conversation.side(direction)
        length: i64 = len(data)
        side.position += length
        if side.state == IN_BODY and length < side.remaining and side.is_wanted and not side.is_holed:
            side.pieces.append(data)  # most segments are the middle of a record
            side.remaining -= length
            side.unread = 0
            return []
        self._take(side, data, timestamp, released, packet)
        return self._flush()

    def skipped(self, direction: i64, length: i64, timestamp: i64, released: i64, packet: i64) -> Rows:
        """Count bytes of a record that nobody can read."""
        side = self._conversation.side(direction)
        side.position += length
        side.unread = 0
        if side.state == IN_BODY:
            side.remaining -= length
            if side.remaining == 0:
                self._end_record(side, timestamp, released, packet)
        return self._flush()

    def gap(self, direction: i64, length: int | None, at_most: int | None, timestamp: i64, packet: i64) -> Rows:
        """Go on behind the record that the hole is in; or seek where one begins."""
        side = self._conversation.side(direction)
        side.is_whole = False
        side.unread = 0
        if length is not None:
            side.position += length
        if side.state == IN_BODY and length is not None and length <= side.remaining:
            side.is_holed = True
            side.pieces = []
            missing: i64 = length
            side.remaining -= missing
            if side.remaining == 0:
                self._end_record(side, timestamp, timestamp, packet)
        elif not side.is_begun:
            side.state = RESTARTING
            side.search = None
        elif side.state != ASTRAY:
            self._lose_framing(side, length, timestamp, packet)
        return self._flush()

    def close(self, direction: i64, reason: CloseReason, timestamp: i64, packet: i64) -> Rows:
        """End a direction."""
        side = self._conversation.side(direction)
        end = Record(AN_END, 0, 0, None)
        end.reason = reason.value
        end.timestamp = timestamp
        end.packet = packet
        side.is_closing = True
        if side.is_paused:
            side.hold(end)
        else:
            self._handle(side, end)
        self._conversation.negotiation.await_no_keys()
        self._resume()
        if self._conversation.is_closing():
            for each in (self._conversation.to_client, self._conversation.to_server):
                if each.is_paused:
                    self._conversation.negotiation.stop_waiting(each)
                    self._release(each, True)
        return self._flush()

    def wake(self) -> Rows:
        """Go on with what waited for keys."""
        self._resume()
        return self._flush()

    def tick(self, now: i64) -> Rows:
        """The handshake, and what is in the stream inside, as they stand."""
        return self._conversation.open_rows(now)

    def _flush(self) -> Rows:
        conversation = self._conversation
        self._stream.hold(conversation.memory())
        if conversation.negotiation.awaits_keys and (conversation.to_server.is_paused or conversation.to_client.is_paused):
            self._stream.await_keys(self)
        rows = conversation.rows
        conversation.rows = []
        return rows

    # --- framing ---

    def _take(self, side: Side, data: bytes, timestamp: i64, released: i64, packet: i64) -> None:
        """Take the records, or parts of them, in ``data``, which the direction's position counts already."""
        at: i64 = 0
        end: i64 = len(data)
        while at < end:
            if side.state == IN_BODY:
                stop = min(end, at + side.remaining)
                if side.is_wanted and not side.is_holed:
                    side.pieces.append(data[at:stop])
                side.remaining -= stop - at
                at = stop
                side.unread = end - at
                if side.remaining == 0:
                    self._end_record(side, timestamp, released, packet)
            elif side.state == IN_HEADER:
                at = self._take_header(side, data, at, end, timestamp, released, packet)
            else:
                self._take_unframed(side, data[at:], timestamp, released, packet)
                return
        if side.state == IN_BODY and not side.is_wanted:
            self._stream.decline(side.direction, side.remaining)

    def _take_header(self, side: Side, data: bytes, at: i64, end: i64, timestamp: i64, released: i64, packet: i64) -> i64:
        """Take a header, or the part of it that is there; returns where to go on."""
        known: i64 = len(side.header)
        if known == 0:
            side.is_begun = True
            side.started_at = timestamp
            side.first_packet = packet
        after = at + HEADER_BYTES - known
        if after > end:
            side.header += data[at:end]
            return end
        if known == 0:
            is_header = side.begin_record(data, at)
        else:
            is_header = side.begin_record(side.header + data[at:after], 0)
        if not is_header:
            found = (side.header + data[at:after]).hex(" ")
            self._conversation.rows += self._stream.anomaly(
                "framing_lost", side.direction, timestamp, packet, "a record header", found, "RFC 8446 section 5.1"
            )
            side.is_whole = False
            side.header = b""
            self._lose_framing(side, 0, timestamp, packet)
            return at if known == 0 else after
        side.header = b""
        side.unread = end - after
        if side.remaining == 0:
            self._end_record(side, timestamp, released, packet)
        return after

    def _end_record(self, side: Side, timestamp: i64, released: i64, packet: i64) -> None:
        """Hand a complete record on, or let it wait."""
        record = Record(side.kind, side.version, side.length, side.end_record())
        record.started_at = side.started_at
        record.first_packet = side.first_packet
        record.timestamp = timestamp
        record.released = released
        record.packet = packet
        record.position = side.position - side.unread
        conversation = self._conversation
        if side.is_paused or conversation.negotiation.must_wait(side, record.kind):
            side.hold(record)
            if side.held_bytes > limits.TLS_HELD_BYTES:
                self._stop_waiting(side, timestamp, packet)
        else:
            conversation.take(side, record)
        if conversation.to_server.is_paused or conversation.to_client.is_paused:
            self._resume()

    # --- waiting ---

    def _stop_waiting(self, side: Side, timestamp: i64, packet: i64) -> None:
        """Go on without what the other direction has not said."""
        required = f"at most {limits.TLS_HELD_BYTES} bytes before the other direction's hello"
        self._conversation.rows += self._stream.anomaly("limit", side.direction, timestamp, packet, required, "more")
        self._conversation.negotiation.stop_waiting(side)
        self._release(side, True)

    def _resume(self) -> None:
        """Hand on what waited and need not wait any more, in the order in which it came.

        One direction's may be what the other waits for, and what is inside must hear both as they spoke.
        """
        conversation = self._conversation
        again = True
        while again:
            again = False
            for side in (conversation.to_client, conversation.to_server):
                if side.is_paused:
                    again = self._release(side, False) or again

    def _release(self, side: Side, is_forced: bool) -> bool:
        """Hand on what a direction holds, up to what must still wait; whether there was anything."""
        if not is_forced and not self._may_go(side, side.held[0]):
            return False
        waiting = side.take_held()
        for index, record in enumerate(waiting):
            if side.is_paused or not (is_forced or self._may_go(side, record)):
                for rest in waiting[index:]:
                    side.hold(rest)
                return index > 0
            record.released = record.timestamp  # its wait belonged to a stall that is over
            self._handle(side, record)
        return True

    def _may_go(self, side: Side, record: Record) -> bool:
        """Whether a record need not wait any more, nor is it the turn of one that the other direction holds."""
        conversation = self._conversation
        if record.kind >= 0 and conversation.negotiation.must_wait(side, record.kind):
            return False
        other = conversation.side(1 - side.direction)
        if not other.is_paused or other.held[0].packet > record.packet:
            return True
        kind = other.held[0].kind
        return kind >= 0 and conversation.negotiation.must_wait(other, kind)

    def _handle(self, side: Side, record: Record) -> None:
        conversation = self._conversation
        if record.kind == A_HOLE:
            can_seek = conversation.lose_framing(side, record.length, record.timestamp, record.packet)
            if can_seek and side.search is not None:
                self._seek(side, side.search)
            else:
                self._go_astray(side)
        elif record.kind == AN_END:
            assert record.reason is not None
            conversation.end(side, CloseReason(record.reason), record.timestamp, record.packet)
        else:
            conversation.take(side, record)

    # --- finding records again ---

    def _lose_framing(self, side: Side, length: int | None, timestamp: i64, packet: i64) -> None:
        """Begin to seek the next record, which begins anywhere from here on."""
        hole = Record(A_HOLE, 0, UNKNOWN_LENGTH, None)
        if length is not None:
            missing: i64 = length
            if side.state == IN_BODY:
                missing += side.length
            hole.length = missing + len(side.header)
            if side.search is not None:
                hole.length += side.search.size()
        hole.timestamp = timestamp
        hole.packet = packet
        side.header = b""
        side.pieces = []
        is_second = side.state == SEARCHING
        side.state = SEARCHING
        side.search = RecordSearch()
        if side.is_paused:
            if is_second:  # what is between two holes would have to wait as well
                side.state = ASTRAY
                side.search = None
            side.hold(hole)
        else:
            self._handle(side, hole)
        self._resume()

    def _go_astray(self, side: Side) -> None:
        """Nothing will tell where records begin."""
        side.state = ASTRAY
        side.search = None
        self._stream.decline(side.direction, EVERYTHING)
        self._conversation.negotiation.nothing_more(side)

    def _take_unframed(self, side: Side, data: bytes, timestamp: i64, released: i64, packet: i64) -> None:
        """Take bytes of which it is not known where a record begins."""
        if side.state == RESTARTING:
            self._restart(side, data, timestamp, released, packet)
            return
        search = side.search
        if side.state == ASTRAY or search is None:
            self._stream.decline(side.direction, EVERYTHING)
            return
        search.add(data, timestamp, released, packet)
        if not side.is_paused:
            self._seek(side, search)
        if side.search is search and search.size() > limits.TLS_SOUGHT_BYTES:
            if side.is_paused:
                self._stop_waiting(side, timestamp, packet)
            else:
                self._go_astray(side)
        self._resume()

    def _seek(self, side: Side, search: RecordSearch) -> None:
        """Try the places where a record may begin."""
        decryptor = side.decryptor
        if decryptor is None:
            self._go_astray(side)
            return
        while True:
            at = search.next()
            if at < 0:
                return
            data = search.data()
            length = (data[at + 3] << 8) | data[at + 4]
            body = data[at + HEADER_BYTES : at + HEADER_BYTES + length]
            if decryptor.find(data[at], (data[at + 1] << 8) | data[at + 2], body):
                break
            decryptor.missed = min(decryptor.missed + 1, limits.TLS_MISSED_RECORDS)
        side.search = None
        side.state = IN_HEADER
        if at > 0:
            side.note_lost(UNKNOWN_LENGTH, at, side.lost_at, side.lost_packet)
        self._conversation.found_again(side)
        self._take_again(side, search, at)

    def _restart(self, side: Side, data: bytes, timestamp: i64, released: i64, packet: i64) -> None:
        """Take the first bytes of a direction whose beginning is missing: a hello shows that nothing of the connection is."""
        search = side.search
        if search is None:
            search = RecordSearch()
            side.search = search
        search.add(data, timestamp, released, packet)
        found = is_hello(search.data(), CLIENT_HELLO if side.direction == TO_SERVER else SERVER_HELLO)
        if found is None:
            return
        side.search = None
        if not found:
            side.is_begun = True
            self._conversation.lose_framing(side, UNKNOWN_LENGTH, timestamp, packet)
            self._go_astray(side)
            self._resume()
            return
        side.state = IN_HEADER
        self._take_again(side, search, 0)

    def _take_again(self, side: Side, search: RecordSearch, start: i64) -> None:
        """Take what a search holds, from the place on where a record begins."""
        side.position -= search.size() - start
        for piece, timestamp, released, packet in search.pieces_from(start):
            side.position += len(piece)
            self._take(side, piece, timestamp, released, packet)


DISSECTORS: Final[list[type[Dissector]]] = [TlsDissector]
