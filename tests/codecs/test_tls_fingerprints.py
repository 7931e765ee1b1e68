"""The published vectors of JA3 and JA4."""

from analyzer.codecs.tls_fingerprints import ja3, ja3_text, ja4
from analyzer.codecs.tls_handshake import ClientHello


def numbers(values: list[int]) -> bytes:
    return b"".join(value.to_bytes(2, "big") for value in values)


def prefixed(data: bytes, size: int) -> bytes:
    return len(data).to_bytes(size, "big") + data


def hello(version: int, suites: list[int], extensions: list[tuple[int, bytes]]) -> ClientHello:
    body = version.to_bytes(2, "big") + bytes(32) + b"\0" + prefixed(numbers(suites), 2) + b"\x01\0"
    if extensions:
        body += prefixed(b"".join(kind.to_bytes(2, "big") + prefixed(data, 2) for kind, data in extensions), 2)
    return ClientHello(body)


def server_name(name: bytes) -> tuple[int, bytes]:
    return 0, prefixed(b"\0" + prefixed(name, 2), 2)


def alpn(*names: bytes) -> tuple[int, bytes]:
    return 16, prefixed(b"".join(prefixed(name, 1) for name in names), 2)


def test_ja3_gives_the_examples_of_its_description() -> None:
    first = hello(
        769,
        [47, 53, 5, 10, 49161, 49162, 49171, 49172, 50, 56, 19, 4],
        [server_name(b"example.org"), (10, prefixed(numbers([23, 24, 25]), 2)), (11, prefixed(b"\0", 1))],
    )
    assert ja3_text(first) == "769,47-53-5-10-49161-49162-49171-49172-50-56-19-4,0-10-11,23-24-25,0"
    assert ja3(first) == "ada70206e40642a3e4461f35503241d5"
    second = hello(769, [4, 5, 10, 9, 100, 98, 3, 6, 19, 18, 99], [])
    assert ja3_text(second) == "769,4-5-10-9-100-98-3-6-19-18-99,,,"
    assert ja3(second) == "de350869b8c85de67a350c8d186f11e6"


def test_ja4_gives_the_example_of_its_description_in_whatever_order_the_extensions_come() -> None:
    suites = [
        0x3A3A,
        0x1301,
        0x1302,
        0x1303,
        0xC02B,
        0xC02F,
        0xC02C,
        0xC030,
        0xCCA9,
        0xCCA8,
        0xC013,
        0xC014,
        0x9C,
        0x9D,
        0x2F,
        0x35,
    ]
    algorithms = prefixed(numbers([0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601]), 2)
    versions = prefixed(numbers([0x1A1A, 0x0304, 0x0303]), 1)
    empty = [(number, b"") for number in (0x05, 0x12, 0x15, 0x17, 0x1B, 0x23, 0x2D, 0x33, 0x4469, 0xFF01)]
    lists = [(0x0A, prefixed(numbers([0x2A2A, 29]), 2)), (0x0B, b"\x01\0"), (0x0D, algorithms), (0x2B, versions)]
    extensions = [(0x2A2A, b""), server_name(b"example.org"), *empty, *lists, alpn(b"h2", b"http/1.1"), (0x5A5A, b"\0")]
    assert ja4(hello(0x0303, suites, extensions)) == "t13d1516h2_8daaf6152771_e5627efa2ab1"
    assert ja4(hello(0x0303, suites, extensions[::-1])) == "t13d1516h2_8daaf6152771_e5627efa2ab1"


def test_ja4_says_what_is_not_there() -> None:
    assert ja4(hello(0x0302, [], [])) == "t11i000000_000000000000_000000000000"
    named = ja4(hello(0x0303, [0x2F], [alpn(b"\xab\xcd"), server_name(b"a")]))
    assert named.startswith("t12d0102ad_")
    assert ja4(hello(0x0303, [0x2F], [alpn(b"h")])).startswith("t12i0101hh_")
