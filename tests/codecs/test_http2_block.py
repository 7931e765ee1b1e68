"""Field blocks over several frames."""

from analyzer import limits
from analyzer.codecs.http2_block import CLOSED, FieldBlock
from analyzer.codecs.http2_frames import END_STREAM, HEADERS, PUSH_PROMISE


def begun(kind: int = HEADERS, flags: int = END_STREAM) -> FieldBlock:
    block = FieldBlock()
    block.begin(kind, flags, 3, 4, 100, 7)
    return block


def test_fragments_make_a_whole_block_that_remembers_its_first_frame() -> None:
    block = begun()
    assert block.add(b"xabcx", 1, 4)
    assert block.add(b"", 0, 0)
    assert block.add(b"de", 0, 2)
    assert (block.kind, block.stream_id, block.ends_stream, block.started_at, block.started_packet) == (HEADERS, 3, True, 100, 7)
    assert (block.size, block.frames) == (5, 3)
    assert block.finish() == b"abcde"
    assert block.kind == CLOSED


def test_a_promise_ends_no_stream() -> None:
    block = begun(PUSH_PROMISE)
    assert not block.ends_stream
    assert block.promised_id == 4


def test_a_damaged_block_stays_unknown_and_the_next_one_is_whole() -> None:
    block = begun()
    block.add(b"abc", 0, 3)
    block.damage()
    block.add(b"de", 0, 2)
    assert block.finish() is None
    block.begin(HEADERS, 0, 5, 0, 200, 8)
    block.add(b"f", 0, 1)
    assert block.finish() == b"f"


def test_a_block_is_too_large_by_its_bytes_or_by_its_frames() -> None:
    by_bytes = begun()
    most = bytes(limits.HTTP2_FIELD_BLOCK_BYTES)
    assert [by_bytes.add(most, 0, len(most)), by_bytes.add(b"d", 0, 1)] == [True, False]
    by_frames = begun()
    assert all(by_frames.add(b"", 0, 0) for _ in range(limits.HTTP2_CONTINUATION_FRAMES))
    assert not by_frames.add(b"", 0, 0)
