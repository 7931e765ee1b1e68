"""Finding the dissector of a stream: its first bytes are held and shown to candidates until one of them matches."""

from typing import Final

from mypy_extensions import i64

from analyzer import limits
from analyzer.dissector import TO_CLIENT, TO_SERVER, CloseReason, Dissector, Match

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


class Probing:
    """What is held of a stream, and who may still understand it."""

    def __init__(self, candidates: list[type[Dissector]]) -> None:
        self.held: list[Held] = []
        self.chosen: type[Dissector] | None = None
        self.is_turned = False  # it matched with the sides the other way round
        self.tells_roles = False  # it matched in one orientation only: that tells who the client is
        self._candidates = candidates

    def memory(self) -> i64:
        """How many bytes of memory it takes."""
        taken = len(self.held) * limits.PROBE_HELD_COST
        for held in self.held:
            if held.data is not None:
                taken += len(held.data)
        return taken

    def first_bytes(self, direction: i64) -> bytes:
        """The bytes held for a direction, from its start or its first gap to the next gap."""
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
        turned: type[Dissector] | None = None
        for candidate in self._candidates:
            verdict = candidate.probe(to_server, to_client)
            if verdict is Match.YES:
                self.chosen = candidate
                self.tells_roles = may_turn and candidate.probe(to_client, to_server) is Match.NO
                return True
            if may_turn:
                other = candidate.probe(to_client, to_server)
                if other is Match.YES and turned is None:
                    turned = candidate
                if verdict is Match.NO:
                    verdict = other
            if verdict is Match.MAYBE:
                possible.append(candidate)
        if turned is not None:
            self.chosen = turned
            self.is_turned = True
            self.tells_roles = True
            for held in self.held:
                held.direction = 1 - held.direction
            return True
        self._candidates = possible
        enough = len(to_server) >= limits.PROBE_BYTES or len(to_client) >= limits.PROBE_BYTES
        return is_last_chance or not possible or enough or len(self.held) >= limits.PROBE_HELD_EVENTS


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
