"""HTTP/2 frames, against public examples of good and bad ones."""

import json
from pathlib import Path

import pytest

from analyzer.codecs.http2_framer import FRAMES, Framer
from analyzer.codecs.http2_frames import PREFACE, error_name, frame_name, is_possible, parse_settings
from analyzer.codecs.http2_receiver import FrameReceiver
from analyzer.errors import ProtocolError

VECTORS = Path(__file__).parent.parent / "vectors" / "http2-frames"
SETTINGS_FRAME = bytes.fromhex("000000040000000000")


class Heard(FrameReceiver):
    """What a framer told, one entry per call."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def begin(self, direction: int, is_partial: bool) -> None:
        self.told.append(("begin", is_partial))

    def leave(self, direction: int, data: bytes, timestamp: int) -> None:
        pass

    def note_wait(self, direction: int) -> None:
        self.told.append(("wait",))

    def begin_data(self, direction: int, stream_id: int, length: int, content_length: int, flags: int) -> bool:
        self.told.append(("data", stream_id, length, content_length))
        return True

    def take_data(self, direction: int, data: bytes, position: int, length: int) -> None:
        self.told.append(("content", data[position : position + length]))

    def miss_data(self, direction: int, length: int) -> None:
        self.told.append(("missing", length))

    def end_data(self, direction: int, is_stream_end: bool, is_timed: bool) -> None:
        self.told.append(("end", is_stream_end, is_timed))

    def take_block(
        self, direction: int, kind: int, stream_id: int, promised_id: int, is_stream_end: bool, block: bytes | None
    ) -> None:
        self.told.append(("block", kind, stream_id, promised_id, is_stream_end, block))

    def take_frame(self, direction: int, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        self.told.append(("frame", kind, flags, stream_id, payload))

    def miss_frame(self, direction: int, kind: int, stream_id: int) -> None:
        self.told.append(("missing frame", kind, stream_id))

    def end_frame(self, direction: int, kind: int, flags: int, stream_id: int, length: int) -> None:
        pass

    def lose(self, direction: int, length: int) -> None:
        self.told.append(("lost", length))

    def lose_blocks(self, direction: int) -> None:
        self.told.append(("blocks lost",))

    def doubt_blocks(self, direction: int) -> None:
        self.told.append(("blocks lost",))

    def give_up(self, direction: int) -> None:
        self.told.append(("given up",))

    def object_to(self, direction: int, kind: str, stream_id: int, required: str, found: str, section: str) -> None:
        self.told.append(("object", kind, stream_id, section))


def opened(*, from_server: bool) -> tuple[Framer, Heard]:
    framer = Framer(1 if from_server else 0, from_server)
    heard = Heard()
    framer.feed(heard, SETTINGS_FRAME if from_server else PREFACE + SETTINGS_FRAME, 0, 0, 1)
    assert framer.state == FRAMES
    framer.is_largest_known = True
    heard.told.clear()
    return framer, heard


def told(data: bytes, *, from_server: bool = True, step: int = 1 << 20) -> list[tuple[object, ...]]:
    framer, heard = opened(from_server=from_server)
    for at in range(0, len(data), step):
        framer.feed(heard, data[at : at + step], 0, 0, 2)
    return heard.told


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream_id.to_bytes(4, "big") + payload


def expected(example: dict[str, object]) -> list[tuple[object, ...]]:
    """What the framer must tell of an example's frame."""
    one = example["frame"]
    assert isinstance(one, dict)
    kind, flags, stream_id, payload = one["type"], one["flags"], one["stream_identifier"], one["frame_payload"]
    raw = bytes.fromhex(str(example["wire"]))[9:]
    if kind == 0:
        content = payload["data"].encode()
        return [("data", stream_id, one["length"], len(content)), ("content", content), ("end", flags & 1 == 1, True)]
    if kind in (1, 5):
        promised = payload["promised_stream_id"] if kind == 5 else 0
        block = payload["header_block_fragment"].encode()
        return [("block", kind, stream_id, promised, kind == 1 and flags & 1 == 1, block)]
    return [("frame", kind, flags, stream_id, raw)]


GOOD = [path for path in sorted(VECTORS.glob("*/*.json")) if path.parent.name not in ("error", "continuation")]
BAD = sorted((VECTORS / "error").glob("*.json"))


