import hashlib

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
