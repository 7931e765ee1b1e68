"""HPACK, against public stories and another implementation; and what is left of it after a hole."""

import contextlib
import json
from pathlib import Path

import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer import limits
from analyzer.codecs.hpack import STATIC_TABLE, UNKNOWN_LINE, HpackDecoder
from analyzer.errors import ProtocolError
from analyzer.records import FieldLine

VECTORS = Path(__file__).parent.parent / "vectors" / "hpack"
Fields = list[tuple[bytes, bytes]]


def decoded(decoder: HpackDecoder, block: bytes) -> list[FieldLine]:
    lines: list[FieldLine] = []
    decoder.decode(block, lines)
    return lines


def pairs(lines: list[FieldLine]) -> list[tuple[bytes | None, bytes | None]]:
    return [(line.name, line.value) for line in lines]


def told(lines: list[FieldLine]) -> list[tuple[bytes | None, bytes | None, str]]:
    return [(line.name, line.value, line.provenance) for line in lines]


def check_story(path: Path) -> None:
    decoder = HpackDecoder()
    for case in json.loads(path.read_text())["cases"]:
        if "header_table_size" in case:
            decoder.allow(case["header_table_size"])
        expected = [(name.encode(), value.encode()) for field in case["headers"] for name, value in field.items()]
        assert pairs(decoded(decoder, bytes.fromhex(case["wire"]))) == expected, case["seqno"]
        assert decoder.unknown_lines == 0


