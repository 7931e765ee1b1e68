"""From secrets to keys: the key schedule of TLS 1.3 (RFC 8446 section 7) and that of TLS 1.2 (RFC 5246 sections 5, 6.3 and 8.1).

``digest`` is the name of the cipher suite's hash, ``sha256`` or ``sha384``.
"""

import hmac

from mypy_extensions import i64


def expand_label(secret: bytes, label: bytes, context: bytes, length: i64, digest: str) -> bytes:
    """HKDF-Expand-Label (RFC 8446 section 7.1)."""
    full = b"tls13 " + label
    what = bytes([length >> 8, length & 0xFF, len(full)]) + full + bytes([len(context)]) + context
    output = b""
    block = b""
    count: i64 = 1
    while len(output) < length:  # HKDF-Expand (RFC 5869 section 2.3)
        block = hmac.digest(secret, block + what + bytes([count]), digest)
        output += block
        count += 1
    return output[:length]


def next_traffic_secret(secret: bytes, digest: str) -> bytes:
    """The secret of the next generation, after a KeyUpdate (RFC 8446 section 7.2)."""
    return expand_label(secret, b"traffic upd", b"", len(secret), digest)


def pseudorandom(secret: bytes, label: bytes, seed: bytes, length: i64, digest: str) -> bytes:
    """The PRF of TLS 1.2 (RFC 5246 section 5)."""
    seed = label + seed
    output = b""
    step = seed
    while len(output) < length:
        step = hmac.digest(secret, step, digest)
        output += hmac.digest(secret, step + seed, digest)
    return output[:length]


def master_secret(premaster: bytes, client_random: bytes, server_random: bytes, digest: str) -> bytes:
    """The master secret of a session (RFC 5246 section 8.1)."""
    return pseudorandom(premaster, b"master secret", client_random + server_random, 48, digest)


def extended_master_secret(premaster: bytes, session_hash: bytes, digest: str) -> bytes:
    """The master secret where both ends offered the extension (RFC 7627 section 4); the hash is that of the handshake so far."""
    return pseudorandom(premaster, b"extended master secret", session_hash, 48, digest)


def key_block(master: bytes, client_random: bytes, server_random: bytes, length: i64, digest: str) -> bytes:
    """What the keys of TLS 1.2 are cut from (RFC 5246 section 6.3)."""
    return pseudorandom(master, b"key expansion", server_random + client_random, length, digest)
