import random
import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer import limits
from analyzer.codecs.content_budget import AllContents, ContentBudget
from analyzer.codecs.permessage_deflate import Agreement, Inflater


def agreed(extensions: str | None) -> tuple[object, ...]:
    agreement = Agreement(extensions)
    return (
        agreement.has_deflate,
        agreement.server_takeover,
        agreement.client_takeover,
        agreement.has_others,
        agreement.fault,
    )


@pytest.mark.parametrize(
    ("extensions", "expected"),
    [
        (None, (False, True, True, False, None)),
        ("", (False, True, True, False, None)),
        ("permessage-deflate", (True, True, True, False, None)),
        ("Permessage-Deflate ; server_no_context_takeover", (True, False, True, False, None)),
        ("permessage-deflate;client_no_context_takeover", (True, True, False, False, None)),
        ('permessage-deflate; server_max_window_bits="9"; client_max_window_bits=8', (True, True, True, False, None)),
        ("permessage-deflate; server_max_window_bits=16", (True, True, True, False, "server_max_window_bits=16")),
        ("permessage-deflate; client_max_window_bits", (True, True, True, False, "client_max_window_bits")),
        ("permessage-deflate; " + 90 * "p", (True, True, True, False, "a parameter of 90 characters")),
        ("x-frobnicate, permessage-deflate", (True, True, True, True, None)),
    ],
)
def test_the_parameters_of_a_response_are_read(extensions: str | None, expected: tuple[object, ...]) -> None:
    assert agreed(extensions) == expected


def deflate(compressor: "zlib._Compress", data: bytes) -> bytes:
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def inflate(inflater: Inflater, wire: bytes, cuts: list[int] | None = None) -> bytes | str:
    """The message, or why it is not known."""
    inflater.begin()
    edges = [0, *sorted(min(cut, len(wire)) for cut in cuts or []), len(wire)]
    result = b""
    for number, (start, end) in enumerate(pairwise(edges)):
        inflater.write(wire[start:end], number == len(edges) - 2)
        while output := inflater.read():
            assert len(output) <= limits.INFLATE_STEP_BYTES
            result += output
    inflater.end()
    return result if inflater.fault is None else inflater.fault


MESSAGES = st.lists(st.one_of(st.binary(max_size=300), st.text(max_size=5).map(lambda part: part.encode() * 99)), max_size=6)


@given(MESSAGES, st.booleans(), st.sampled_from([9, 10, 15]), st.lists(st.integers(0, 300), max_size=5))
def test_what_zlib_compressed_comes_back_however_it_is_cut(
    messages: list[bytes], takeover: bool, bits: int, cuts: list[int]
) -> None:
    inflater = Inflater(takeover)
    compressor = zlib.compressobj(wbits=-bits)
    for message in messages:
        assert inflate(inflater, deflate(compressor, message), cuts) == message
        if not takeover:
            compressor = zlib.compressobj(wbits=-bits)


def test_an_endpoint_that_agreed_on_a_window_of_256_bytes_may_use_512_because_zlib_does() -> None:
    data = bytes(range(256)) + b"-" * 100 + bytes(range(256))
    assert inflate(Inflater(True), deflate(zlib.compressobj(wbits=-9), data)) == data


@pytest.mark.parametrize("ends", [zlib.Z_SYNC_FLUSH, zlib.Z_FINISH])
def test_a_message_may_refer_to_the_farthest_bytes_of_the_window_however_the_last_one_ended(ends: int) -> None:
    noise = random.Random(1).randbytes(32_000)
    compressor = zlib.compressobj(wbits=-15)
    first = compressor.compress(noise) + compressor.flush(ends)
    first = first[:-4] if ends == zlib.Z_SYNC_FLUSH else first + b"\x00"
    second = deflate(zlib.compressobj(wbits=-15, zdict=noise), noise[:300])
    assert len(second) < 20
    inflater = Inflater(True)
    assert inflate(inflater, first, [100, 31_000]) == noise
    assert inflate(inflater, second) == noise[:300]


@pytest.mark.parametrize(
    "wire",
    [
        "f248cdc9c90700",  # one fixed block
        "000500faff48656c6c6f00",  # a block without compression
        "f348cdc9c9070000",  # a final block, then an empty one
        "f348cdc9c90700",  # a final block without the empty one that should follow
        "f248050000 00ffff cac9c90700",  # two blocks
    ],
)
def test_the_examples_of_the_standard_inflate(wire: str) -> None:
    data = bytes.fromhex(wire)
    assert inflate(Inflater(True), data) == b"Hello"
    assert inflate(Inflater(False), data, list(range(len(data)))) == b"Hello"


def test_a_message_may_refer_to_one_before_a_final_block() -> None:
    inflater = Inflater(True)
    assert inflate(inflater, bytes.fromhex("f348cdc9c9070000")) == b"Hello"
    assert inflate(inflater, bytes.fromhex("f200110000")) == b"Hello"


