"""The contract between a stream and what understands its bytes, and the options that both see."""

from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, ClassVar, Final, Protocol, TypeAlias

from mypy_extensions import i64

from analyzer.codecs.content import Outlet
from analyzer.codecs.content_budget import AllContents
from analyzer.codecs.http1_heads import HeadReader
from analyzer.codecs.key_log import KeyLog
from analyzer.memory import Memory
from analyzer.records import FieldLine, Rows

if TYPE_CHECKING:
    from analyzer.stream import Stream

TO_SERVER: Final = 0
TO_CLIENT: Final = 1
DIRECTION_NAMES: Final = ("to_server", "to_client")

Facts: TypeAlias = dict[str, str]
"""What a parent negotiated, by the standard's word: ``alpn``, ``sec-websocket-extensions``, ``content-type`` …"""


class Match(Enum):
    """A probe's verdict on the first bytes of both sides."""

    NO = 0
    MAYBE = 1  # more bytes may tell
    YES = 2
    LIKELY = 3  # yes, unless the side that has said nothing yet speaks against it


class CloseReason(Enum):
    """Why a direction carries nothing more."""

    FIN = "fin"
    RESET = "reset"
    TIMEOUT = "timeout"
    CAPTURE_END = "capture_end"
    LIMIT = "limit"


class Dissector(Protocol):
    """What understands the bytes of a stream. Nothing has to be inherited; the names and signatures are the contract.

    Every method that returns rows returns instances of the classes in ``records``. Methods raise ``ProtocolError`` or
    nothing. Directions are ``TO_SERVER`` and ``TO_CLIENT``; times are nanoseconds since the epoch.
    """

    name: ClassVar[str]
    ports: ClassVar[tuple[int, ...]]  # they order probing, they prove nothing
    transports: ClassVar[tuple[str, ...]]  # "tcp", "udp"
    records: ClassVar[tuple[type, ...]]

    def __init__(self, stream: "Stream", facts: Facts) -> None: ...

    @staticmethod
    def probe(first: bytes, second: bytes) -> Match:
        """Judge the first bytes towards the server and towards the client; either may be empty. Never raises."""

    def feed(self, direction: int, data: bytes, timestamp: int, released: int, packet: int) -> Rows:
        """Take bytes in order (UDP: one datagram).

        ``timestamp`` and ``packet`` are of the packet that carried them; ``released`` is later than ``timestamp`` for
        bytes that waited behind a hole until it was filled.
        """

    def skipped(self, direction: int, length: int, timestamp: int, released: int, packet: int) -> Rows:
        """Learn that ``length`` bytes that were declined (``Stream.decline``) went by, the last of them in ``packet``.

        Called when the declined bytes are complete, before a gap or close, and for bytes that waited. Dissectors that
        decline nothing need not have it.
        """

    def gap(self, direction: int, length: int | None, at_most: int | None, timestamp: int, packet: int) -> Rows:
        """Learn that bytes are missing: ``length`` of them, or (None) an unknown number, ``at_most`` so many.

        A stream whose beginning was not captured starts with a gap of unknown length.
        """

    def close(self, direction: int, reason: CloseReason, timestamp: int, packet: int) -> Rows:
        """Learn that a direction has ended; called once for each."""

    def tick(self, now: int) -> Rows:
        """Hand out rows of what is still open, with those of its open children (``child.tick``).

        Called at any time, only in live captures; it must not change what rows will finally say, nor hand out final ones.
        """


class Sleeper(Protocol):
    """A dissector that waits for keys, which no packet brings (``Stream.await_keys``)."""

    def wake(self) -> Rows:
        """Learn, between two packets of a live capture, that keys have come."""


class Tap(Protocol):
    """Receives what streams of a connection carry, for ``unmux follow`` and ``unmux extract``."""

    def write(self, stream_index: int, direction: int, timestamp: int, kind: str, data: bytes) -> None:
        """Take a piece: ``kind`` is ``fields``, ``content`` (as sent), ``message`` (decoded), ``ping``, ``pong`` and ``close`` (whose
        data may be empty), ``unknown`` (nobody understands it), ``unread`` (the same of a stream that carries others), ``missing`` (the capture lacks it; the data is how many bytes, if known).

        All bytes of a stream come as ``bytes`` besides, before what was made of them; an HTTP/2 stream has none.
        """

    def turn(self, stream_index: int, direction: int, index: int) -> None:
        """Learn that what is written of a direction from here on is of this exchange_index or message_index.

        Streams of one exchange do not say so.
        """

    def outlet(self, stream_index: int, index: int, part: str) -> Outlet | None:
        """Where the decoded content of an exchange (``part`` is request or response) or message (to_server or to_client) goes.

        ``index`` is its exchange_index or message_index. None where it is not wanted on its own. Asked for again, it is the same.
        """


class Taps(Protocol):
    """The taps by connection_id, as a dict has them."""

    def get(self, connection_id: int, /) -> Tap | None:
        """The tap of a connection, None where it has none."""


class Context:
    """The options that dissectors see."""

    def __init__(
        self,
        dissectors: Sequence[type[Dissector]],
        content: str = "preview",
        frames: bool = False,
        decode_as: dict[tuple[str, int], str] | None = None,
        key_log: KeyLog | None = None,
        memory: Memory | None = None,
    ) -> None:
        """``content`` is none, preview, hash or store; ``decode_as`` maps (transport, port) to a dissector's name."""
        self.dissectors = list(dissectors)
        self.content = content
        self.memory = Memory() if memory is None else memory
        self.contents = AllContents(self.memory)  # the memory that contents take
        self.section_bytes: i64 = 0  # of memory of field sections in rows that are not handed over; whoever does so makes it 0
        self.frames = frames
        self.decode_as = decode_as or {}
        self.key_log = KeyLog(self.memory) if key_log is None else key_log
        self.taps: Taps = {}
        self.field_lines: dict[bytes, FieldLine] = {}  # HTTP/1 lines read so far, shared by all connections
        self.http1_heads = HeadReader(self.field_lines)
        self.server_ports: set[tuple[str, int]] = set()
        for dissector in self.dissectors:
            for transport in dissector.transports:
                for port in dissector.ports:
                    self.server_ports.add((transport, port))

    def named(self, name: str) -> type[Dissector] | None:
        """The dissector called ``name``, None when there is none."""
        for dissector in self.dissectors:
            if dissector.name == name:
                return dissector
        return None
