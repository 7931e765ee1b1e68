"""The Huffman code of HPACK and QPACK (RFC 7541 section 5.2 and appendix B), decoded four bits at a time.

The code is canonical: ordered by length, then by symbol, its codes count upwards; so the lengths alone define it. A
state is an inner node of the code's tree. As no code is shorter than five bits, four bits complete at most one symbol.
"""

from typing import Final

from librt.strings import BytesWriter
from mypy_extensions import i64

from analyzer.errors import ProtocolError

SECTION: Final = "RFC 7541 section 5.2"
END_OF_STRING: Final = 256

# fmt: off
CODE_BITS: Final = (  # of each symbol, the last of END_OF_STRING
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
)
# fmt: on

_NOTHING: Final = 0  # what four bits do beside changing the state
_SYMBOL: Final = 1  # they complete a symbol
_FAULT: Final = 2  # they complete END_OF_STRING, which must not be sent


def _tree() -> list[list[int]]:
    """The code's tree: per inner node the successors for 0 and 1; a leaf is -1 - symbol."""
    nodes: list[list[int]] = [[0, 0]]
    code = 0
    bits = 0
    for symbol in sorted(range(len(CODE_BITS)), key=lambda symbol: (CODE_BITS[symbol], symbol)):
        code <<= CODE_BITS[symbol] - bits
        bits = CODE_BITS[symbol]
        node = 0
        for shift in range(bits - 1, 0, -1):
            bit = code >> shift & 1
            if nodes[node][bit] == 0:
                nodes.append([0, 0])
                nodes[node][bit] = len(nodes) - 1
            node = nodes[node][bit]
        nodes[node][code & 1] = -1 - symbol
        code += 1
    return nodes


def _tables() -> tuple[bytes, bytes, bytes, bytes]:
    """Per state * 16 + four bits: the next state, what happens, the symbol; and per state whether a string may end there."""
    nodes = _tree()
    following = bytearray()
    happens = bytearray()
    symbols = bytearray()
    for start in range(len(nodes)):
        for nibble in range(16):
            node = start
            effect = _NOTHING
            symbol = 0
            for shift in (3, 2, 1, 0):
                node = nodes[node][nibble >> shift & 1]
                if node == -1 - END_OF_STRING:
                    effect = _FAULT
                    node = 0
                    break
                if node < 0:
                    effect = _SYMBOL
                    symbol = -1 - node
                    node = 0
            following.append(node)
            happens.append(effect)
            symbols.append(symbol)
    may_end = bytearray(len(nodes))
    node = 0
    for _ in range(8):  # padding is the first bits of END_OF_STRING, all ones, and shorter than a byte
        may_end[node] = 1
        node = nodes[node][1]
    return bytes(following), bytes(happens), bytes(symbols), bytes(may_end)


_TABLES: Final = _tables()
_FOLLOWING: Final = _TABLES[0]
_HAPPENS: Final = _TABLES[1]
_SYMBOLS: Final = _TABLES[2]
_MAY_END: Final = _TABLES[3]


def decode(data: bytes, start: i64, end: i64) -> bytes:
    """The string coded in ``data[start:end]``. Raises ProtocolError for END_OF_STRING and for wrong padding."""
    following = _FOLLOWING
    happens = _HAPPENS
    symbols = _SYMBOLS
    out = BytesWriter()
    state: i64 = 0
    position = start
    while position < end:
        byte: i64 = data[position]
        at: i64 = state << 4 | byte >> 4
        effect: i64 = happens[at]
        if effect != _NOTHING:
            if effect == _FAULT:
                raise ProtocolError("a Huffman-coded string without EOS", "EOS in it", SECTION)
            out.append(symbols[at])
        state = following[at]
        at = state << 4 | byte & 15
        effect = happens[at]
        if effect != _NOTHING:
            if effect == _FAULT:
                raise ProtocolError("a Huffman-coded string without EOS", "EOS in it", SECTION)
            out.append(symbols[at])
        state = following[at]
        position += 1
    if _MAY_END[state] == 0:
        raise ProtocolError("a Huffman-coded string padded with less than 8 bits, all ones", "other padding", SECTION)
    return out.getvalue()