@pytest.mark.parametrize("path", GOOD, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_good_frame_is_taken_apart(path: Path) -> None:
    example = json.loads(path.read_text())
    wire = bytes.fromhex(example["wire"])
    wanted = expected(example)
    assert is_possible(wire, 0, True, 16_384)
    assert told(wire) == wanted
    in_pieces = told(wire, step=1)
    contents = b"".join(one[1] for one in in_pieces if one[0] == "content")  # type: ignore[misc]
    assert [one for one in in_pieces if one[0] != "content"] == [one for one in wanted if one[0] != "content"]
    assert contents == b"".join(one[1] for one in wanted if one[0] == "content")  # type: ignore[misc]


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_bad_frame_ends_the_connection_or_is_objected_to(path: Path) -> None:
    example = json.loads(path.read_text())
    wire = bytes.fromhex(example["wire"])
    if path.stem in ("window_update-frame-increment",):  # what the number says is for the conversation
        assert told(wire)[0][0] == "frame"
        return
    try:
        heard = told(wire)
    except ProtocolError as fault:
        section = fault.section
    else:
        assert heard[0][0] == "object"
        section = str(heard[0][3])
    assert section.startswith("RFC 9113 section ")


def test_a_field_block_is_put_together_from_its_continuations() -> None:
    data = frame(1, 1, 3, b"one ") + frame(9, 0, 3, b"two ") + frame(9, 4, 3, b"three")
    assert told(data) == [("block", 1, 3, 0, True, b"one two three")]
    assert told(data, step=1) == [("block", 1, 3, 0, True, b"one two three")]


@pytest.mark.parametrize(
    ("data", "section"),
    [
        pytest.param(frame(1, 0, 3, b"x") + frame(0, 0, 3, b"x"), "6.10", id="DATA in a field block"),
        pytest.param(frame(1, 0, 3, b"x") + frame(9, 4, 5, b"x"), "6.10", id="CONTINUATION on another stream"),
        pytest.param(frame(9, 4, 3, b"x"), "6.10", id="CONTINUATION of nothing"),
        pytest.param(frame(0, 8, 3, b"\x05abcd"), "6.1", id="padding longer than the frame"),
        pytest.param(frame(0, 0, 3, bytes(16_385)), "4.2", id="a frame larger than allowed"),
    ],
)
def test_frames_that_do_not_fit_together_are_faults(data: bytes, section: str) -> None:
    with pytest.raises(ProtocolError) as fault:
        told(data)
    assert fault.value.section == f"RFC 9113 section {section}"


def test_frames_of_unknown_types_are_passed_over() -> None:
    assert told(frame(0x77, 0xFF, 0, bytes(5000)) + frame(6, 0, 0, b"12345678")) == [("frame", 6, 0, 0, b"12345678")]


@pytest.mark.parametrize(
    ("frames", "start", "length", "wanted"),
    [
        pytest.param(
            frame(0, 1, 3, b"0123456789"),
            11,
            5,
            [("data", 3, 10, 10), ("content", b"01"), ("missing", 5), ("content", b"789"), ("end", True, True)],
            id="in DATA",
        ),
        pytest.param(
            frame(0, 1, 3, b"0123456789"),
            11,
            8,
            [("data", 3, 10, 10), ("content", b"01"), ("missing", 8), ("end", True, False)],
            id="at the end of DATA",
        ),
        pytest.param(frame(1, 5, 3, b"0123456789"), 11, 5, [("block", 1, 3, 0, True, None)], id="in HEADERS"),
        pytest.param(
            frame(1, 1, 3, b"01") + frame(9, 4, 3, b"0123456789"), 22, 5, [("block", 1, 3, 0, True, None)], id="in CONTINUATION"
        ),
        pytest.param(frame(4, 0, 0, bytes(12)), 10, 5, [("missing frame", 4, 0)], id="in SETTINGS"),
        pytest.param(frame(0x77, 0, 0, bytes(12)), 10, 5, [], id="in an unknown frame"),
    ],
)
def test_a_hole_inside_a_frame_leaves_the_framing_certain(
    frames: bytes, start: int, length: int, wanted: list[tuple[object, ...]]
) -> None:
    framer, heard = opened(from_server=True)
    framer.feed(heard, frames[:start], 0, 0, 2)
    framer.gap(heard, length, -1, 0, 3)
    framer.feed(heard, frames[start + length :] + frame(6, 0, 0, b"12345678"), 0, 0, 4)
    assert framer.state == FRAMES
    assert heard.told == [*wanted, ("frame", 6, 0, 0, b"12345678")]


@pytest.mark.parametrize(
    ("start", "length"),
    [
        pytest.param(30, 3, id="between frames"),
        pytest.param(15, 20, id="beyond the end of a frame"),
        pytest.param(33, 2, id="in a header"),
    ],
)
def test_any_other_hole_loses_the_framing(start: int, length: int) -> None:
    framer, heard = opened(from_server=True)
    frames = frame(0, 0, 3, bytes(21)) + frame(1, 4, 5, b"x" * 30)
    framer.feed(heard, frames[:start], 0, 0, 2)
    framer.gap(heard, length, -1, 0, 3)
    framer.feed(heard, frames[start + length :], 0, 0, 4)
    assert framer.state != FRAMES
    assert heard.told[-1][0] == "lost"


def test_settings_are_read_in_order_and_checked() -> None:
    read = parse_settings(bytes.fromhex("0001000010000003000000640003ffffffff00ff00000001"))
    assert [(one.identifier, one.value) for one in read] == [(1, 4096), (3, 100), (3, 0xFFFFFFFF), (255, 1)]
    for wrong in ("000200000002", "000480000000", "000500003fff", "000501000000", "000800000002"):
        with pytest.raises(ProtocolError):
            parse_settings(bytes.fromhex(wrong))


def test_names_are_those_of_the_standard() -> None:
    assert (frame_name(5), frame_name(0x0C), frame_name(0x42)) == ("PUSH_PROMISE", "ORIGIN", "0x42")
    assert (error_name(8), error_name(0xFFFF)) == ("CANCEL", "0xffff")
