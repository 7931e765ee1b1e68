"""What a TLS handshake settles: what both hellos said, and the keys that follow from it with a key log."""

import hashlib
from enum import Enum
from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

from analyzer import limits
from analyzer.codecs.key_log import (
    CLIENT_EARLY,
    CLIENT_HANDSHAKE,
    CLIENT_TRAFFIC,
    MASTER,
    PREMASTER,
    SERVER_HANDSHAKE,
    SERVER_TRAFFIC,
    KeyLog,
)
from analyzer.codecs.tls_handshake import (
    ENCRYPT_THEN_MAC,
    EXTENDED_MASTER_SECRET,
    ClientHello,
    ServerHello,
)
from analyzer.codecs.tls_keys import extended_master_secret, master_secret
from analyzer.codecs.tls_names import version_name

if TYPE_CHECKING:  # ciphers take long to load: whoever needs them does that
    from analyzer.codecs.tls_ciphers import Protection, Suite

NO_CLIENT_HELLO: Final = "ClientHello not captured"
NO_SERVER_HELLO: Final = "ServerHello not captured"
NO_KEYS: Final = "no keys given"
NO_KEY: Final = "no key for this client random"
NO_CIPHER: Final = "cipher suite not supported"
WRONG_KEYS: Final = "the keys given do not fit"
LOST: Final = "records missing"
NEVER_ANSWERED: Final = "no ServerHello was sent"
NOT_ALL: Final = "not all keys given, or records damaged"


class Knowledge(Enum):
    """Whether something is known, may still come, or never will."""

    AWAITED = 0
    KNOWN = 1
    MISSING = 2


class Session:
    """One handshake, the first of a connection or a renegotiation."""

    def __init__(self) -> None:
        self.client_hello: ClientHello | None = None
        self.server_hello: ServerHello | None = None
        self.client_messages: list[bytes] = []  # up to ClientKeyExchange; for an extended master secret
        self.server_messages: list[bytes] = []
        self.said_bytes: i64 = 0  # of these messages
        self.encrypted_premaster = b""  # its first bytes, which identify it
        self.has_key_exchange = False
        self.reason: str | None = None  # why nothing can be decrypted
        self._protections: list["Protection"] = []

    def needs_key_exchange(self, log: KeyLog) -> bool:
        """Whether the ClientKeyExchange must be seen before the keys are known."""
        hello = self.client_hello
        if hello is None or self.has_key_exchange:
            return False
        known = log.of_random(hello.random)
        return known is None or not known.get(MASTER)

    def lacks_key(self) -> bool:
        """Whether all that is missing is a key."""
        return self.reason in (NO_KEY, NO_KEYS)

    def suite(self) -> "Suite | None":
        """The cipher suite; None, and the reason, where records cannot be decrypted whatever the keys."""
        hello = self.server_hello
        self.reason = None
        if self.client_hello is None:
            self.reason = NO_CLIENT_HELLO
            return None
        if hello is None:
            self.reason = NO_SERVER_HELLO
            return None
        if not hello.is_tls13() and not hello.is_tls12():
            self.reason = f"{version_name(hello.version)} is not decrypted"
            return None
        from analyzer.codecs.tls_ciphers import find_suite

        suite = find_suite(hello.cipher_suite)
        if suite is None or (hello.is_tls13() and suite.mac):
            self.reason = NO_CIPHER
            return None
        return suite

    def traffic_secrets(self, log: KeyLog, is_server: bool) -> list[bytes]:
        """The secrets of TLS 1.3 by epoch; none, and the reason, where there is not one."""
        hello = self.client_hello
        assert hello is not None
        secrets = log.of_random(hello.random)
        if secrets is None:
            self.reason = NO_KEY if log.is_given or not log.is_empty() else NO_KEYS
            return []
        if is_server:
            found = [b"", secrets.get(SERVER_HANDSHAKE), secrets.get(SERVER_TRAFFIC)]
        else:
            found = [secrets.get(CLIENT_EARLY), secrets.get(CLIENT_HANDSHAKE), secrets.get(CLIENT_TRAFFIC)]
        if found[1] or found[2]:
            return found
        self.reason = NO_KEY
        return []

    def has_traffic_secrets(self, log: KeyLog) -> bool:
        """Whether the secrets of TLS 1.3 for content are known both ways; ends log those of the handshake sooner."""
        assert self.client_hello is not None
        known = log.of_random(self.client_hello.random)
        return known is not None and known.get(CLIENT_TRAFFIC) != b"" and known.get(SERVER_TRAFFIC) != b""

    def protections(self, log: KeyLog) -> "list[Protection]":
        """What protects both directions of TLS 1.2; none, and the reason, where that is not known."""
        if self._protections:
            return self._protections
        suite = self.suite()
        if suite is None:
            return []
        client, server = self.client_hello, self.server_hello
        assert client is not None
        assert server is not None
        master = self._master(log, suite, client, server)
        if not master:
            self.reason = NO_KEY if log.is_given or not log.is_empty() else NO_KEYS
            return []
        from analyzer.codecs.tls_ciphers import tls12_protections

        encrypts_first = server.has(ENCRYPT_THEN_MAC)
        self._protections = tls12_protections(suite, master, client.random, server.random, encrypts_first)
        self.client_messages = []
        self.server_messages = []
        return self._protections

    def _master(self, log: KeyLog, suite: "Suite", client: ClientHello, server: ServerHello) -> bytes:
        """The master secret, empty where it is not known."""
        known = log.of_random(client.random)
        if known is not None and known.get(MASTER):
            return known.get(MASTER)
        of_session = log.of_session(server.session_id)
        if of_session:
            return of_session
        premaster = b"" if known is None else known.get(PREMASTER)
        if not premaster:
            premaster = log.of_premaster(self.encrypted_premaster)
        if not premaster or not self.has_key_exchange:
            return b""
        if server.has(EXTENDED_MASTER_SECRET):
            if not self.client_messages or not self.server_messages or self.said_bytes > limits.TLS_SAID_BYTES:
                return b""
            said = [self.client_messages[0], *self.server_messages, *self.client_messages[1:]]
            return extended_master_secret(premaster, hashlib.new(suite.digest, b"".join(said)).digest(), suite.digest)
        return master_secret(premaster, client.random, server.random, suite.digest)
