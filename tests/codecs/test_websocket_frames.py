import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.codecs.websocket_frames import FrameHeader, check_first_octet, check_length, header_size, unmask
from analyzer.errors import ProtocolError


def fields(data: bytes, offset: int = 0) -> tuple[int, int, bool, int, bool]:
    header = FrameHeader()
    size = header.read(data, offset, len(data))
    return size, header.first, header.is_masked, header.payload_length, header.is_minimal


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("8105", (2, 0x81, False, 5, True)),
        ("8185 37fa213d", (6, 0x81, True, 5, True)),
        ("827e 0100", (4, 0x82, False, 256, True)),
        ("827e ffff", (4, 0x82, False, 65535, True)),
        ("827f 0000000000010000", (10, 0x82, False, 65536, True)),
        ("82ff 7fffffffffffffff 01020304", (14, 0x82, True, (1 << 63) - 1, True)),
        ("827f 8000000000000000", (10, 0x82, False, -1, True)),
        ("827e 007d", (4, 0x82, False, 125, False)),
        ("827f 000000000000ffff", (10, 0x82, False, 65535, False)),
    ],
)
def test_a_header_is_read_and_not_before_all_of_it_is_there(data: str, expected: tuple[int, int, bool, int, bool]) -> None:
    wire = bytes.fromhex(data)
    assert fields(wire) == expected
    assert fields(b"xyz" + wire, 3) == expected
    for length in range(len(wire)):
        assert fields(wire[:length])[0] == 0
        is_length_there = length >= len(wire) - (4 if expected[2] else 0)
        assert header_size(wire[:length]) == (len(wire) if is_length_there else 0)


@given(st.binary(max_size=70), st.binary(min_size=4, max_size=4), st.integers(0, 9), st.integers(0, 100))
def test_unmasking_is_exclusive_or_with_the_key_from_any_position(data: bytes, key: bytes, start: int, position: int) -> None:
    number = int.from_bytes(key, "little")
    plain = bytes(octet ^ key[(position + at) % 4] for at, octet in enumerate(data[start:]))
    assert unmask(data, min(start, len(data)), len(data), number, position) == plain


def test_first_octets_that_no_frame_has_are_refused() -> None:
    allowed = [first for first in range(256) if not refused(first, False)]
    assert allowed == [0x00, 0x01, 0x02, 0x80, 0x81, 0x82, 0x88, 0x89, 0x8A]
    assert [first for first in range(256) if not refused(first, True)] == sorted([*allowed, 0x41, 0x42, 0xC1, 0xC2])


def refused(first: int, has_rsv1: bool) -> str:
    try:
        check_first_octet(first, has_rsv1, False)
    except ProtocolError as error:
        return error.section
    return ""


def test_the_section_that_a_first_octet_breaks_is_named() -> None:
    assert [refused(first, True) for first in (0x83, 0x09, 0xA1, 0xC9, 0xC0)] == [
        "RFC 6455 section 5.2",
        "RFC 6455 section 5.5",
        "RFC 6455 section 5.2",
        "RFC 7692 section 6",
        "RFC 7692 section 6",
    ]


@pytest.mark.parametrize("wire", ["897e 007e", "88fe 0080 00000000", "827f ffffffffffffffff"])
def test_lengths_that_no_frame_has_are_refused(wire: str) -> None:
    header = FrameHeader()
    data = bytes.fromhex(wire)
    assert header.read(data, 0, len(data)) > 0
    with pytest.raises(ProtocolError):
        check_length(header)