def test_an_empty_message_is_empty_with_its_one_octet_and_without() -> None:
    inflater = Inflater(True)
    assert [inflate(inflater, wire) for wire in (b"\x00", b"", b"\x00")] == [b"", b"", b""]
    assert inflate(inflater, bytes.fromhex("f248cdc9c90700")) == b"Hello"


def inflate_known(inflater: Inflater, wire: bytes, cuts: list[int]) -> tuple[bytes, int]:
    """What is known of the beginning of a message, and its size."""
    inflater.begin()
    edges = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
    known = b""
    size = 0
    for number, (start, end) in enumerate(pairwise(edges)):
        inflater.write(wire[start:end], number == len(edges) - 2)
        while output := inflater.read():
            known += output[: inflater.known]
            size += len(output)
    inflater.end()
    assert inflater.fault is None
    assert inflater.is_known == (len(known) == size)
    return known, size


def test_after_lost_bytes_messages_are_known_up_to_the_first_byte_that_was_referred_to() -> None:
    compressor = zlib.compressobj(wbits=-15)
    texts = [b"first words", b"new, then first words", b"\x00unlike", b"\x00unlike anything, then new"]
    wires = [deflate(compressor, data) for data in texts]
    inflater = Inflater(True)
    assert inflate(inflater, wires[0]) == b"first words"
    inflater.lose()
    assert not inflater.is_certain
    assert [inflate_known(inflater, wire, []) for wire in wires[1:]] == [
        (b"new, then f", 21),  # zlib sends one more byte before it refers
        (b"\x00unlike", 7),
        (b"\x00unlike anything, then new", 26),  # refers to the known part of a message that is not known
    ]


WORDS = st.lists(
    st.sampled_from([b"alpha", b"beta", b"gamma", b"delta", b"epsilon", b'{"x":', b"\x00" * 9, b"0123"]), max_size=40
)


@given(
    st.lists(st.tuples(st.booleans(), st.one_of(WORDS.map(b"".join), st.binary(max_size=60))), max_size=12),
    st.sampled_from([zlib.Z_SYNC_FLUSH, zlib.Z_FINISH]),
    st.lists(st.integers(0, 60), max_size=3),
)
def test_whichever_messages_are_lost_no_byte_of_the_others_is_wrong_and_every_size_is_known(
    messages: list[tuple[bool, bytes]], ends: int, cuts: list[int]
) -> None:
    inflater = Inflater(True)
    compressor = zlib.compressobj(wbits=-15)
    history = b""
    for is_lost, data in messages:
        if ends == zlib.Z_FINISH:
            compressor = zlib.compressobj(wbits=-15, zdict=history[-32_768:])
            wire = compressor.compress(data) + compressor.flush(zlib.Z_FINISH) + b"\x00"
        else:
            wire = deflate(compressor, data)
        history += data
        if is_lost:
            inflater.lose()
        else:
            known, size = inflate_known(inflater, wire, cuts)
            assert data.startswith(known)
            assert size == len(data)


HELLO = bytes.fromhex("f248cdc9c90700")
OF_ALL = f"at most {2 * limits.INFLATER_BYTES} bytes for the open contents of all connections"


def little(inflaters: int) -> AllContents:
    """The memory of so many decompressors."""
    contents = AllContents()
    contents.most_bytes = inflaters * limits.INFLATER_BYTES
    return contents


def test_a_window_is_given_up_for_a_connection_that_wants_more_and_grows_again() -> None:
    contents = little(2)
    first, second, third = (Inflater(True, ContentBudget(contents)) for _ in range(3))
    compressors = [zlib.compressobj(wbits=-15) for _ in range(2)]
    words, more = b"these words, more than once", b"here are these words, more than once"
    assert inflate(first, deflate(compressors[0], words)) == words
    assert inflate(second, HELLO) == inflate(third, HELLO) == b"Hello"
    assert (first.is_certain, first.limit, second.limit, third.limit) == (False, OF_ALL, None, None)
    assert inflate_known(first, deflate(compressors[0], more), []) == (b"he", 36)
    assert (second.limit, third.limit) == (OF_ALL, OF_ALL)
    assert contents.open_bytes == 2 * limits.INFLATER_BYTES
    noise = random.Random(3).randbytes(40_000)
    assert inflate_known(first, deflate(compressors[0], noise), []) == (noise, 40_000)
    assert contents.open_bytes == limits.INFLATER_BYTES
    first.close()
    assert contents.open_bytes == 0


def test_a_message_that_is_open_when_memory_is_wanted_back_is_not_known() -> None:
    for takeover in (True, False):
        contents = little(2)
        inflaters = [Inflater(takeover, ContentBudget(contents)) for _ in range(3)]
        for inflater in inflaters:
            inflater.begin()
        inflaters[0].write(HELLO, True)
        assert inflaters[0].read() == b""
        assert (inflaters[0].fault, inflaters[0].is_limit, inflaters[0].is_certain) == (OF_ALL, True, not takeover)
        for inflater in inflaters:
            inflater.end()
        assert contents.open_bytes == (2 * limits.INFLATER_BYTES if takeover else 0)


