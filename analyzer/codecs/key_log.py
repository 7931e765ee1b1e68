"""Key logs of TLS in the NSS format (RFC 9850): lines of a label, what identifies the connection, and a secret.

Browsers, curl, OpenSSL, Go, Java agents and eCapture write them, as files or as pcapng Decryption Secrets Blocks. Traffic
secrets above generation 0 are not kept: they follow from the one before (RFC 8446 section 7.2).
"""

from binascii import Error as NotHexadecimalError
from binascii import unhexlify
from typing import Final

from mypy_extensions import i64

from analyzer import limits
from analyzer.memory import Memory

RANDOM_BYTES: Final = 32
MASTER_SECRET_BYTES: Final = 48
ENCRYPTED_PREMASTER_BYTES: Final = 8  # its first ones identify it

MASTER: Final = 0
PREMASTER: Final = 1
CLIENT_EARLY: Final = 2
CLIENT_HANDSHAKE: Final = 3
SERVER_HANDSHAKE: Final = 4
CLIENT_TRAFFIC: Final = 5
SERVER_TRAFFIC: Final = 6
_KINDS: Final = 7
_SESSION_ID: Final = b"Session-ID:"

_LABELS: Final = {
    b"CLIENT_RANDOM": MASTER,
    b"PMS_CLIENT_RANDOM": PREMASTER,
    b"CLIENT_EARLY_TRAFFIC_SECRET": CLIENT_EARLY,
    b"CLIENT_HANDSHAKE_TRAFFIC_SECRET": CLIENT_HANDSHAKE,
    b"SERVER_HANDSHAKE_TRAFFIC_SECRET": SERVER_HANDSHAKE,
    b"CLIENT_TRAFFIC_SECRET_0": CLIENT_TRAFFIC,
    b"SERVER_TRAFFIC_SECRET_0": SERVER_TRAFFIC,
}
_EXPORTERS: Final = (b"EXPORTER_SECRET", b"EARLY_EXPORTER_SECRET")  # from which no record's keys follow
_SECRET_SIZES: Final = (32, 48)  # of SHA-256 and SHA-384


class Secrets:
    """What is known of one connection; an unknown secret is empty."""

    def __init__(self) -> None:
        self._known: list[bytes] = [b""] * _KINDS

    def get(self, kind: i64) -> bytes:
        """The secret of a kind."""
        return self._known[kind]

    def put(self, kind: i64, secret: bytes) -> bool:
        """Keep a secret; False where another one is known."""
        known = self._known[kind]
        if not known:
            self._known[kind] = secret
        return not known or known == secret


