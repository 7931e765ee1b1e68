"""What protects records of TLS 1.3 and 1.2: the ciphers are those of ``cryptography``, put together as the standards say.

A suite's name says all that has to be known of it. Opening a record always verifies it: what comes back was written by one of
the two ends, as the record with that number.
"""

import hmac
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from mypy_extensions import i64

from analyzer.codecs.tls_keys import expand_label, key_block
from analyzer.codecs.tls_names import SUITE_NAMES

_CBC_KEY_BYTES: Final = {
    "AES_128_CBC": 16,
    "AES_256_CBC": 32,
    "3DES_EDE_CBC": 24,
}
_MACS: Final = {"SHA": "sha1", "SHA256": "sha256", "SHA384": "sha384"}
_IMPLICIT_NONCE_BYTES: Final = 4  # RFC 5288 section 3
_EXPLICIT_NONCE_BYTES: Final = 8
_NONCE_BYTES: Final = 12
_MOST_PADDING: Final = 256


class Suite:
    """A cipher suite taken apart: ``bulk`` such as AES_128_GCM, ``digest`` of the key schedule, ``mac`` of CBC (else empty)."""

    def __init__(self, bulk: str, digest: str, key_bytes: i64, tag_bytes: i64, mac: str) -> None:
        self.bulk = bulk
        self.digest = digest
        self.key_bytes = key_bytes
        self.tag_bytes = tag_bytes
        self.mac = mac


def find_suite(number: i64) -> Suite | None:
    """The suite with a number, None where its cipher is not supported."""
    name = SUITE_NAMES.get(number, "")
    algorithm = name.rpartition("_WITH_")[2] if "_WITH_" in name else name.removeprefix("TLS_")
    bulk, _, last = algorithm.rpartition("_")
    if last not in _MACS:  # the CCM suites of RFC 6655 name no hash
        bulk, last = algorithm, "SHA256"
    digest = "sha384" if last == "SHA384" else "sha256"
    if bulk in _CBC_KEY_BYTES:
        return Suite(bulk, digest, _CBC_KEY_BYTES[bulk], 0, _MACS[last])
    if bulk == "CHACHA20_POLY1305":
        return Suite(bulk, digest, 32, 16, "")
    if bulk in ("AES_128_GCM", "AES_256_GCM", "AES_128_CCM", "AES_256_CCM", "AES_128_CCM_8", "AES_256_CCM_8"):
        return Suite(bulk, digest, 16 if "128" in bulk else 32, 8 if bulk.endswith("_8") else 16, "")
    return None


def _aead(suite: Suite, key: bytes) -> AESGCM | AESCCM | ChaCha20Poly1305:
    if suite.bulk == "CHACHA20_POLY1305":
        return ChaCha20Poly1305(key)
    if "GCM" in suite.bulk:
        return AESGCM(key)
    return AESCCM(key, suite.tag_bytes)


class Protection:
    """What protects the records of one direction under one key.

    A record of n bytes holds between n - ``most_expansion`` and n - ``least_expansion`` bytes of content.
    """

    def __init__(self, least_expansion: i64, most_expansion: i64) -> None:
        self.least_expansion = least_expansion
        self.most_expansion = most_expansion

    def open(self, number: i64, kind: i64, version: i64, record: bytes) -> bytes | None:
        """The content of the record with this number, ``kind`` and ``version`` being those of its header; None where it is not authentic."""
        return None


class Tls13Protection(Protection):
    """RFC 8446 section 5.2. The content ends with its type, which padding may follow."""

    def __init__(self, suite: Suite, secret: bytes) -> None:
        """``secret`` is a traffic secret."""
        super().__init__(suite.tag_bytes + 1, 1 << 16)
        self._aead = _aead(suite, expand_label(secret, b"key", b"", suite.key_bytes, suite.digest))
        self._iv: int = int.from_bytes(expand_label(secret, b"iv", b"", _NONCE_BYTES, suite.digest), "big")

    def open(self, number: i64, kind: i64, version: i64, record: bytes) -> bytes | None:
        """The content with its type and padding."""
        sequence: int = number
        header: int = (kind << 32) | (version << 16) | len(record)
        try:
            return self._aead.decrypt((self._iv ^ sequence).to_bytes(_NONCE_BYTES, "big"), record, header.to_bytes(5, "big"))
        except (InvalidTag, ValueError):  # ValueError: shorter than its tag
            return None


def _additional_data(number: i64, kind: i64, version: i64, length: i64) -> bytes:
    """What the AEAD and the MAC of TLS 1.2 cover beside the content (RFC 5246 sections 6.2.3.1 and 6.2.3.3)."""
    sequence: int = number
    header: int = (kind << 32) | (version << 16) | length
    return ((sequence << 40) | header).to_bytes(13, "big")