def test_messages_without_takeover_that_come_whole_take_no_memory() -> None:
    contents = little(0)
    inflater = Inflater(False, ContentBudget(contents))
    for _ in range(3):
        inflater.begin(False)
        inflater.write(HELLO, True)
        assert (inflater.read(), contents.open_bytes) == (b"Hello", 0)
        inflater.end()
    assert inflate(inflater, HELLO) == "at most 0 bytes for the open contents of all connections"


@given(st.lists(st.tuples(st.integers(0, 3), WORDS.map(b"".join), st.lists(st.integers(0, 60), max_size=2)), max_size=20))
def test_however_little_memory_there_is_no_byte_is_wrong_and_all_memory_comes_back(
    messages: list[tuple[int, bytes, list[int]]],
) -> None:
    contents = little(3)
    inflaters = [Inflater(number != 3, ContentBudget(contents)) for number in range(4)]
    compressors = [zlib.compressobj(wbits=-15) for _ in range(4)]
    for number, data, cuts in messages:
        if number == 3:
            compressors[3] = zlib.compressobj(wbits=-15)
        known, size = inflate_known(inflaters[number], deflate(compressors[number], data), cuts)
        assert data.startswith(known)
        assert size == len(data)
        assert contents.open_bytes == sum(inflater.held_memory for inflater in inflaters) <= contents.most_bytes
    for inflater in inflaters:
        inflater.close()
    assert contents.open_bytes == 0


def test_when_a_window_of_known_output_has_followed_lost_bytes_everything_is_certain_again() -> None:
    randomness = random.Random(2)
    compressor = zlib.compressobj(wbits=-15)
    noise = [randomness.randbytes(9_000) for _ in range(8)]
    inflater = Inflater(True)
    assert inflate(inflater, deflate(compressor, noise[0])) == noise[0]
    wires = [deflate(compressor, noise[0][:100] + data) for data in noise[1:]]  # each refers to the one before it
    inflater.lose()
    assert [(inflate_known(inflater, wire, [])[1], inflater.is_known, inflater.is_certain) for wire in wires] == [
        (9_100, False, False)
    ] * 7
    alone = [deflate(compressor, data) for data in (noise[3][:1] + randomness.randbytes(33_000), b"alone", noise[7])]
    assert [(inflate_known(inflater, wire, [])[1], inflater.is_known, inflater.is_certain) for wire in alone] == [
        (33_001, True, True),
        (5, True, True),
        (9_000, True, True),
    ]


def test_after_lost_bytes_messages_without_takeover_are_known() -> None:
    inflater = Inflater(False)
    wire = bytes.fromhex("f248cdc9c90700")
    assert inflate(inflater, wire) == b"Hello"
    inflater.lose()
    assert inflater.is_certain
    assert inflate(inflater, wire) == b"Hello"


def bomb(size: int) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return b"".join(compressor.compress(bytes(1 << 20)) for _ in range(size >> 20)) + compressor.flush(zlib.Z_SYNC_FLUSH)[:-4]


def count(inflater: Inflater, wire: bytes) -> int:
    """The size of a message that is not kept; -1 when it is not known."""
    inflater.begin()
    inflater.write(wire, True)
    size = 0
    while output := inflater.read():
        size += len(output)
    inflater.end()
    return size if inflater.fault is None else -1


def test_a_message_that_grows_past_the_limit_is_given_up() -> None:
    inflater = Inflater(False)
    assert count(inflater, bomb(limits.INFLATED_MESSAGE_BYTES)) == limits.INFLATED_MESSAGE_BYTES
    inflater = Inflater(False)
    assert count(inflater, bomb(limits.INFLATED_MESSAGE_BYTES + (1 << 20))) == -1
    assert inflater.is_limit
    assert inflate(inflater, bytes.fromhex("f248cdc9c90700")) == b"Hello"


def test_messages_that_all_grow_a_thousandfold_are_given_up_after_a_while() -> None:
    inflater = Inflater(False)
    wire = bomb(16 << 20)
    sizes = [count(inflater, wire) for _ in range(8)]
    assert sizes[:4] == [16 << 20] * 4
    assert sizes[-1] == -1


def test_a_direction_whose_messages_never_inflate_is_not_tried_forever() -> None:
    inflater = Inflater(True)
    faults = [inflate(inflater, b"\xff\xff") for _ in range(limits.INFLATE_FAILURES + 1)]
    assert faults == ["invalid block type"] * limits.INFLATE_FAILURES + ["no message tried after 16 failures"]


def test_a_message_of_endless_final_blocks_is_given_up() -> None:
    assert inflate(Inflater(True), b"\x03\x00" * 10_000) == "more than 64 final blocks"
