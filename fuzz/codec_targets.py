"""Targets for single codecs, each beside an oracle where there is one: another library, or the same bytes cut otherwise.

An oracle that is stricter than unmux says nothing; what it accepts, unmux must read alike, or refuse by a limit of its own.
"""

import gzip
import json
import random
import zlib
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise

import brotli
import h11
from backports import zstd
from changes import CHECKOUT, SHARED, Misbehaved, Target, changed, cut
from hpack import Decoder as OtherDecoder
from hpack.exceptions import HPACKError
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import decode_huffman

from analyzer import limits
from analyzer.codecs import huffman
from analyzer.codecs.content import Content
from analyzer.codecs.hpack import HpackDecoder
from analyzer.codecs.http1_heads import HeadReader, chunk_size
from analyzer.codecs.key_log import KeyLog
from analyzer.codecs.permessage_deflate import Agreement, Inflater
from analyzer.codecs.tls_certificates import CertificateFacts
from analyzer.codecs.tls_handshake import (
    ClientHello,
    EncryptedExtensions,
    MessageReader,
    ServerHello,
    certificates,
    key_exchange_group,
)
from analyzer.errors import ProtocolError
from analyzer.records import FieldLine

LONGEST = 200_000  # bytes that an oracle may make of an input
WORDS = b"the quick brown fox jumps over the lazy dog 0123456789 "


def _text(randomness: random.Random, size: int) -> bytes:
    return bytes(randomness.choices(WORDS, k=size))


# --- HPACK


def _stories() -> list[list[bytes]]:
    """The field blocks of each story of the HPACK test vectors."""
    folders = [CHECKOUT / "tests" / "vectors" / "hpack", SHARED / "vectors" / "hpack"]
    files = [path for folder in folders if folder.is_dir() for path in sorted(folder.rglob("story_*.json"))]
    return [[bytes.fromhex(case["wire"]) for case in json.loads(path.read_text())["cases"]] for path in files]


def _other_lines(other: OtherDecoder, block: bytes) -> list[tuple[bytes, bytes]] | None:
    """What another decoder makes of a block; None where it refuses it."""
    try:
        return [(bytes(name), bytes(value)) for name, value in other.decode(block, raw=True)]
    except (HPACKError, UnicodeDecodeError):
        return None


def hpack() -> Target:
    """Field blocks: as the hpack package decodes them, or unknown where blocks before them were missed."""
    stories = _stories()

    def once(randomness: random.Random) -> bytes:
        blocks = randomness.choice(stories)
        start = randomness.randrange(len(blocks))
        ours, late, other = HpackDecoder(), HpackDecoder(), OtherDecoder()
        other.max_allowed_table_size = 1 << 17
        other.max_header_list_size = LONGEST
        ours.allow(1 << 17)
        late.lose()
        log = b""
        for number, block in enumerate(blocks[: start + 10]):
            sent = changed(block, randomness) if number >= start else block
            log += sent.hex().encode() + b"\n"
            expected = _other_lines(other, sent)
            found: list[FieldLine] = []
            refusal = ""
            try:
                ours.decode(sent, found)
            except ProtocolError as error:
                refusal = str(error)
            if expected is None:
                break
            if refusal or [(line.name, line.value) for line in found] != expected:
                raise Misbehaved(f"{refusal or found[:3]} where hpack says {expected[:3]}", log)
            if number >= start:
                _compare_late(late, sent, expected, log)
        return log

    return once


def _compare_late(late: HpackDecoder, block: bytes, expected: list[tuple[bytes, bytes]], log: bytes) -> None:
    """A decoder that came late knows each line, or says that it does not."""
    found: list[FieldLine] = []
    late.decode(block, found)
    for line, (name, value) in zip(found, expected, strict=True):
        if (line.name is not None and line.name != name) or (line.value is not None and line.value != value):
            raise Misbehaved(f"late: {line.name!r}: {line.value!r} where it was {name!r}: {value!r}", log)


