import gc

from analyzer import limits
from analyzer.codecs.http1_heads import Head, HeadReader
from analyzer.dissector import TO_CLIENT, TO_SERVER, Context
from analyzer.protocols.http1 import Http1Dissector
from analyzer.scope import Scope
from analyzer.stream import Stream

OK = b"HTTP/1.1 204 No Content\r\nX: %d\r\n\r\n"


def heads_in_memory() -> int:
    return sum(isinstance(found, Head) for found in gc.get_objects())


def test_equal_heads_are_parsed_once() -> None:
    reader = HeadReader({})
    raw = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    assert reader.request(raw) is reader.request(raw)
    assert reader.response(OK % 1) is reader.response(OK % 1)
    long = OK[:-2] % 1 + b"Y: %s\r\n\r\n" % bytes(limits.HTTP1_CACHED_HEAD_BYTES)
    assert reader.response(long) is not reader.response(long)


def test_heads_remembered_do_not_grow_with_the_number_of_connections() -> None:
    before = heads_in_memory()
    context = Context([Http1Dissector])
    streams = []
    for number in range(3 * limits.HTTP1_CACHED_HEADS):
        stream = Stream(Scope(context, number, "tcp", 80, roles_proven=True), name="http1")
        stream.feed(TO_SERVER, b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number, 100, 100, 1)
        stream.feed(TO_CLIENT, OK % number, 200, 200, 2)
        streams.append(stream)
    assert heads_in_memory() - before <= 2 * limits.HTTP1_CACHED_HEADS