class KeyLog:
    """All secrets given, by what identifies their connection."""

    def __init__(self, memory: Memory | None = None) -> None:
        """``memory`` bounds what is kept."""
        self._most_bytes = (Memory() if memory is None else memory).key_bytes
        self.bad_lines: i64 = 0  # neither a secret, nor a comment, nor a label for something else
        self._randoms: dict[bytes, Secrets] = {}
        self._sessions: dict[bytes, bytes] = {}  # session ID -> master secret
        self._premasters: dict[bytes, bytes] = {}  # first bytes of the encrypted premaster secret -> premaster secret
        self.is_given = False  # a file was named, which may be empty
        self.is_growing = False  # more may come
        self.version: i64 = 0  # changes whenever lines come
        self._followed: list[list[bytes]] = []
        self._has_premasters = False
        self._size: i64 = 0
        self._found: set[bytes] = set()  # what was asked for and known: client randoms,
        self._found_sessions: set[bytes] = set()  # session IDs,
        self._found_premasters: set[bytes] = set()  # beginnings of encrypted premaster secrets

    def follow(self, blocks: list[bytes], is_growing: bool) -> None:
        """Take key log text out of a list, whenever something is looked for; ``is_growing`` says that others add to it."""
        self._followed.append(blocks)
        self.is_growing = is_growing

    def refresh(self) -> i64:
        """Take in what has come; returns a number that changes whenever something has."""
        self._drain()
        return self.version

    def has_premasters(self) -> bool:
        """Whether a premaster secret is known, from which a master secret is yet to be made."""
        self._drain()
        return self._has_premasters

    def is_empty(self) -> bool:
        """Whether no secret is known."""
        self._drain()
        return not (self._randoms or self._sessions or self._premasters)

    def of_random(self, client_random: bytes) -> Secrets | None:
        """The secrets of the connection whose ClientHello had this random."""
        self._drain()
        found = self._randoms.get(client_random)
        if found is not None:
            self._found.add(client_random)
        return found

    def of_session(self, session_id: bytes) -> bytes:
        """The master secret of a session, empty where it is not known."""
        self._drain()
        found = self._sessions.get(session_id, b"")
        if found:
            self._found_sessions.add(session_id)
        return found

    def of_premaster(self, encrypted: bytes) -> bytes:
        """The premaster secret that was sent encrypted like this, empty where it is not known."""
        self._drain()
        beginning = encrypted[:ENCRYPTED_PREMASTER_BYTES]
        found = self._premasters.get(beginning, b"")
        if found:
            self._found_premasters.add(beginning)
        return found

    def was_found(self, line: bytes) -> bool:
        """Whether the secret in a line identifies a connection that was asked for, and helps to decrypt its records."""
        words = line.split()
        if len(words) < 3 or words[0] in _EXPORTERS:
            return False
        if words[0] != b"RSA":
            return _bytes_of(words[1]) in self._found
        if words[1].startswith(_SESSION_ID):
            return _bytes_of(words[1][len(_SESSION_ID) :]) in self._found_sessions
        return _bytes_of(words[1]) in self._found_premasters

    def add(self, text: bytes) -> None:
        """Take in lines."""
        self.version += 1
        for line in text.splitlines():
            stripped = line.strip()
            if stripped and not stripped.startswith(b"#") and not self._take(stripped.split()):
                self.bad_lines += 1

    def _drain(self) -> None:
        for blocks in self._followed:
            while blocks:
                self.add(blocks.pop(0))

    def _take(self, words: list[bytes]) -> bool:
        """Keep the secret of a line; False where it is malformed or contradicts another one."""
        if words[0] == b"RSA" and len(words) in (3, 4):
            return self._take_rsa(words)
        if len(words) != 3:
            return False
        random = _bytes_of(words[1])
        secret = _bytes_of(words[2])
        if not random or not secret:
            return False
        kind: i64 = _LABELS.get(words[0], -1)
        if kind < 0:
            return True
        sizes = (MASTER_SECRET_BYTES,) if kind == MASTER else _SECRET_SIZES
        if len(random) != RANDOM_BYTES or (kind != PREMASTER and len(secret) not in sizes):
            return False
        known = self._randoms.get(random)
        if known is None:
            known = Secrets()
            if not self._may_add(len(random) + len(secret)):
                return False
            self._randoms[random] = known
        if kind == PREMASTER:
            self._has_premasters = True
        return known.put(kind, secret)

    def _take_rsa(self, words: list[bytes]) -> bool:
        """``RSA Session-ID:… Master-Key:…`` of OpenSSL, and ``RSA … …`` with an encrypted premaster secret's beginning."""
        if words[1].startswith(_SESSION_ID) and words[2].startswith(b"Master-Key:"):
            session_id = _bytes_of(words[1][len(_SESSION_ID) :])
            master = _bytes_of(words[2][11:])
            if not session_id or len(master) != MASTER_SECRET_BYTES or not self._may_add(len(session_id)):
                return False
            return self._sessions.setdefault(session_id, master) == master
        encrypted = _bytes_of(words[1])
        premaster = _bytes_of(words[2])
        if len(words) != 3 or len(encrypted) != ENCRYPTED_PREMASTER_BYTES or not premaster:
            return False
        if len(premaster) > limits.TLS_SECRET_BYTES or not self._may_add(len(premaster)):
            return False
        self._has_premasters = True
        return self._premasters.setdefault(encrypted, premaster) == premaster

    def _may_add(self, size: i64) -> bool:
        self._size += size + limits.TLS_KEYS_BYTES_EACH
        return self._size <= self._most_bytes


def _bytes_of(hexadecimal: bytes) -> bytes:
    """What hexadecimal digits stand for; nothing where they are none or too many."""
    if len(hexadecimal) > 2 * limits.TLS_SECRET_BYTES:
        return b""
    try:
        return unhexlify(hexadecimal)
    except NotHexadecimalError:
        return b""