class ExplicitNonceProtection(Protection):
    """AES-GCM (RFC 5288) and AES-CCM (RFC 6655) of TLS 1.2: eight bytes of the nonce come with the record."""

    def __init__(self, suite: Suite, key: bytes, salt: bytes) -> None:
        expansion = _EXPLICIT_NONCE_BYTES + suite.tag_bytes
        super().__init__(expansion, expansion)
        self._aead = _aead(suite, key)
        self._salt = salt

    def open(self, number: i64, kind: i64, version: i64, record: bytes) -> bytes | None:
        """The content."""
        length = len(record) - self.least_expansion
        if length < 0:
            return None
        nonce = self._salt + record[:_EXPLICIT_NONCE_BYTES]
        try:
            return self._aead.decrypt(nonce, record[_EXPLICIT_NONCE_BYTES:], _additional_data(number, kind, version, length))
        except InvalidTag:
            return None


class ImplicitNonceProtection(Protection):
    """ChaCha20-Poly1305 of TLS 1.2 (RFC 7905 section 2)."""

    def __init__(self, suite: Suite, key: bytes, iv: bytes) -> None:
        super().__init__(suite.tag_bytes, suite.tag_bytes)
        self._aead = _aead(suite, key)
        self._iv: int = int.from_bytes(iv, "big")

    def open(self, number: i64, kind: i64, version: i64, record: bytes) -> bytes | None:
        """The content."""
        length = len(record) - self.least_expansion
        if length < 0:
            return None
        sequence: int = number
        nonce = (self._iv ^ sequence).to_bytes(_NONCE_BYTES, "big")
        try:
            return self._aead.decrypt(nonce, record, _additional_data(number, kind, version, length))
        except InvalidTag:
            return None


class CbcProtection(Protection):
    """A block cipher of TLS 1.2 with a MAC: of the content (RFC 5246 section 6.2.3.2), or of the ciphertext (RFC 7366)."""

    def __init__(self, suite: Suite, key: bytes, mac_key: bytes, encrypts_first: bool) -> None:
        self._algorithm = _block_cipher(suite, key)
        self._block_bytes: i64 = self._algorithm.block_size // 8
        self._mac = suite.mac
        self._mac_key = mac_key
        self._mac_bytes: i64 = len(hmac.digest(b"", b"", suite.mac))
        self._encrypts_first = encrypts_first
        least = self._block_bytes + self._mac_bytes + 1
        super().__init__(least, least - 1 + _MOST_PADDING)

    def open(self, number: i64, kind: i64, version: i64, record: bytes) -> bytes | None:
        """The content."""
        end: i64 = len(record)
        if self._encrypts_first:
            end -= self._mac_bytes
            if end < 0 or not self._is_authentic(number, kind, version, record[:end], record[end:]):
                return None
        if end < 2 * self._block_bytes or end % self._block_bytes:
            return None
        decryptor = Cipher(self._algorithm, modes.CBC(record[: self._block_bytes])).decryptor()
        plain = decryptor.update(record[self._block_bytes : end])
        padding: i64 = plain[-1]
        length = len(plain) - padding - 1
        if length < 0 or plain[length:] != bytes([padding]) * (padding + 1):
            return None
        if self._encrypts_first:
            return plain[:length]
        content_end = length - self._mac_bytes
        if content_end < 0:
            return None
        content = plain[:content_end]
        return content if self._is_authentic(number, kind, version, content, plain[content_end:length]) else None

    def _is_authentic(self, number: i64, kind: i64, version: i64, data: bytes, code: bytes) -> bool:
        covered = _additional_data(number, kind, version, len(data)) + data
        return hmac.digest(self._mac_key, covered, self._mac) == code


def _block_cipher(suite: Suite, key: bytes) -> AES | TripleDES:
    return AES(key) if suite.bulk.startswith("AES") else TripleDES(key)


def tls12_protections(
    suite: Suite, master: bytes, client_random: bytes, server_random: bytes, encrypts_first: bool
) -> list[Protection]:
    """What protects both directions under a master secret, that towards the server first (RFC 5246 section 6.3)."""
    mac_bytes: i64 = len(hmac.digest(b"", b"", suite.mac)) if suite.mac else 0
    iv_bytes: i64 = 0
    if not suite.mac:
        iv_bytes = _NONCE_BYTES if suite.bulk == "CHACHA20_POLY1305" else _IMPLICIT_NONCE_BYTES
    block = key_block(master, client_random, server_random, 2 * (mac_bytes + suite.key_bytes + iv_bytes), suite.digest)
    found: list[Protection] = []
    for direction in range(2):
        side: i64 = direction
        mac_key = block[side * mac_bytes : (side + 1) * mac_bytes]
        at = 2 * mac_bytes + side * suite.key_bytes
        key = block[at : at + suite.key_bytes]
        at = 2 * (mac_bytes + suite.key_bytes) + side * iv_bytes
        iv = block[at : at + iv_bytes]
        if suite.mac:
            found.append(CbcProtection(suite, key, mac_key, encrypts_first))
        elif iv_bytes == _NONCE_BYTES:
            found.append(ImplicitNonceProtection(suite, key, iv))
        else:
            found.append(ExplicitNonceProtection(suite, key, iv))
    return found
