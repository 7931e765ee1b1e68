import gzip
import hashlib
import random
import zlib
from collections.abc import Callable

import brotli
import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer import limits
from analyzer.codecs.content import Content

TEXT = b"The quick brown fox jumps over the lazy dog. " * 50


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


CODINGS: dict[bytes, Callable[[bytes], bytes]] = {
    b"gzip": gzip.compress,
    b"x-gzip": gzip.compress,
    b"deflate": zlib.compress,
    b"br": brotli.compress,
    b"zstd": zstd.compress,
    b"identity": bytes,
}


def decoded(mode: str, codings: bytes | None, *pieces: bytes, is_complete: bool = True) -> Content:
    content = Content(mode, codings)
    for piece in pieces:
        content.write(piece)
    content.finish(is_complete)
    return content


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("coding", CODINGS)
def test_each_content_coding_is_undone_however_the_bytes_are_split(coding: bytes) -> None:
    sent = CODINGS[coding](TEXT)
    for size in (1, 7, len(sent)):
        content = decoded("store", coding, *[sent[i : i + size] for i in range(0, len(sent), size)])
        assert (content.kept, content.sha256, content.is_decoded, content.is_complete) == (TEXT, digest(TEXT), True, True)


@pytest.mark.parametrize("coding", [b"gzip", b"deflate", b"br", b"zstd"])
def test_contents_of_any_size_are_decoded_in_pieces_of_any_size(coding: bytes) -> None:
    words = random.Random(1)
    text = b" ".join(b"%x" % words.getrandbits(30) for _ in range(200_000))
    sent = CODINGS[coding](text)
    assert len(sent) > limits.CONTENT_CODED_BYTES
    for size in (1_000, 40_000, len(sent)):
        content = decoded("store", coding, *[sent[i : i + size] for i in range(0, len(sent), size)])
        assert (content.sha256, content.kept == text, content.fault) == (digest(text), True, None)


def test_what_was_decoded_so_far_can_be_taken() -> None:
    sent = brotli.compress(TEXT)
    content = Content("store", b"br")
    taken = b""
    for i in range(len(sent)):
        content.write(sent[i : i + 1])
        taken += content.take_decoded()
    content.finish(True)
    assert (taken, content.kept, content.sha256) == (TEXT, b"", digest(TEXT))


def test_content_whose_coding_is_not_known_is_kept_as_sent_and_has_no_hash() -> None:
    for codings in (None, b"gzip"):
        content = Content("store", codings, is_coding_known=False)
        content.write(TEXT)
        content.finish(True)
        assert (content.kept, content.sha256, content.is_decoded, content.is_complete) == (TEXT, None, False, True)
        assert content.fault is None


def test_content_without_coding_is_hashed_as_sent_and_not_kept_in_mode_hash() -> None:
    content = decoded("hash", None, TEXT[:10], TEXT[10:])
    assert (content.sha256, content.kept, content.fault, content.is_decoded) == (digest(TEXT), None, None, True)


def test_bare_deflate_is_told_from_the_zlib_format() -> None:
    assert decoded("hash", b"deflate", raw_deflate(TEXT)).sha256 == digest(TEXT)
    assert decoded("hash", b"deflate", *[bytes([byte]) for byte in raw_deflate(TEXT)]).sha256 == digest(TEXT)


def test_several_gzip_members_and_zstd_frames_are_one_content() -> None:
    for sent, coding in (
        (gzip.compress(b"one ") + gzip.compress(b"two") + bytes(20), b"gzip"),
        (zstd.compress(b"one ") + zstd.compress(b"two"), b"zstd"),
    ):
        assert decoded("store", coding, sent).kept == b"one two"
        assert decoded("store", coding, *[bytes([byte]) for byte in sent]).kept == b"one two"


def test_codings_are_undone_from_the_last_to_the_first() -> None:
    sent = brotli.compress(gzip.compress(TEXT))
    assert decoded("hash", b"gzip, BR", sent).sha256 == digest(TEXT)
    assert decoded("hash", b" identity ,gzip,\tbr", sent).sha256 == digest(TEXT)


def test_empty_content_with_a_coding_is_empty() -> None:
    for coding in CODINGS:
        assert decoded("hash", coding).sha256 == digest(b"")


@pytest.mark.parametrize("coding", [b"gzip", b"deflate", b"br", b"zstd"])
def test_a_coding_cut_short_is_a_fault_and_has_no_hash(coding: bytes) -> None:
    content = decoded("store", coding, CODINGS[coding](TEXT)[:-5])
    assert content.fault == "the coded content ends too early"
    assert (content.sha256, content.is_decoded, content.is_complete) == (None, False, False)


@pytest.mark.parametrize("coding", [b"gzip", b"deflate", b"br", b"zstd"])
def test_broken_coding_is_a_fault(coding: bytes) -> None:
    content = decoded("hash", coding, b"\xff\xfe\xfd this is no coding of anything", b"more")
    assert content.fault is not None
    assert content.fault.startswith(coding.decode() + ": ")
    assert content.sha256 is None


def test_bytes_after_the_end_are_a_fault() -> None:
    assert decoded("hash", b"gzip", gzip.compress(TEXT) + b"garbage").sha256 is None
    assert decoded("hash", b"deflate", zlib.compress(TEXT) + b"garbage").fault is not None


