"""Finding the dissector of a stream: its first bytes are held and shown to candidates until one of them matches.

Where a capture begins in the middle of a long answer, thousands of bytes go by before the other side says what tells the protocol.
A side that has shown ``PROBE_BYTES`` in vain is therefore let pass, uncopied, while the other has not shown as many; what matches
then begins with a gap on that side.
"""

from typing import Final

from mypy_extensions import i64

from analyzer import limits
from analyzer.dissector import TO_CLIENT, TO_SERVER, CloseReason, Dissector, Match

UNKNOWN_LENGTH: Final = -1
_BEGINNING: Final = 4  # bytes shown of each side of a stream that is not understood: more could be a password


class Held:
    """A delivery held until a probe matches: bytes, or a gap (data is None), or a close (reason)."""

    def __init__(self, direction: i64, data: bytes | None, timestamp: i64, released: i64, packet: i64) -> None:
        self.direction = direction
        self.data = data
        self.timestamp = timestamp
        self.released = released
        self.packet = packet
        self.length: int | None = None
        self.at_most: int | None = None
        self.reason: CloseReason | None = None


class Passing:
    """A direction that has shown enough, and is held no more."""

    def __init__(self, shown: bytes) -> None:
        self.shown = shown
        self.missing: i64 = 0  # bytes that the capture lacks of it, UNKNOWN_LENGTH where that is not known

    def miss(self, length: int | None) -> None:
        """Count missing bytes, of which the length may not be known (None)."""
        if length is None or self.missing == UNKNOWN_LENGTH:
            self.missing = UNKNOWN_LENGTH
        else:
            self.missing += length


