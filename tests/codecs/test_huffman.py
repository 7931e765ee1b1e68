"""Huffman coding of strings, against another implementation."""

import pytest
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hypothesis import example, given
from hypothesis import strategies as st

from analyzer.codecs import huffman
from analyzer.errors import ProtocolError

ENCODER = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)


@given(st.binary(max_size=200))
@example(bytes(range(256)))
@example(b"")
def test_what_another_implementation_encodes_is_decoded(text: bytes) -> None:
    coded = ENCODER.encode(text)
    assert huffman.decode(b"before" + coded + b"after", 6, 6 + len(coded)) == text


def test_examples_of_the_standard_are_decoded() -> None:
    coded = bytes.fromhex("f1e3c2e5f23a6ba0ab90f4ff")  # RFC 7541 section C.4.1
    assert huffman.decode(coded, 0, len(coded)) == b"www.example.com"


@pytest.mark.parametrize(
    "coded",
    [
        pytest.param(b"\xff\xff\xff\xff", id="EOS"),
        pytest.param(b"\xff", id="8 bits of padding"),
        pytest.param(b"\x1f\xff", id="more than 8 bits of padding"),
        pytest.param(b"\x18", id="padding of zeros"),
    ],
)
def test_wrong_ends_are_faults(coded: bytes) -> None:
    with pytest.raises(ProtocolError) as fault:
        huffman.decode(coded, 0, len(coded))
    assert fault.value.section == "RFC 7541 section 5.2"


@given(st.binary(max_size=40))
def test_any_bytes_are_decoded_or_a_fault(coded: bytes) -> None:
    try:
        text = huffman.decode(coded, 0, len(coded))
    except ProtocolError:
        return
    assert ENCODER.encode(text) == coded
