"""The heart: a stream finds the dissector that understands its bytes, and a dissector may open streams inside it.

A connection's bytes are stream 0. TLS plaintext, an upgraded HTTP/1 connection, an HTTP/2 stream that carries a
WebSocket: all are children, opened with :meth:`Stream.child`. A stream holds its first bytes until a probe matches,
then replays them. It alone catches what a dissector raises.
"""

from typing import Final

from mypy_extensions import i64

from analyzer import limits
from analyzer.dissector import (
    DIRECTION_NAMES,
    TO_CLIENT,
    TO_SERVER,
    CloseReason,
    Dissector,
    Facts,
    Sleeper,
)
from analyzer.errors import ProtocolError
from analyzer.probing import UNKNOWN_LENGTH, Beginnings, Held, Passing, Probing
from analyzer.records import AnomalyRecord, Rows, StreamRecord
from analyzer.scope import Carrier, Scope

EVERYTHING: Final = 1 << 62  # declines all further bytes of a direction


class Stream:
    """A stream of bytes in two directions, at any depth."""

    def __init__(
        self,
        scope: Scope,
        parent: "Stream | None" = None,
        name: str | None = None,
        protocol_stream_id: str | None = None,
        facts: Facts | None = None,
        stream_index: i64 = 0,
        carrier: Carrier | None = None,
    ) -> None:
        self.scope = scope
        self.carrier = scope.carrier if parent is None else carrier
        self.context = scope.context
        self.connection_id = scope.connection_id
        self.stream_index = stream_index
        self.parent_index: i64 = -1
        self.depth: i64 = 0
        if parent is not None:
            self.parent_index = parent.stream_index
            self.depth = parent.depth + 1
        self.protocol_stream_id = protocol_stream_id
        self.facts: Facts = {} if facts is None else facts
        self.protocol: str | None = None
        self.reversed = False  # the dissector matched with the sides the other way round; the owner must turn them
        self.tells_roles = False  # the dissector matched in one orientation only: that tells who the client is
        self.end_reason: str | None = None
        self.started_at: i64 = -1
        self.ended_at: i64 = -1
        self.first_packet: i64 = -1
        self.last_packet: i64 = -1
        self.bytes_to_server: i64 = 0
        self.bytes_to_client: i64 = 0
        self.messages_to_server: i64 = 0
        self.messages_to_client: i64 = 0
        self.missing_bytes: i64 = 0
        self.stalled_ns: i64 = 0
        self._declined_to_server: i64 = 0
        self._declined_to_client: i64 = 0
        self._passed_to_server: i64 = 0  # declined bytes gone by of which the dissector has not been told
        self._passed_to_client: i64 = 0
        self._passed_to_server_at: i64 = 0  # time and packet of the last of them
        self._passed_to_client_at: i64 = 0
        self._passed_to_server_packet: i64 = 0
        self._passed_to_client_packet: i64 = 0
        self._held_bytes: i64 = limits.STREAM_BYTES  # what this stream is counted with in the scope
        scope.held_bytes += limits.STREAM_BYTES
        self._closed_to_server = False
        self._closed_to_client = False
        self._dissector: Dissector | None = None
        self._sleeper: Sleeper | None = None  # the dissector, while it waits for keys
        self._heir: Stream | None = None  # the child that took this stream over
        self._probing: Probing | None = None  # until a dissector is found
        self._beginnings: Beginnings | None = None  # of a stream that is not understood
        self._attach_or_probe(name)

    # --- for the owner: the connection, or the dissector above ---

    def feed(self, direction: i64, data: bytes, timestamp: i64, released: i64, packet: i64) -> Rows:
        """Deliver bytes in order."""
        return self.deliver(direction, data, 0, len(data), timestamp, released, packet)

    def deliver(self, direction: i64, data: bytes, offset: i64, length: i64, timestamp: i64, released: i64, packet: i64) -> Rows:
        """Deliver ``length`` bytes of ``data`` from ``offset``; they are sliced only if somebody wants them."""
        if self.first_packet < 0:
            self.first_packet = packet
            self.started_at = timestamp
        elif packet < self.first_packet:
            self.first_packet = packet
        if packet > self.last_packet:
            self.last_packet = packet
        if timestamp > self.ended_at:  # bytes that waited are delivered after, and are older than, what they waited for
            self.ended_at = timestamp
        if direction == TO_SERVER:
            self.bytes_to_server += length
        else:
            self.bytes_to_client += length
        if released != timestamp:
            self.stalled_ns += self.scope.waited(self.stream_index, timestamp, released)
        tap = self.scope.tap
        if tap is not None:
            piece = data[offset : offset + length]
            tap.write(self.stream_index, direction, timestamp, "bytes", piece)
            if self._is_unknown(direction):
                tap.write(self.stream_index, direction, timestamp, "unknown", piece)
        return self._pass_on(direction, data, offset, length, timestamp, released, packet)

    def _pass_on(self, direction: i64, data: bytes, offset: i64, length: i64, timestamp: i64, released: i64, packet: i64) -> Rows:
        """Give bytes that were counted to whoever takes them, but for those that were declined."""
        if self._beginnings is not None:
            self._beginnings.add(direction, data, offset, length)
        rows: Rows = []
        while True:
            heir = self._heir
            if heir is not None:
                rows += heir.deliver(direction, data, offset, length, timestamp, released, packet)
                return rows
            declined = self._declined_to_server if direction == TO_SERVER else self._declined_to_client
            if declined == 0:
                rows += self._give(direction, data[offset : offset + length], timestamp, released, packet)
                return rows
            if length <= declined:
                rows += self._pass_over(direction, length, timestamp, released, packet)
                return rows
            # told that the declined bytes are complete, the dissector may decline more, or open an heir
            rows += self._pass_over(direction, declined, timestamp, released, packet)
            offset += declined
            length -= declined

    def gap(self, direction: i64, length: int | None, at_most: int | None, timestamp: i64, packet: i64) -> Rows:
        """Say that bytes are missing: ``length`` of them, or an unknown number (None), ``at_most`` so many."""
        missing: i64 = 0
        if length is not None:
            missing = length
        self.missing_bytes += missing
        tap = self.scope.tap
        if tap is not None:
            tap.write(self.stream_index, direction, timestamp, "missing", b"" if length is None else b"%d" % missing)
        return self._miss(direction, length, at_most, timestamp, packet)

    def _miss(self, direction: i64, length: int | None, at_most: int | None, timestamp: i64, packet: i64) -> Rows:
        """Tell whoever understands the bytes that some do not come."""
        missing: i64 = 0 if length is None else length
        rows = self._tell_skipped(direction)
        declined = self._declined_to_server if direction == TO_SERVER else self._declined_to_client
        if declined < EVERYTHING >> 1:
            declined = 0 if length is None or missing > declined else declined - missing
            if direction == TO_SERVER:
                self._declined_to_server = declined
            else:
                self._declined_to_client = declined
        if self._heir is not None:
            return rows + self._heir.gap(direction, length, at_most, timestamp, packet)
        if self._probing is not None:
            held = Held(direction, None, timestamp, timestamp, packet)
            held.length = length
            held.at_most = at_most
            return rows + self._hold(self._probing, held, False)
        dissector = self._dissector
        if dissector is None:
            return rows
        try:
            rows += dissector.gap(direction, length, at_most, timestamp, packet)
        except Exception as error:  # a dissector's fault must become a row, whatever it is
            rows += self._fault(error, direction, timestamp, packet)
        return rows

    def close(self, direction: i64, reason: CloseReason, timestamp: i64, packet: i64) -> Rows:
        """End a direction; when both have ended, the stream's own row is among those returned. Further calls do nothing."""
        if direction == TO_SERVER:
            if self._closed_to_server:
                return []
            self._closed_to_server = True
        else:
            if self._closed_to_client:
                return []
            self._closed_to_client = True
        rows = self._tell_skipped(direction)
        if self._heir is not None:
            rows += self._heir.close(direction, reason, timestamp, packet)
        elif self._probing is not None:
            held = Held(direction, None, timestamp, timestamp, packet)
            held.reason = reason
            rows += self._hold(self._probing, held, self._closed_to_server and self._closed_to_client)
        else:
            rows += self._close_dissector(direction, reason, timestamp, packet)
        if self._closed_to_server and self._closed_to_client:
            rows += self._not_understood()
            if self.end_reason is None:
                self.end_reason = reason.value
            rows.append(self.row())
            self._dissector = None
            self._heir = None
            self._sleeper = None
            self.scope.sleeping.pop(self.stream_index, None)
            self._count(0)
        return rows

    def wake(self) -> Rows:
        """Tell the dissector, if it has asked for that, that keys have come."""
        sleeper = self._sleeper
        self._sleeper = None
        if sleeper is None or self._dissector is None:
            return []
        try:
            return sleeper.wake()
        except Exception as error:  # a dissector's fault must become a row, whatever it is
            return self._fault(error, -1, self.ended_at, self.last_packet)

    def tick(self, now: i64) -> Rows:
        """Rows, as they stand, of what is still open: the stream itself, and what its dissector tells of what is in it."""
        if self._closed_to_server and self._closed_to_client:
            return []
        rows: Rows = [self.row()]
        if self._heir is not None:
            rows += self._heir.tick(now)
        elif self._dissector is not None:
            try:  # noqa: SIM105  # a context manager costs more
                rows += self._dissector.tick(now)
            except Exception:  # feeding it will fail likewise, and be told
                pass
        elif self._beginnings is not None and self._probing is None:
            rows.append(self._unknown(self._beginnings))
        return rows

    def row(self) -> StreamRecord:
        """The stream's row as it stands."""
        return StreamRecord(
            connection_id=self.connection_id,
            stream_index=self.stream_index,
            parent_index=None if self.parent_index < 0 else self.parent_index,
            depth=self.depth,
            protocol=self.protocol,
            protocol_stream_id=self.protocol_stream_id,
            started_at=None if self.first_packet < 0 else self.started_at,
            ended_at=None if self.first_packet < 0 else self.ended_at,
            bytes_to_server=self.bytes_to_server,
            bytes_to_client=self.bytes_to_client,
            messages_to_server=self.messages_to_server,
            messages_to_client=self.messages_to_client,
            missing_bytes=self.missing_bytes,
            stalled_ns=self.stalled_ns,
            end_reason=self.end_reason,
            first_packet=None if self.first_packet < 0 else self.first_packet,
            last_packet=None if self.first_packet < 0 else self.last_packet,
        )

    # --- for the dissector of this stream ---

    def child(
        self,
        name: str | None,
        protocol_stream_id: str | None = None,
        facts: Facts | None = None,
        carrier: Carrier | None = None,
        within: i64 = -1,
    ) -> "Stream":
        """Open a stream inside this one, dissected by ``name``, or by probing when that is None.

        ``carrier`` is given where what receivers had of the connection tells what they had of the child, ``within`` where
        the child is in a stream that the dissector of this one has opened itself (``scope.new_stream_index()``).
        """
        child = Stream(self.scope, self, name, protocol_stream_id, facts, self.scope.new_stream_index(), carrier)
        if within >= 0:
            child.parent_index = within
            child.depth += 1
        return child

    def decline(self, direction: i64, length: i64) -> None:
        """Say that the next ``length`` bytes of a direction are not needed; ``skipped`` tells when they have gone by.

        Ignored while the connection is followed, since then its bytes are wanted. A dissector must therefore take
        with ``feed`` what it declined.
        """
        if self.scope.tap is not None:
            return
        if direction == TO_SERVER:
            self._declined_to_server = length
        else:
            self._declined_to_client = length

    def await_keys(self, sleeper: Sleeper) -> None:
        """Ask for ``wake`` when keys have come, once."""
        self._sleeper = sleeper
        self.scope.sleeping[self.stream_index] = self

    def hold(self, size: i64) -> None:
        """Say how many bytes of memory the dissector takes by now, beside its own state at the beginning.

        Where all connections take too much, those that were used longest ago are put away. Contents count elsewhere.
        """
        self._count(limits.STREAM_BYTES + limits.DISSECTOR_BYTES + size)

    def _count(self, size: i64) -> None:
        self.scope.held_bytes += size - self._held_bytes
        self._held_bytes = size

    def hand_over(self, child: "Stream") -> None:
        """From now on this stream's bytes are all the child's (an upgrade, a tunnel)."""
        self._heir = child

    def anomaly(
        self,
        kind: str,
        direction: i64,
        timestamp: i64,
        packet: i64,
        required: str,
        found: str,
        section: str = "",
        missing_bytes: int | None = None,
        stream_index: i64 = -1,
    ) -> Rows:
        """The row of a fault that does not end the stream; ``direction`` is -1 where it is of neither."""
        return self.scope.anomaly(
            AnomalyRecord(
                stream_index=self.stream_index if stream_index < 0 else stream_index,
                direction=None if direction < 0 else DIRECTION_NAMES[direction],
                occurred_at=timestamp,
                packet=packet,
                kind=kind,
                required=required,
                found=found,
                section=section or None,
                missing_bytes=missing_bytes,
            )
        )

    # --- finding the dissector ---

    def _attach_or_probe(self, name: str | None) -> None:
        context = self.context
        scope = self.scope
        if self.depth == 0 and name is None:
            name = context.decode_as.get((scope.transport, scope.server_port))
        if self.depth > limits.STREAM_DEPTH:
            self._be_opaque()
        elif name is not None:
            chosen = context.named(name)
            self.protocol = name
            if chosen is None:
                self._be_opaque()
            else:
                self.hold(0)
                self._dissector = chosen(self, self.facts)
        else:
            usual: list[type[Dissector]] = []
            others: list[type[Dissector]] = []
            for dissector in context.dissectors:
                if scope.transport in dissector.transports:
                    (usual if scope.server_port in dissector.ports else others).append(dissector)
            if usual or others:
                self._probing = Probing(usual + others)
            else:
                self._be_opaque()

    def _hold(self, probing: Probing, held: Held, is_last_chance: bool) -> Rows:
        """Hold a delivery; attach the dissector that matches now, or give up when none can."""
        probing.hold(held)
        self._count(limits.STREAM_BYTES + probing.memory())
        if not probing.is_decided(self.depth == 0 and not self.scope.roles_proven, is_last_chance):
            if probing.dropped:
                self._let_pass(probing)
            return []
        self._probing = None
        self.tells_roles = probing.tells_roles
        if probing.is_turned:
            self.reversed = True
            self.bytes_to_server, self.bytes_to_client = self.bytes_to_client, self.bytes_to_server
            self._closed_to_server, self._closed_to_client = self._closed_to_client, self._closed_to_server
            self._passed_to_server_at, self._passed_to_client_at = self._passed_to_client_at, self._passed_to_server_at
        if probing.chosen is not None:
            return self._attach(probing.chosen, probing)
        return self._give_up(probing)

    def _let_pass(self, probing: Probing) -> None:
        """Hold no more of a direction that has shown enough; the other may yet tell."""
        for held in probing.dropped:
            assert held.data is not None
            self._show_unknown(held.direction, held.data, held.timestamp)
            if held.direction == TO_SERVER:
                self._declined_to_server = EVERYTHING
                self._passed_to_server_at = held.timestamp
            else:
                self._declined_to_client = EVERYTHING
                self._passed_to_client_at = held.timestamp
        probing.dropped = []
        self._count(limits.STREAM_BYTES + probing.memory())
        if self._beginnings is None:
            self._beginnings = Beginnings(probing)

    def _is_unknown(self, direction: i64) -> bool:
        """Whether bytes of a direction are for nobody."""
        if self._probing is not None:
            return self._probing.passing(direction) is not None
        return self._dissector is None and self._heir is None

    def _attach(self, chosen: type[Dissector], probing: Probing) -> Rows:
        self.protocol = chosen.name
        self.hold(0)
        self._beginnings = None
        self._declined_to_server = self._declined_to_client = 0
        self._passed_to_server = self._passed_to_client = 0
        self._dissector = chosen(self, self.facts)
        rows: Rows = []
        for direction in (TO_SERVER, TO_CLIENT):
            passing = probing.passing(direction)
            if passing is not None:
                rows += self._begin_late(direction, passing)
        for held in probing.held:
            if held.data is not None:
                rows += self._pass_on(held.direction, held.data, 0, len(held.data), held.timestamp, held.released, held.packet)
            elif held.reason is not None:
                rows += self._tell_skipped(held.direction)
                if self._heir is not None:
                    rows += self._heir.close(held.direction, held.reason, held.timestamp, held.packet)
                else:
                    rows += self._close_dissector(held.direction, held.reason, held.timestamp, held.packet)
            else:
                rows += self._miss(held.direction, held.length, held.at_most, held.timestamp, held.packet)
        return rows

    def _begin_late(self, direction: i64, passing: Passing) -> Rows:
        """Tell the dissector that it gets nothing of a direction up to now, and in a row how much that is."""
        passed = self.bytes_to_server if direction == TO_SERVER else self.bytes_to_client
        passed_at = self._passed_to_server_at if direction == TO_SERVER else self._passed_to_client_at
        length: int | None = None if passing.missing == UNKNOWN_LENGTH else passed + passing.missing
        rows = self._miss(direction, length, length, passed_at, self.last_packet)
        required = f"{self.protocol} to be recognised from the first bytes"
        found = f"{passed} bytes before it was"
        return rows + self.anomaly(
            "recognised_late", direction, self.started_at, self.first_packet, required, found, missing_bytes=passed
        )

    def _give_up(self, probing: Probing) -> Rows:
        """No dissector understands this stream: let it go by, and say at its end what it began with."""
        has_bytes = False
        for held in probing.held:
            if held.data is not None:
                has_bytes = has_bytes or len(held.data) > 0
                self._show_unknown(held.direction, held.data, held.timestamp)
        if has_bytes and self._beginnings is None:
            self._beginnings = Beginnings(probing)
        self._count(limits.STREAM_BYTES)
        self._be_opaque()
        return []

    def _not_understood(self) -> Rows:
        """The row of a stream that no dissector understood."""
        beginnings = self._beginnings
        if beginnings is None:
            return []
        self._beginnings = None
        return self.scope.anomaly(self._unknown(beginnings))

    def _unknown(self, beginnings: Beginnings) -> AnomalyRecord:
        return AnomalyRecord(
            connection_id=self.connection_id,
            stream_index=self.stream_index,
            occurred_at=self.started_at,
            packet=self.first_packet,
            kind="not_understood",
            required="a protocol that unmux knows",
            found=beginnings.description(),
        )

    def _show_unknown(self, direction: i64, data: bytes, timestamp: i64) -> None:
        """Show a follower bytes that nobody understands."""
        tap = self.scope.tap
        if tap is not None:
            tap.write(self.stream_index, direction, timestamp, "unknown", data)

    def _be_opaque(self) -> None:
        self._declined_to_server = EVERYTHING
        self._declined_to_client = EVERYTHING

    # --- calling the dissector ---

    def _give(self, direction: i64, data: bytes, timestamp: i64, released: i64, packet: i64) -> Rows:
        """Hand wanted bytes to whoever takes them now."""
        if self._probing is not None:
            return self._hold(self._probing, Held(direction, data, timestamp, released, packet), False)
        dissector = self._dissector
        if dissector is None:
            return []
        try:
            return dissector.feed(direction, data, timestamp, released, packet)
        except Exception as error:  # a dissector's fault must become a row, whatever it is
            self._show_unknown(direction, data, timestamp)
            return self._fault(error, direction, timestamp, packet)

    def _pass_over(self, direction: i64, length: i64, timestamp: i64, released: i64, packet: i64) -> Rows:
        """Let declined bytes go by; tell the dissector when they are complete or waited."""
        rows: Rows = []
        if released != timestamp:
            rows = self._tell_skipped(direction)  # of those before, which did not wait
        if direction == TO_SERVER:
            self._declined_to_server -= length
            self._passed_to_server += length
            self._passed_to_server_at = timestamp
            self._passed_to_server_packet = packet
            left = self._declined_to_server
        else:
            self._declined_to_client -= length
            self._passed_to_client += length
            self._passed_to_client_at = timestamp
            self._passed_to_client_packet = packet
            left = self._declined_to_client
        if left == 0 or released != timestamp:
            rows += self._tell_skipped(direction, released)
        return rows

    def _tell_skipped(self, direction: i64, released: i64 = -1) -> Rows:
        """Tell the dissector of declined bytes it has not heard of; ``released`` is -1 where they did not wait."""
        if direction == TO_SERVER:
            length = self._passed_to_server
            timestamp = self._passed_to_server_at
            packet = self._passed_to_server_packet
            self._passed_to_server = 0
        else:
            length = self._passed_to_client
            timestamp = self._passed_to_client_at
            packet = self._passed_to_client_packet
            self._passed_to_client = 0
        dissector = self._dissector
        if length == 0 or dissector is None:
            return []
        try:
            return dissector.skipped(direction, length, timestamp, timestamp if released < 0 else released, packet)
        except Exception as error:  # a dissector's fault must become a row, whatever it is
            return self._fault(error, direction, timestamp, packet)

    def _close_dissector(self, direction: i64, reason: CloseReason, timestamp: i64, packet: i64) -> Rows:
        dissector = self._dissector
        if dissector is None:
            return []
        try:
            return dissector.close(direction, reason, timestamp, packet)
        except Exception as error:  # a dissector's fault must become a row, whatever it is
            return self._fault(error, direction, timestamp, packet)

    def _fault(self, error: Exception, direction: i64, timestamp: i64, packet: i64) -> Rows:
        """Detach the dissector, after letting it finish what it holds, and describe its fault."""
        dissector = self._dissector
        self._dissector = None
        self._heir = None
        self._be_opaque()
        if isinstance(error, ProtocolError):
            self.end_reason = "protocol_error"
            rows = self.anomaly("protocol_error", direction, timestamp, packet, error.required, error.found, error.section)
        else:
            self.end_reason = "dissector_error"
            rows = self.anomaly(
                "dissector_error",
                direction,
                timestamp,
                packet,
                f"{self.protocol} to follow the bytes",
                f"{type(error).__name__}: {error}",
            )
        if dissector is not None:
            for side in (TO_SERVER, TO_CLIENT):
                try:
                    rows += self._last_skipped(dissector, side)
                    rows += dissector.close(side, CloseReason.LIMIT, timestamp, packet)
                except Exception:  # it has already failed once; the first fault is the one to tell
                    pass
        self._count(limits.STREAM_BYTES)
        return rows

    def _last_skipped(self, dissector: Dissector, direction: i64) -> Rows:
        """Tell a dissector that failed of declined bytes it has not heard of, so that its last rows do not depend on it."""
        if direction == TO_SERVER:
            length, timestamp, packet = self._passed_to_server, self._passed_to_server_at, self._passed_to_server_packet
            self._passed_to_server = 0
        else:
            length, timestamp, packet = self._passed_to_client, self._passed_to_client_at, self._passed_to_client_packet
            self._passed_to_client = 0
        return dissector.skipped(direction, length, timestamp, timestamp, packet) if length > 0 else []
