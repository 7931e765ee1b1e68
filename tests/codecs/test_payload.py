import hashlib

from analyzer.codecs.content_budget import AllContents, ContentBudget
from analyzer.codecs.payload import Payload
from analyzer.codecs.utf8 import TextReader


def test_it_hashes_all_and_keeps_the_first_bytes_of_all_pieces() -> None:
    payload = Payload(TextReader(3), True, 4)
    for piece in (b"ab", b"", b"cdef", b"g"):
        payload.write(piece)
    assert payload.text is not None
    assert (payload.size, payload.text.text(), payload.kept()) == (7, "abc", b"abcd")
    assert payload.sha256() == hashlib.sha256(b"abcdefg").hexdigest()


def test_it_does_not_hash_or_keep_what_nobody_asked_for() -> None:
    payload = Payload(None, False, 0)
    payload.write(b"ab")
    assert (payload.size, payload.sha256(), payload.kept()) == (2, None, b"")


def test_bytes_that_are_not_known_are_counted_and_leave_no_hash() -> None:
    payload = Payload(TextReader(3), True, 4)
    payload.write(b"ab")
    payload.miss(5)
    assert payload.text is not None
    assert (payload.size, payload.text.text(), payload.is_known, payload.sha256()) == (7, "ab", False, None)


def test_what_is_kept_is_granted_or_given_up_and_hashed_all_the_same() -> None:
    contents = AllContents()
    contents.connection_bytes = 10_000
    budget = ContentBudget(contents)
    text, data = Payload(TextReader(20_000), True, 0, budget), Payload(None, True, 20_000, budget)
    text.write(b"a" * 1_000)
    assert contents.open_bytes == 0
    text.write(b"a" * 3_000)
    data.write(b"b" * 5_000)
    assert contents.open_bytes == 9_000
    data.write(b"b" * 2_000)
    assert (data.kept(), data.limit) == (b"", "at most 10000 bytes for the open contents of a connection")
    data.write(b"b" * 2_000)
    assert (data.size, data.sha256(), data.kept()) == (9_000, hashlib.sha256(b"b" * 9_000).hexdigest(), b"")
    assert contents.open_bytes == 4_000
    text.hand_out()
    data.hand_out()
    assert (contents.open_bytes, contents.row_bytes, text.limit) == (0, 4_000, None)