def test_an_unknown_coding_is_kept_as_sent_without_a_hash() -> None:
    content = decoded("store", b"gzip, compress", b"abc", b"def")
    assert (content.kept, content.sha256, content.is_decoded, content.is_complete) == (b"abcdef", None, False, True)
    assert content.fault == "an unknown content coding of 8 bytes"


def test_missing_bytes_leave_no_hash_but_what_was_decoded() -> None:
    content = decoded("store", None, TEXT[:100], is_complete=False)
    assert (content.kept, content.sha256, content.is_complete) == (TEXT[:100], None, False)


def test_a_chain_that_is_too_long_is_not_undone() -> None:
    content = decoded("hash", b"gzip, gzip, gzip, gzip, gzip", b"x")
    assert content.fault == f"5 content codings, at most {limits.CONTENT_CODINGS} are undone"


@pytest.mark.parametrize("outer", [b"gzip", b"deflate", b"br", b"zstd"])
@pytest.mark.parametrize("inner", [b"gzip", b"deflate", b"br", b"zstd"])
def test_a_bomb_in_a_bomb_is_stopped_early(inner: bytes, outer: bytes) -> None:
    sent = CODINGS[outer](CODINGS[inner](bytes(10 << 20)))
    content = decoded("store", inner + b", " + outer, sent)
    assert content.fault == f"more than {limits.CONTENT_DECODED_RATIO} times as many decoded as coded bytes"
    most = max(limits.CONTENT_DECODED_RATIO_FROM, len(sent) * limits.CONTENT_DECODED_RATIO)
    assert len(content.kept or b"") <= most + 2 * limits.CONTENT_PIECE_BYTES


@pytest.mark.parametrize("coding", [b"gzip", b"br", b"zstd"])
def test_whether_a_bomb_is_stopped_does_not_depend_on_the_pieces_it_comes_in(coding: bytes) -> None:
    noise = random.Random(2).randbytes(30_000)
    for size in (1 << 20, 24 << 20, 40 << 20):  # with what follows, around the ratio
        sent = CODINGS[coding](bytes(size) + noise)
        found = []
        for piece in (100, 16_000, len(sent)):
            content = decoded("store", coding, *[sent[i : i + piece] for i in range(0, len(sent), piece)])
            found.append((content.fault, content.sha256, content.kept))
        assert found[0] == found[1] == found[2]


def test_a_bomb_is_stopped_by_its_ratio() -> None:
    content = decoded("store", b"br", brotli.compress(bytes(64 << 20)))
    assert content.fault == f"more than {limits.CONTENT_DECODED_RATIO} times as many decoded as coded bytes"
    assert content.kept is not None
    assert len(content.kept) <= limits.CONTENT_DECODED_RATIO_FROM + limits.CONTENT_PIECE_BYTES
    assert content.sha256 is None


def members_of_a_mebibyte(count: int) -> bytes:
    """So many gzip members whose ratio is about 200."""
    return gzip.compress((TEXT * 500)[: 1 << 20]) * count


def test_the_decoded_size_is_bounded() -> None:
    content = decoded("hash", b"gzip", members_of_a_mebibyte((limits.CONTENT_DECODED_BYTES >> 20) + 1))
    assert content.fault == f"more than {limits.CONTENT_DECODED_BYTES} decoded bytes"


@pytest.mark.parametrize("coding", [b"gzip", b"zstd"])
def test_empty_members_count_as_decoded_bytes(coding: bytes) -> None:
    empty = CODINGS[coding](b"")
    count = 2 * limits.CONTENT_DECODED_RATIO_FROM // limits.CONTENT_MEMBER_BYTES
    assert decoded("hash", coding, empty * count).sha256 == digest(b"")
    bomb = decoded("hash", coding + b", gzip", gzip.compress(empty * count))
    assert bomb.fault == f"more than {limits.CONTENT_DECODED_RATIO} times as many decoded as coded bytes"


def test_what_is_kept_is_bounded_but_all_is_hashed() -> None:
    sent = members_of_a_mebibyte((limits.CONTENT_KEPT_BYTES >> 20) + 1)
    content = decoded("store", b"gzip", sent)
    whole = gzip.decompress(sent)
    assert content.kept == whole[: limits.CONTENT_KEPT_BYTES]
    assert (content.is_complete, content.sha256) == (False, digest(whole))


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=3000), st.lists(st.sampled_from(sorted(CODINGS)), max_size=4), st.integers(1, 500))
def test_any_chain_of_codings_gives_the_content_back(data: bytes, codings: list[bytes], size: int) -> None:
    sent = data
    for coding in codings:
        sent = CODINGS[coding](sent)
    content = decoded("store", b",".join(codings), *[sent[i : i + size] for i in range(0, len(sent), size)])
    assert (content.kept, content.sha256, content.fault) == (data, digest(data), None)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=100), max_size=5), st.sampled_from(sorted(CODINGS)))
def test_random_bytes_never_raise(pieces: list[bytes], coding: bytes) -> None:
    content = decoded("store", coding, *pieces)
    assert (content.sha256 is None) == (content.fault is not None)
