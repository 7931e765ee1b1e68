from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from analyzer.codecs.utf8 import TextReader


def read(data: bytes, cuts: list[int], characters: int) -> tuple[bool, str, bool]:
    reader = TextReader(characters)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for start, end in pairwise(edges):
        reader.write(data[start:end])
    reader.finish()
    return reader.is_valid, reader.text(), reader.is_full


def expected(data: bytes, characters: int) -> tuple[bool, str, bool]:
    try:
        text = data.decode()
        is_valid = True
    except UnicodeDecodeError as error:
        text = data[: error.start].decode()
        is_valid = False
    return is_valid, text[:characters], len(text) >= characters


def test_a_text_of_single_characters_is_kept_and_its_memory_is_told() -> None:
    reader = TextReader(100)
    for _ in range(90):
        reader.write(b"a")
    assert (reader.text(), reader.kept_bytes()) == ("a" * 90, 90)
    for _ in range(90):
        reader.write("€".encode())
    assert (reader.text(), reader.kept_bytes(), reader.is_full) == ("a" * 90 + "€" * 10, 400, True)
    reader.drop()
    reader.write(b"\xff")
    assert (reader.text(), reader.kept_bytes(), reader.is_valid) == ("", 0, False)


TEXTS = st.text().map(str.encode)
NEARLY_TEXTS = st.lists(st.one_of(TEXTS, st.binary(max_size=3)), max_size=4).map(b"".join)


@given(NEARLY_TEXTS, st.lists(st.integers(0, 40)), st.integers(0, 12))
def test_any_cutting_reads_what_decoding_the_whole_does(data: bytes, cuts: list[int], characters: int) -> None:
    assert read(data, cuts, characters) == expected(data, characters)


def test_a_character_split_after_each_of_its_bytes_is_one_character() -> None:
    data = "a€𝄞".encode()
    assert read(data, list(range(len(data))), 9) == (True, "a€𝄞", False)


def test_surrogates_overlong_forms_and_numbers_above_the_last_are_invalid() -> None:
    for bad in (b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\xff"):
        assert read(b"ok" + bad + b"ok", [], 9) == (False, "ok", False)
        assert read(b"ok" + bad + b"ok", list(range(9)), 9) == (False, "ok", False)


def test_a_text_that_ends_within_a_character_is_invalid() -> None:
    assert read("é".encode()[:1], [], 9) == (False, "", False)