def huffman_code() -> Target:
    """Huffman codes of string literals."""
    encoder = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)

    def once(randomness: random.Random) -> bytes:
        plain = randomness.randbytes(randomness.randrange(60)) if randomness.random() < 0.3 else _text(randomness, 40)
        data = changed(encoder.encode(plain), randomness)
        before, after = randomness.randbytes(3), randomness.randbytes(3)
        try:
            expected: bytes | None = decode_huffman(data)
        except HPACKError:
            expected = None
        try:
            found: bytes | None = huffman.decode(before + data + after, 3, 3 + len(data))
        except ProtocolError:
            found = None
        if found != expected:
            raise Misbehaved(f"{found!r} where hpack says {expected!r}", data)
        return data

    return once


# --- HTTP/1

HEADS = [
    b"GET / HTTP/1.1\r\nHost: example.org\r\nAccept: */*\r\nCookie: a=b\r\n\r\n",
    b"POST http://user@example.org:80/a?b#c HTTP/1.1\r\nhost:example.org\r\nTransfer-Encoding: gzip, chunked\r\nTE: trailers\r\n\r\n",
    b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\nContent-Length: 0, 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n",
    b"HTTP/1.0 404\r\nX-Folded: a\r\n b\r\nEmpty:\r\nTransfer-Encoding: chunked\r\n\r\n",
]


def _head_of(other: h11.Connection, raw: bytes) -> list[tuple[bytes, bytes]] | None:
    try:
        other.receive_data(raw)
        event = other.next_event()
    except h11.RemoteProtocolError:
        return None
    if not isinstance(event, h11.Request | h11.Response | h11.InformationalResponse) or other.trailing_data[0]:
        return None
    if not event.http_version.startswith(b"1."):
        return None
    return [(bytes(name), bytes(value)) for name, value in event.headers]


def http1_heads() -> Target:
    """Message heads: where h11 accepts one, the same fields; and the same a second time, from what is remembered."""

    def once(randomness: random.Random) -> bytes:
        raw = changed(randomness.choice(HEADS), randomness)
        end = raw.find(b"\r\n\r\n")
        raw = raw[: end + 4] if end >= 0 else raw + b"\r\n\r\n"
        reader = HeadReader({})
        is_request = not raw.startswith(b"HTTP/")
        found: list[list[tuple[bytes | None, bytes | None]] | None] = []
        for _ in range(2):
            try:
                head = reader.request(raw) if is_request else reader.response(raw)
                found.append(None if head is None else [(line.name, line.value) for line in head.fields])
            except ProtocolError:
                found.append(None)
        with suppress(ProtocolError):
            reader.trailers(raw)
        with suppress(ProtocolError):
            chunk_size(raw.partition(b"\r\n")[0])
        if is_request:
            other = h11.Connection(h11.SERVER)
        else:
            other = h11.Connection(h11.CLIENT)
            other.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
            other.send(h11.EndOfMessage())
        expected = _head_of(other, raw)
        if found[0] != found[1]:
            raise Misbehaved(f"first {found[0]}, then {found[1]}", raw)
        if expected is not None:
            ours = (
                None
                if found[0] is None
                else [((name or b"").lower(), b" ".join((value or b"").split())) for name, value in found[0]]
            )
            theirs = [
                (name, b" ".join(value.split()))
                for name, value in expected
                if name != b"content-length" and name != b"transfer-encoding"
            ]
            rest = None if ours is None else [pair for pair in ours if pair[0] not in (b"content-length", b"transfer-encoding")]
            if rest != theirs:  # h11 rewrites those two
                raise Misbehaved(f"{rest} where h11 says {theirs}", raw)
        return raw

    return once


# --- compressed contents