@pytest.mark.parametrize("path", sorted(VECTORS.glob("*/*.json")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_public_story_is_decoded(path: Path) -> None:
    check_story(path)


def test_all_public_stories_are_decoded(shared_captures: Path) -> None:
    for path in sorted((shared_captures.parent / "vectors" / "hpack").glob("*/*.json")):
        check_story(path)


def test_provenance_tells_static_lines_from_witnessed_ones() -> None:
    decoder = HpackDecoder()
    lines = decoded(decoder, bytes.fromhex("828684410f7777772e6578616d706c652e636f6d"))  # RFC 7541 section C.3.1
    assert told(lines) == [
        (b":method", b"GET", "static"),
        (b":scheme", b"http", "static"),
        (b":path", b"/", "static"),
        (b":authority", b"www.example.com", "witnessed"),
    ]
    again = decoded(decoder, b"\x82\xbe")
    assert again[0] is STATIC_TABLE[2]
    assert again[1] is lines[3]  # the same object, so that it is stored once


names = st.one_of(
    st.sampled_from([b":path", b"cookie", b"x-trace", b"etag", b"accept"]), st.from_regex(rb"[a-z][a-z-]{0,12}", fullmatch=True)
)
values = st.one_of(st.sampled_from([b"", b"/", b"gzip, deflate", b"a" * 300]), st.binary(max_size=60))
blocks = st.tuples(
    st.lists(st.tuples(names, values, st.booleans()), max_size=8),
    st.booleans(),
    st.one_of(st.none(), st.integers(0, 600)),
)


class Story:
    """Blocks of another implementation's encoder, with the fields they stand for."""

    def __init__(self, story: list[tuple[list[tuple[bytes, bytes, bool]], bool, int | None]]) -> None:
        encoder = hpack.Encoder()
        self.blocks: list[tuple[bytes, Fields]] = []
        for fields, is_huffman, size in story:
            if size is not None:
                encoder.header_table_size = size
            wire = encoder.encode(
                [hpack.HeaderTuple(n, v) if i else hpack.NeverIndexedHeaderTuple(n, v) for n, v, i in fields], is_huffman
            )
            self.blocks.append((wire, [(name, value) for name, value, _ in fields]))


@settings(max_examples=60, deadline=None)
@given(st.lists(blocks, max_size=12))
def test_what_another_encoder_writes_is_decoded(story: list[tuple[list[tuple[bytes, bytes, bool]], bool, int | None]]) -> None:
    decoder = HpackDecoder()
    for wire, fields in Story(story).blocks:
        assert pairs(decoded(decoder, wire)) == fields


@settings(max_examples=100, deadline=None)
@given(st.lists(blocks, min_size=2, max_size=14), st.sets(st.integers(0, 13), min_size=1, max_size=3))
def test_after_missed_blocks_every_line_is_right_or_unknown(
    story: list[tuple[list[tuple[bytes, bytes, bool]], bool, int | None]], missed: set[int]
) -> None:
    decoder = HpackDecoder()
    for number, (wire, fields) in enumerate(Story(story).blocks):
        if number in missed:
            decoder.lose()
            continue
        lines = decoded(decoder, wire)
        assert len(lines) == len(fields)
        unknown = 0
        for line, (name, value) in zip(lines, fields, strict=True):
            assert line.name in (None, name)
            assert line.value in (None, value)
            assert (line.provenance == "unknown") == (line.name is None)
            unknown += line.name is None or line.value is None
        assert decoder.unknown_lines == unknown


def test_after_a_hole_only_what_was_inserted_since_is_certain() -> None:
    decoder = HpackDecoder()
    decoded(decoder, b"\x40\x01a\x01b\x40\x01c\x01d")
    decoder.lose()
    lines = decoded(decoder, b"\xbe\x82\x40\x01e\x01f\xbe\xbf\x7e\x01g\xbe\xbf\xc0\x7f\x00\x01h\xbe")
    assert told(lines) == [
        (None, None, "unknown"),
        (b":method", b"GET", "static"),
        (b"e", b"f", "witnessed"),
        (b"e", b"f", "witnessed"),
        (None, None, "unknown"),
        (b"e", b"g", "witnessed"),  # its name is that of index 62
        (b"e", b"g", "witnessed"),
        (b"e", b"f", "witnessed"),
        (None, None, "unknown"),
        (b"e", b"h", "witnessed"),
        (b"e", b"h", "witnessed"),
    ]
    assert decoder.unknown_lines == 3
    assert lines[0] is UNKNOWN_LINE


def test_an_insertion_with_an_unknown_name_counts_as_one() -> None:
    decoder = HpackDecoder()
    decoder.lose()
    lines = decoded(decoder, b"\x7f\x03\x05value\x40\x01a\x01b\xbf\xbe")
    assert told(lines) == [
        (None, b"value", "unknown"),
        (b"a", b"b", "witnessed"),
        (None, b"value", "unknown"),
        (b"a", b"b", "witnessed"),
    ]


def test_a_table_emptied_by_a_size_update_is_certain_again() -> None:
    decoder = HpackDecoder()
    decoder.lose()
    decoded(decoder, b"\x20\x3f\xe1\x1f\x40\x01a\x01b")  # to 0, then to 4096
    assert not decoder.is_partial
    with pytest.raises(ProtocolError):
        decoded(decoder, b"\xbf")


def test_a_table_may_have_been_made_larger_in_a_hole() -> None:
    decoder = HpackDecoder()
    decoder.lose()
    decoded(decoder, b"".join(b"\x40\x01a\x7f\x81\x1f" + bytes([65 + at]) * 4096 for at in range(4)))
    assert [line.value for line in decoded(decoder, b"\xbe\xbf\xc0\xc1\xc2")] == [
        b"D" * 4096,
        b"C" * 4096,
        b"B" * 4096,
        b"A" * 4096,
        None,
    ]


@pytest.mark.parametrize(
    ("block", "section"),
    [
        pytest.param(b"\x80", "6.1", id="index 0"),
        pytest.param(b"\xbe", "2.3.3", id="an index beyond the table"),
        pytest.param(b"\x7f\x00\x01v", "2.3.3", id="a name beyond the table"),
        pytest.param(b"\x82\x20", "4.2", id="a size update after a field line"),
        pytest.param(b"\x3f\xe2\x1f", "6.3", id="a size update above the limit"),
        pytest.param(b"\x40\x05ab", "5.2", id="a string that is cut"),
        pytest.param(b"\x40", "5.1", id="a name that is not there"),
        pytest.param(b"\xff\x80", "5.1", id="an integer that is cut"),
        pytest.param(b"\xff\xff\xff\xff\xff\xff\xff\xff\x0f", "5.1", id="an integer without end"),
    ],
)
def test_a_block_that_is_not_valid_is_a_fault(block: bytes, section: str) -> None:
    with pytest.raises(ProtocolError) as fault:
        decoded(HpackDecoder(), block)
    assert fault.value.section == f"RFC 7541 section {section}"


def test_an_entry_larger_than_the_table_empties_it() -> None:
    decoder = HpackDecoder()
    decoded(decoder, b"\x40\x01a\x01b")
    assert len(decoded(decoder, b"\x40\x01c\x7f\x81\x1f" + b"d" * 4096)) == 1
    with pytest.raises(ProtocolError):
        decoded(decoder, b"\xbe")


def test_a_section_beyond_the_limit_is_cut_and_says_so() -> None:
    decoder = HpackDecoder()
    wire = b"\x40\x01a\x7f\x81\x1e" + b"b" * 3968
    lines = decoded(decoder, wire + b"\xbe" * 4000)
    assert decoder.is_cut
    assert sum(len(line.value or b"") for line in lines) <= limits.FIELD_SECTION_BYTES
    assert pairs(decoded(decoder, b"\xbe")) == [(b"a", b"b" * 3968)]
    assert not decoder.is_cut


def test_a_table_of_any_agreed_size_is_kept_within_the_limit() -> None:
    decoder = HpackDecoder()
    decoder.allow(1 << 32)
    decoded(decoder, b"\x3f\xe1\xff\xff\xff\x0f")
    for number in range(100):
        decoded(decoder, b"\x40\x01a\x7f\x81\xfe\x00" + bytes([number]) * 16_256)
    assert decoder.is_partial
    assert decoded(decoder, b"\xbe")[0].value == bytes([99]) * 16_256
    assert decoded(decoder, b"\xff\x00")[0] is UNKNOWN_LINE  # index 127


def test_a_name_that_is_not_in_lower_case_is_remembered() -> None:
    decoder = HpackDecoder()
    decoded(decoder, b"\x00\x01A\x01b")
    assert decoder.uppercase_name == b"A"
    decoded(decoder, b"\x00\x01a\x01B")
    assert decoder.uppercase_name is None


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=4), st.booleans())
def test_any_bytes_are_decoded_or_a_fault(wires: list[bytes], is_partial: bool) -> None:
    decoder = HpackDecoder()
    if is_partial:
        decoder.lose()
    for wire in wires:
        with contextlib.suppress(ProtocolError):
            decoded(decoder, wire)
