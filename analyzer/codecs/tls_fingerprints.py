"""JA3 and JA4: what a ClientHello tells of the program that sent it.

JA3 is the MD5 of a list of numbers (github.com/salesforce/ja3); JA4 is readable in its first part and does not depend on the order
in which clients shuffle their extensions (github.com/FoxIO-LLC/ja4, technical_details/JA4.md).
"""

import hashlib

from analyzer.codecs.tls_handshake import ALPN, SERVER_NAME, ClientHello
from analyzer.codecs.tls_names import is_grease

_VERSIONS = {0x0304: "13", 0x0303: "12", 0x0302: "11", 0x0301: "10", 0x0300: "s3", 0x0002: "s2"}
_HASH_CHARACTERS = 12
_EMPTY_HASH = "0" * _HASH_CHARACTERS


def ja3_text(hello: ClientHello) -> str:
    """What JA3 is the MD5 of."""
    lists = [
        _without_grease(hello.cipher_suites),
        _without_grease(hello.extensions),
        _without_grease(hello.groups),
        list(hello.point_formats),
    ]
    return ",".join([str(hello.legacy_version)] + ["-".join([str(number) for number in numbers]) for numbers in lists])


def ja3(hello: ClientHello) -> str:
    """The JA3 fingerprint."""
    return hashlib.md5(ja3_text(hello).encode(), usedforsecurity=False).hexdigest()


def ja4(hello: ClientHello) -> str:
    """The JA4 fingerprint of a ClientHello over TCP."""
    suites = _without_grease(hello.cipher_suites)
    extensions = _without_grease(hello.extensions)
    versions = _without_grease(hello.versions)
    version = _VERSIONS.get(max(versions) if versions else int(hello.legacy_version), "00")
    name = "d" if SERVER_NAME in extensions else "i"
    first = f"t{version}{name}{min(len(suites), 99):02d}{min(len(extensions), 99):02d}{_protocol_ends(hello)}"
    hashed = ",".join(sorted([f"{number:04x}" for number in extensions if number != SERVER_NAME and number != ALPN]))
    algorithms = ",".join([f"{number:04x}" for number in _without_grease(hello.signature_algorithms)])
    if algorithms:
        hashed += f"_{algorithms}"
    return f"{first}_{_hash(','.join(sorted([f'{number:04x}' for number in suites])))}_{_hash(hashed if extensions else '')}"


def _without_grease(numbers: list[int]) -> list[int]:
    return [number for number in numbers if not is_grease(number)]


def _protocol_ends(hello: ClientHello) -> str:
    """The first and last character of the first protocol that ALPN names; of its hexadecimal form where they are no letters or digits."""
    protocol = hello.first_protocol
    if not protocol:
        return "00"
    ends = protocol[:1] + protocol[-1:]
    return ends.decode() if ends.isalnum() else ends[:1].hex()[0] + ends[1:].hex()[1]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_CHARACTERS] if text else _EMPTY_HASH
