"""The HPACK decoder of an observer that misses blocks, against an obvious model of what such an observer can know."""

import hpack.hpack
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from analyzer.codecs.hpack import STATIC_TABLE, HpackDecoder
from analyzer.records import FieldLine

Known = tuple[bytes | None, bytes | None]

NAMES = st.sampled_from([b"x", b"trace-id", b"cookie", b"etag"])
VALUES = st.one_of(st.sampled_from([b"", b"a" * 200]), st.binary(max_size=20))


class Entry:
    """A line in the table of both peers, and what the observer knows of it."""

    def __init__(self, name: bytes, value: bytes, known: Known) -> None:
        self.name = name
        self.value = value
        self.known = known


def integer(value: int, bits: int, first: int) -> bytes:
    encoded = hpack.hpack.encode_integer(value, bits)
    encoded[0] |= first
    return bytes(encoded)


def string(value: bytes) -> bytes:
    return integer(len(value), 7, 0) + value


class Observer(RuleBasedStateMachine):
    """An encoder that does what it likes, and an observer that sees some of its blocks.

    The model is the encoder's own table, the newest entry first. What the observer knows of an entry is decided when the
    entry is inserted, and forgotten with every block that it misses: that the table has moved on it knows, not how far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.decoder = HpackDecoder()
        self.table: list[Entry] = []
        self.maximum = 4096
        self.block = b""
        self.expected: list[Known] = []
        self.copies: list[HpackDecoder] = []

    def evict(self) -> None:
        while sum(len(entry.name) + len(entry.value) + 32 for entry in self.table) > self.maximum:
            self.table.pop()

    def insert(self, name: bytes, value: bytes, known: Known) -> None:
        self.table.insert(0, Entry(name, value, known))
        self.evict()

    @rule(index=st.integers(1, 61))
    def refer_to_static(self, index: int) -> None:
        self.block += integer(index, 7, 0x80)
        line = STATIC_TABLE[index]
        self.expected.append((line.name, line.value))

    @precondition(lambda self: self.table)
    @rule(data=st.data())
    def refer_to_dynamic(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(self.table) - 1))
        self.block += integer(62 + at, 7, 0x80)
        self.expected.append(self.table[at].known)

    @rule(name=NAMES, value=VALUES, is_inserted=st.booleans())
    def spell_out(self, name: bytes, value: bytes, is_inserted: bool) -> None:
        self.block += (b"\x40" if is_inserted else b"\x00") + string(name) + string(value)
        self.expected.append((name, value))
        if is_inserted:
            self.insert(name, value, (name, value))

    @precondition(lambda self: self.table)
    @rule(value=VALUES, is_inserted=st.booleans(), data=st.data())
    def name_by_index(self, value: bytes, is_inserted: bool, data: st.DataObject) -> None:
        entry = self.table[data.draw(st.integers(0, len(self.table) - 1))]
        index = 62 + self.table.index(entry)
        self.block += (integer(index, 6, 0x40) if is_inserted else integer(index, 4, 0)) + string(value)
        known = (entry.known[0], value)
        self.expected.append(known)
        if is_inserted:
            self.insert(entry.name, value, known)

    @precondition(lambda self: not self.block)
    @rule(size=st.sampled_from([0, 31, 64, 300, 4096]))
    def resize(self, size: int) -> None:
        self.block += integer(size, 5, 0x20)
        self.maximum = size
        self.evict()

    @rule()
    def send(self) -> None:
        """The observer sees the block."""
        lines: list[FieldLine] = []
        self.decoder.decode(self.block, lines)
        assert [(line.name, line.value) for line in lines] == self.expected
        assert self.decoder.unknown_lines == sum(None in known for known in self.expected)
        for copy in self.copies:
            again: list[FieldLine] = []
            copy.decode(self.block, again)
            assert [(line.name, line.value) for line in again] == [(line.name, line.value) for line in lines]
        self.block, self.expected = b"", []

    @rule()
    def lose(self) -> None:
        """The observer misses the block."""
        self.decoder.lose()
        self.copies = []
        for entry in self.table:
            entry.known = (None, None)
        self.block, self.expected = b"", []

    @precondition(lambda self: not self.block and len(self.copies) < 2)
    @rule()
    def copy(self) -> None:
        """A copy tells the same from now on."""
        self.copies.append(self.decoder.copy())


TestObserver = Observer.TestCase
TestObserver.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