def permessage_deflate() -> Target:
    """Compressed messages: as zlib inflates them, however they are cut; and after a hole nothing that is wrong."""

    def once(randomness: random.Random) -> bytes:
        takeover = randomness.random() < 0.7
        Agreement(
            changed(b'permessage-deflate; server_no_context_takeover; client_max_window_bits="9"', randomness).decode("latin-1")
        )
        compressor = zlib.compressobj(randomness.choice([1, 6, 9]), zlib.DEFLATED, -randomness.choice([9, 12, 15]))
        inflater, late = Inflater(takeover), Inflater(True)
        late.lose()
        other = zlib.decompressobj(-15)
        log = b""
        is_valid = True  # a sender that breaks the rules need not be understood after a hole
        for number in range(randomness.randint(1, 6)):
            if not takeover:
                compressor, other = zlib.compressobj(wbits=-15), zlib.decompressobj(-15)
            plain = _text(randomness, randomness.choice([0, 5, 300, 40_000]))
            wire = (compressor.compress(plain) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
            if randomness.random() < 0.3:
                wire = changed(wire, randomness)
                is_valid = False
            log += wire.hex().encode() + b"\n"
            try:
                expected: bytes | None = other.decompress(wire + b"\0\0\xff\xff", LONGEST)
                expected = None if other.eof or other.unconsumed_tail else expected
            except zlib.error:
                expected = None
            found = _inflated(inflater, wire, randomness)
            if expected is None or not wire:  # nothing is not a compressed message: it leaves a broken one as it is
                break
            if found != expected:
                raise Misbehaved(f"{found!r:.80} where zlib says {expected!r:.80}", log)
            if takeover and number > 0 and is_valid:
                _check_late(late, wire, expected, randomness, log)
        return log

    return once


def _inflated(inflater: Inflater, wire: bytes, randomness: random.Random) -> bytes | None:
    """A message as it is inflated from pieces; None where it is not."""
    inflater.begin()
    edges = [0, *sorted(randomness.randint(0, len(wire)) for _ in range(randomness.randrange(4))), len(wire)]
    result = b""
    for number, (start, end) in enumerate(pairwise(edges)):
        inflater.write(wire[start:end], number == len(edges) - 2)
        while output := inflater.read():
            result += output
    inflater.end()
    return result if inflater.fault is None and inflater.is_known else None


def _check_late(late: Inflater, wire: bytes, expected: bytes, randomness: random.Random, log: bytes) -> None:
    found = _inflated(late, wire, randomness)
    if found is not None and found != expected:
        raise Misbehaved(f"late: {found!r:.80} where it was {expected!r:.80}", log)


def _encoders() -> dict[bytes, Callable[[bytes], bytes]]:
    return {b"gzip": gzip.compress, b"deflate": zlib.compress, b"br": brotli.compress, b"zstd": zstd.compress}


def _decoders() -> dict[bytes, Callable[[bytes], bytes]]:
    return {b"gzip": gzip.decompress, b"deflate": zlib.decompress, b"br": brotli.decompress, b"zstd": zstd.decompress}


def content_codings() -> Target:
    """Coded contents: alike however they are cut, and as the libraries decode them whole."""
    encoders, decoders = _encoders(), _decoders()

    def once(randomness: random.Random) -> bytes:
        codings = [randomness.choice(list(encoders)) for _ in range(randomness.choice([1, 1, 1, 2]))]
        plain = _text(randomness, randomness.choice([0, 10, 3_000, 3_000, 30_000]))
        data = plain
        for coding in codings:
            data = encoders[coding](data)
        sent = changed(data, randomness) if randomness.random() < 0.8 else data
        results = []
        for pieces in ([sent], cut(sent, randomness)):
            content = Content("store", b", ".join(codings))
            for piece in pieces:
                content.write(piece)
            content.finish(True)
            results.append((content.kept, content.sha256, content.fault))
        if results[0] != results[1]:
            raise Misbehaved(f"{results[0]!r:.120} or, cut otherwise, {results[1]!r:.120}", sent)
        if sent == data and results[0][0] != plain:
            raise Misbehaved(f"{results[0]!r:.120} where it was {plain!r:.80}", sent)
        if len(codings) == 1 and sent != data and results[0][2] is None:
            try:
                expected = decoders[codings[0]](sent)
            except Exception:  # each library has its own; what it refuses and unmux reads is a prefix or a member
                return sent
            if results[0][0] is not None and len(expected) < limits.CONTENT_KEPT_BYTES and results[0][0] != expected:
                raise Misbehaved(f"{results[0]!r:.120} where the library says {expected!r:.80}", sent)
        return sent

    return once


# --- TLS

KEY_LOG = (
    b"# comment\r\nCLIENT_RANDOM " + b"ab" * 32 + b" " + b"cd" * 48 + b"\n"
    b"CLIENT_TRAFFIC_SECRET_0 "
    + b"12" * 32
    + b" "
    + b"34" * 32
    + b"\nSERVER_HANDSHAKE_TRAFFIC_SECRET "
    + b"12" * 32
    + b" "
    + b"56" * 48
    + b"\nRSA "
    + b"77" * 8
    + b" "
    + b"99" * 48
    + b"\nRSA Session-ID:"
    + b"44" * 32
    + b" Master-Key:"
    + b"55" * 48
    + b"\n"
    b"PMS_CLIENT_RANDOM " + b"ef" * 32 + b" " + b"01" * 48 + b"\n"
)


def key_log() -> Target:
    """Key logs: what is in a line does not depend on the lines around it."""

    def once(randomness: random.Random) -> bytes:
        text = changed(KEY_LOG * randomness.randint(1, 3), randomness)
        whole, parts = KeyLog(), KeyLog()
        whole.add(text)
        for line in text.splitlines():
            parts.add(line)
        randoms = [bytes.fromhex(digits * 32) for digits in ("ab", "12", "ef")]
        found = [
            (log.bad_lines, [known and [known.get(kind) for kind in range(7)] for known in map(log.of_random, randoms)])
            for log in (whole, parts)
        ]
        if found[0] != found[1]:
            raise Misbehaved(f"{found[0]} or, line by line, {found[1]}", text)
        return text

    return once


def _hello(randomness: random.Random, is_client: bool) -> bytes:
    extensions = [
        (0, b"\0\x0e\0\0\x0bexample.org"), (16, b"\0\x0c\x02h2\x08http/1.1"), (43, b"\x04\x03\x04\x03\x03" if is_client else b"\3\4"),
        (10, b"\0\4\0\x1d\0\x17"), (13, b"\0\4\4\3\x08\4"), (51, b"\0\x1d\0\x20" + bytes(32)), (0x2A2A, b""), (23, b""), (35, b""),
    ]  # fmt: skip
    chosen = randomness.sample(extensions, randomness.randrange(len(extensions)))
    body = b"".join(kind.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data for kind, data in chosen)
    session = randomness.randbytes(randomness.choice([0, 32]))
    head = b"\3\3" + randomness.randbytes(32) + bytes([len(session)]) + session
    suites = b"\0\x06\x13\x01\xc0\x2f\x0a\x0a\x01\x00" if is_client else b"\x13\x01\x00"
    return head + suites + len(body).to_bytes(2, "big") + body


def tls_handshake() -> Target:
    """Handshake messages: alike however their records are cut; their bodies are read or refused."""
    readers: list[Callable[[bytes], object]] = [
        ClientHello,
        ServerHello,
        EncryptedExtensions,
        CertificateFacts,
        key_exchange_group,
        lambda body: certificates(body, True),
        lambda body: certificates(body, False),
    ]

    def once(randomness: random.Random) -> bytes:
        bodies = [changed(_hello(randomness, randomness.random() < 0.6), randomness) for _ in range(3)]
        for body in bodies:
            for read in readers:
                with suppress(ProtocolError):
                    read(body)
        data = b"".join(bytes([randomness.choice([1, 2, 11, 20])]) + len(body).to_bytes(3, "big") + body for body in bodies)
        data = changed(data, randomness)
        results: list[list[tuple[int, bytes]]] = []
        for pieces in ([data], cut(data, randomness)):
            reader = MessageReader()
            messages: list[tuple[int, bytes]] = []
            for number, piece in enumerate(pieces):
                with suppress(ProtocolError):
                    messages += [(message.kind, message.body) for message in reader.read(piece, number, number)]
            results.append(messages)
        if results[0] != results[1]:
            raise Misbehaved(f"{results[0]!r:.120} or, cut otherwise, {results[1]!r:.120}", data)
        return data

    return once


TARGETS: dict[str, Callable[[], Target]] = {
    "hpack": hpack,
    "huffman": huffman_code,
    "http1_heads": http1_heads,
    "permessage_deflate": permessage_deflate,
    "content_codings": content_codings,
    "key_log": key_log,
    "tls_handshake": tls_handshake,
}
