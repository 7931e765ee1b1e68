"""Holes towards the server that held no field block: where that is proved, the compression state is known again."""

import hpack
import pytest

from analyzer.dissector import TO_CLIENT, TO_SERVER, CloseReason, Context
from analyzer.http.semantics import HttpExchangeRecord
from analyzer.protocols.http2 import Http2Dissector
from analyzer.records import Rows, StreamRecord
from analyzer.scope import Scope
from analyzer.stream import Stream

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CONTENT = bytes(8_000)


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream_id.to_bytes(4, "big") + payload


class Client:
    """A client that indexes everything, and the packets that it sends; None is a packet that is missing."""

    def __init__(self) -> None:
        self.encoder = hpack.Encoder()
        self.packets: list[bytes | int] = [PREFACE + frame(4, 0, 0, b"")]

    def send(self, data: bytes, *, is_lost: bool = False) -> None:
        self.packets.append(len(data) if is_lost else data)

    def ask(self, stream_id: int, path: str, *, ends: bool = False, is_lost: bool = False, first: str = ":method") -> None:
        fields = {":method": "PUT" if first != ":method" else "POST", ":scheme": "http", ":authority": "a", ":path": path}
        ordered = sorted(fields.items(), key=lambda line: line[0] != first)
        self.send(frame(1, 5 if ends else 4, stream_id, self.encoder.encode(ordered)), is_lost=is_lost)

    def upload(self, stream_id: int, *, ends: bool = False) -> None:
        self.send(frame(0, 1 if ends else 0, stream_id, CONTENT))

    def upload_with_hole(self, stream_id: int) -> None:
        """Two frames, the end of one and the beginning of the other missing."""
        data = frame(0, 0, stream_id, CONTENT) * 2
        self.send(data[:7_000])
        self.send(data[7_000:9_000], is_lost=True)
        self.send(data[9_000:])

    def rows(self) -> Rows:
        stream = Stream(Scope(Context([Http2Dissector]), 1, "tcp", 80, True))
        rows: Rows = stream.feed(TO_CLIENT, frame(4, 0, 0, b"") + frame(4, 1, 0, b""), 0, 0, 1)
        for number, data in enumerate(self.packets, 2):
            if isinstance(data, bytes):
                rows += stream.feed(TO_SERVER, data, number, number, number)
            else:
                rows += stream.gap(TO_SERVER, data, None, number, number)
        for direction in (TO_SERVER, TO_CLIENT):
            rows += stream.close(direction, CloseReason.FIN, 100, 100)
        return rows

    def targets(self) -> dict[str, bytes | None]:
        """The target of each stream."""
        rows = self.rows()
        numbers = {row.stream_index: row.protocol_stream_id for row in rows if isinstance(row, StreamRecord)}
        return {str(numbers[row.stream_index]): row.target for row in rows if isinstance(row, HttpExchangeRecord)}


@pytest.fixture
def client() -> Client:
    """Two requests, the second an upload with a hole, and after it enough for frames to be certain again."""
    client = Client()
    client.ask(1, "/known", ends=True)
    client.ask(3, "/upload")
    client.upload_with_hole(3)
    for _ in range(4):
        client.upload(3)
    return client


def test_a_hole_in_an_upload_loses_no_compression_state(client: Client) -> None:
    client.ask(5, "/known")
    client.upload(5, ends=True)
    client.ask(7, "/upload", ends=True)
    assert client.targets() == {"1": b"/known", "3": b"/upload", "5": b"/known", "7": b"/upload"}


def test_a_number_that_was_skipped_may_have_been_opened_in_the_hole(client: Client) -> None:
    client.ask(7, "/known")
    client.upload(7, ends=True)
    client.ask(9, "/known", ends=True)
    assert client.targets() == {"1": b"/known", "3": b"/upload", "7": None, "9": None}


def test_a_later_hole_proves_nothing_where_streams_may_be_open_that_nobody_saw(client: Client) -> None:
    client.ask(7, "/new")
    client.upload(7)
    client.upload_with_hole(7)
    for _ in range(4):
        client.upload(7)
    client.upload(3)
    client.ask(9, "/new", ends=True)
    assert client.targets()["9"] is None


def test_a_stream_that_shows_nothing_after_the_hole_may_have_sent_its_trailers_in_it() -> None:
    client = Client()
    client.ask(1, "/known")
    client.ask(3, "/upload")
    client.upload_with_hole(3)
    for _ in range(4):
        client.upload(3)
    client.ask(5, "/known")
    client.ask(7, "/upload", ends=True)
    assert client.targets() == {"1": b"/known", "3": b"/upload", "5": None, "7": None}
    client.upload(1)  # now it has shown that it had not
    client.ask(9, "/known", ends=True)
    assert client.targets()["9"] == b"/known"
    assert client.targets()["5"] is None


def test_trailers_of_a_stream_that_was_opened_in_the_hole_are_not_its_header(client: Client) -> None:
    client.ask(5, "/known", ends=True, first=":path")  # begins with a dynamic entry, and may therefore be a trailer section
    client.ask(7, "/known", ends=True)
    assert client.targets() == {"1": b"/known", "3": b"/upload", "5": None, "7": None}


def test_a_header_that_does_not_end_its_stream_is_no_trailer_section(client: Client) -> None:
    client.ask(5, "/known", first=":path")
    client.upload(5, ends=True)
    assert client.targets()["5"] == b"/known"


def test_a_stream_that_was_reset_by_the_client_says_nothing_more() -> None:
    client = Client()
    client.ask(1, "/known")
    client.send(frame(3, 0, 1, bytes(4)))
    client.ask(3, "/upload")
    client.upload_with_hole(3)
    for _ in range(4):
        client.upload(3)
    client.ask(5, "/known", ends=True)
    assert client.targets()["5"] == b"/known"


def test_a_block_with_a_hole_in_it_is_a_missed_block(client: Client) -> None:
    client.ask(5, "/another", is_lost=False)
    last = client.packets.pop()
    assert isinstance(last, bytes)
    client.packets += [last[:12], len(last) - 13, last[-1:]]
    client.upload(5, ends=True)
    client.ask(7, "/known", ends=True)
    assert client.targets()["7"] is None
