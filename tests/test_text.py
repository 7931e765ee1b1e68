import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.text import bytes_to_text, escape_for_terminal, parse_place, place, text_to_bytes


@settings(max_examples=300)
@given(st.binary(max_size=64) | st.text(max_size=64).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_bytes_become_text_that_can_be_stored_and_turned_back(data: bytes) -> None:
    text = bytes_to_text(data)
    text.encode("utf-8")
    assert text_to_bytes(text) == data


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_different_bytes_give_different_texts(first: bytes, second: bytes) -> None:
    assert (bytes_to_text(first) == bytes_to_text(second)) == (first == second)


def test_utf_8_stays_and_everything_else_is_escaped() -> None:
    assert bytes_to_text("GET /café".encode()) == "GET /café"
    assert bytes_to_text(b"caf\xe9 C:\\x") == "caf\\xe9 C:\\\\x"
    assert bytes_to_text(b"\xed\xa0\x80\xc0\xaf\xf4\x90\x80\x80") == "\\xed\\xa0\\x80\\xc0\\xaf\\xf4\\x90\\x80\\x80"
    assert bytes_to_text(b"a\0\x1b[31m\r\n") == "a\0\x1b[31m\r\n"


def test_a_long_value_is_cut_between_characters_and_says_how_much_is_gone() -> None:
    assert bytes_to_text(b"x" * 100, 10) == "x" * 10 + "\\+90"
    assert bytes_to_text("xxxxxxxxx€uro".encode(), 10) == "x" * 9 + "\\+6"
    assert bytes_to_text(b"\x80" * 12, 10) == "\\x80" * 10 + "\\+2"
    with pytest.raises(ValueError, match="cut"):
        text_to_bytes(bytes_to_text(b"x" * 100, 10))
    assert text_to_bytes(bytes_to_text(b"\\+90")) == b"\\+90"


@pytest.mark.parametrize("text", ["\\", "\\n", "a\\x", "\\xAB", "\\x1"])
def test_what_the_rule_never_writes_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        text_to_bytes(text)


@settings(max_examples=200)
@given(st.text(st.characters(codec=None), max_size=64))
def test_nothing_that_steers_a_terminal_is_printed(text: str) -> None:
    escaped = escape_for_terminal(text)
    escaped.encode("utf-8")
    assert not any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in escaped)
    assert not any("\u202a" <= character <= "\u202e" or "\u2066" <= character <= "\u2069" for character in escaped)


def test_escapes_are_visible_and_ordinary_text_stays() -> None:
    assert escape_for_terminal("\x1b]0;gotcha\x07\x9b1m") == "\\x1b]0;gotcha\\x07\\x9b1m"
    assert escape_for_terminal("user\u202egpj.exe\ud800\U000e0041") == "user\\u202egpj.exe\\ud800\\U000e0041"
    assert escape_for_terminal("naïve 日本 €") == "naïve 日本 €"
    assert escape_for_terminal("a\tb\nc\r", lines=True) == "a\tb\nc\\x0d"
    assert escape_for_terminal("a\tb\nc") == "a\\x09b\\x0ac"


@given(st.integers(0, (1 << 23) - 1), st.integers(0, (1 << 40) - 1), st.none() | st.integers(0, 999_999_999))
def test_the_name_of_a_connection_or_stream_can_be_typed_back(capture: int, frame: int, stream: int | None) -> None:
    number = (capture << 40) + frame
    assert parse_place(place(number, stream)) == (number, stream)
    assert parse_place(f"{number}" if stream is None else f"{number}:{stream}") == (number, stream)


def test_connections_of_the_first_capture_have_short_names() -> None:
    assert (place(14), place(14, 0), place((2 << 40) + 14, 3)) == ("14", "14:0", "2/14:3")


@pytest.mark.parametrize(
    "said",
    ["", "x", "1:", ":3", "1/", "/1", "1//2", "1/2/3", "-1", "1.5", "٣", "1/1099511627776", "1:2:3", "9999999/1", "9" * 19],
)
def test_what_names_no_connection_is_not_taken_for_one(said: str) -> None:
    assert parse_place(said) is None