class Probing:
    """What is held of a stream, and who may still understand it."""

    def __init__(self, candidates: list[type[Dissector]]) -> None:
        self.held: list[Held] = []
        self.chosen: type[Dissector] | None = None
        self.is_turned = False  # it matched with the sides the other way round
        self.tells_roles = False  # it matched in one orientation only: that tells who the client is
        self._candidates = candidates
        self.dropped: list[Held] = []  # held no more, since their direction is let pass; for the stream to take
        self._passing: list[Passing | None] = [None, None]  # by direction

    def passing(self, direction: i64) -> Passing | None:
        """What is known of a direction that is held no more, None of one that is."""
        return self._passing[direction]

    def hold(self, held: Held) -> None:
        """Take a delivery; of a direction that is let pass only its end is kept."""
        passing = self._passing[held.direction]
        if passing is None or held.reason is not None:
            self.held.append(held)
        elif held.data is None:
            passing.miss(held.length)

    def memory(self) -> i64:
        """How many bytes of memory it takes."""
        taken = len(self.held) * limits.PROBE_HELD_COST
        for held in self.held:
            if held.data is not None:
                taken += len(held.data)
        for passing in self._passing:
            if passing is not None:
                taken += len(passing.shown)
        return taken

    def first_bytes(self, direction: i64) -> bytes:
        """The first bytes of a direction, from its start or its first gap to the next gap."""
        passing = self._passing[direction]
        if passing is not None:
            return passing.shown
        parts: list[bytes] = []
        size: i64 = 0
        for held in self.held:
            if held.direction != direction or held.reason is not None:
                continue
            if held.data is None:
                if size:
                    break
            else:
                parts.append(held.data)
                size += len(held.data)
                if size >= limits.PROBE_BYTES:
                    break
        return b"".join(parts)[: limits.PROBE_BYTES]

    def is_decided(self, may_turn: bool, is_last_chance: bool) -> bool:
        """Ask the candidates; True when one is ``chosen``, or none can be. ``may_turn`` says that the roles are not proved."""
        to_server = self.first_bytes(TO_SERVER)
        to_client = self.first_bytes(TO_CLIENT)
        if not (to_server or to_client):
            return is_last_chance
        possible: list[type[Dissector]] = []
        likely: type[Dissector] | None = None
        turned: type[Dissector] | None = None
        likely_turned: type[Dissector] | None = None
        for candidate in self._candidates:
            verdict = candidate.probe(to_server, to_client)
            if verdict is Match.YES:
                self._choose(candidate, may_turn and candidate.probe(to_client, to_server) is Match.NO)
                return True
            if verdict is Match.LIKELY and likely is None:
                likely = candidate
            if may_turn:
                other = candidate.probe(to_client, to_server)
                if other is Match.YES and turned is None:
                    turned = candidate
                elif other is Match.LIKELY and likely_turned is None:
                    likely_turned = candidate
                if verdict is Match.NO:
                    verdict = other
            if verdict is not Match.NO:
                possible.append(candidate)
        if turned is not None:
            self._choose_turned(turned)
            return True
        self._candidates = possible
        shown = (self._has_shown(TO_SERVER, to_server), self._has_shown(TO_CLIENT, to_client))
        is_over = is_last_chance or len(self.held) >= limits.PROBE_HELD_EVENTS
        if is_over or shown[0] or shown[1]:
            if likely is not None:
                self._choose(likely, may_turn and likely.probe(to_client, to_server) is Match.NO)
                return True
            if likely_turned is not None:
                self._choose_turned(likely_turned)
                return True
        if is_over or (shown[0] and shown[1]) or not possible:
            return True
        for direction in (TO_SERVER, TO_CLIENT):
            if shown[direction] and self._passing[direction] is None:
                self._let_pass(direction)
        return False

    def _has_shown(self, direction: i64, first: bytes) -> bool:
        """Whether enough of a direction was seen; what is behind a hole is not shown to probes, but it is held."""
        if len(first) >= limits.PROBE_BYTES:
            return True
        size: i64 = 0
        for held in self.held:
            if held.direction == direction and held.data is not None:
                size += len(held.data)
        return size >= limits.PROBE_HELD_BYTES

    def _choose(self, candidate: type[Dissector], tells_roles: bool) -> None:
        self.chosen = candidate
        self.tells_roles = tells_roles

    def _choose_turned(self, candidate: type[Dissector]) -> None:
        self.chosen = candidate
        self.is_turned = True
        self.tells_roles = True
        self._passing.reverse()
        for held in self.held:
            held.direction = 1 - held.direction

    def _let_pass(self, direction: i64) -> None:
        """Hold no more of a direction than what it has shown, and its beginning or end."""
        passing = Passing(self.first_bytes(direction))
        kept: list[Held] = []
        has_begun = False
        for held in self.held:
            if held.direction != direction or held.reason is not None:
                kept.append(held)
            elif held.data is not None:
                has_begun = True
                self.dropped.append(held)
            elif has_begun:
                passing.miss(held.length)
            else:
                kept.append(held)
        self.held = kept
        self._passing[direction] = passing


class Beginnings:
    """What a stream that nobody understands began with."""

    def __init__(self, probing: Probing) -> None:
        self._to_server = probing.first_bytes(TO_SERVER)[:_BEGINNING]
        self._to_client = probing.first_bytes(TO_CLIENT)[:_BEGINNING]

    def add(self, direction: i64, data: bytes, offset: i64, length: i64) -> None:
        """Take further bytes."""
        if direction == TO_SERVER:
            self._to_server = _lengthened(self._to_server, data, offset, length)
        else:
            self._to_client = _lengthened(self._to_client, data, offset, length)

    def description(self) -> str:
        """The first bytes in hexadecimal digits."""
        shown = "to server " + (self._to_server.hex(" ") or "nothing")
        shown += ", to client " + (self._to_client.hex(" ") or "nothing")
        return shown


def _lengthened(known: bytes, data: bytes, offset: i64, length: i64) -> bytes:
    missing: i64 = _BEGINNING - len(known)
    return known if missing <= 0 else known + data[offset : offset + min(length, missing)]
