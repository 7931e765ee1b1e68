"""Secrets are masked before they are stored: ``<masked:1a2b3c4d>``.

The eight digits are a keyed hash (BLAKE2s, RFC 7693) of the secret alone, so that the same token is recognised in a
header, a cookie and a query, while nobody without the key can test guesses. The key is random for each store and never
written to it; whoever needs equal digits in two stores, or after appending to one, chooses the key.

What tells a secret is its name: the field's, the cookie's or the query parameter's. A value whose field name is unknown
is masked. Contents (forms, JSON, messages) are not looked into.
"""

import functools
import hashlib
import re
import secrets
from enum import Enum
from typing import Final
from urllib.parse import unquote_to_bytes

from analyzer.errors import UsageError

_DIGEST_BYTES: Final = 4  # 2^32 values: enough to tell a capture's secrets apart, useless for finding one

# The words after which a field or parameter is taken for a secret, wherever they stand in its name.
_SECRET_WORDS: Final = (
    rb"secret|passw|credential|api[-_]?key|(?:access|auth|private|subscription|functions|signing)[-_]?key"
    rb"|(?:access|api|auth|bearer|csrf|xsrf|id|job|jwt|private|refresh|secret|security|session|user|vault)[-_]?token"
    rb"|session[-_]?id|sessid"
)
_SECRET_FIELD: Final = re.compile(
    rb"(?:^|-)(?:authorization|api-?key|token|cookie2?|jwt|session)$|" + _SECRET_WORDS, re.IGNORECASE
)
_SECRET_PARAMETER: Final = re.compile(
    rb"^(?:.*[-_\[])?(?:signature|sig|token|jwt|pwd|pass|assertion)\]?$"
    rb"|^(?:auth|authorization|code|code_verifier|key|otp|pin|session|sid|ticket|samlresponse|awsaccesskeyid|hmac)$|"
    + _SECRET_WORDS,
    re.IGNORECASE,
)
# "next_page_token" is a position in a list, not a secret
_NO_SECRET_PARAMETER: Final = re.compile(rb"^(?:.*[-_])?(?:page|continuation|next|sync|cursor)[-_]?token$", re.IGNORECASE)

# Schemes of the IANA registry and others that are common; any other first word might be the secret itself.
_SCHEMES: Final = frozenset(
    b"apikey aws4-hmac-sha256 aws4-ecdsa-p256-sha256 basic bearer concealed digest dpop gnap hawk hoba jwt key mutual "
    b"negotiate ntlm oauth privatetoken scram-sha-1 scram-sha-256 sharedkey sharedkeylite token vapid".split()
)
# RFC 6265 section 4.1.1 and its successors; other parts of a Set-Cookie are masked like cookies.
_COOKIE_ATTRIBUTES: Final = frozenset(b"expires max-age domain path secure httponly samesite partitioned priority".split())

# Fields that hold a target or URI, whose query may hold secrets.
_TARGET_FIELDS: Final = frozenset(
    b":path content-location location link origin referer refresh uri x-envoy-original-path x-forwarded-uri x-original-uri "
    b"x-original-url x-rewrite-url".split()
)
# A semicolon separates parameters only where another name and "=" follows; else it belongs to the value.
_PARAMETER: Final = re.compile(rb"([?&;#])([^=&;#?]+)=([^&;#]*(?:;[^&;#=]*(?=[&;#]|$))*)")
_NESTED_TARGETS: Final = 3  # targets inside targets that are looked into; what is deeper is masked whole
_NO_TOKEN: Final = re.compile(rb"[^!#$%&'*+.^_`|~0-9A-Za-z:-]+")  # RFC 9110 section 5.6.2, and the colon of HTTP/2
_SECRET_PROTOCOL: Final = re.compile(rb"bearer|token|jwt|auth", re.IGNORECASE)
_USER_INFORMATION: Final = re.compile(rb"(//[^/?#@:]*:)([^/?#]+)@")


class _Kind(Enum):
    """What a field's value may hold."""

    PLAIN = 0
    COOKIE = 1
    SET_COOKIE = 2
    TARGET = 3
    AUTHORITY = 4
    PROTOCOLS = 5
    SECRET = 6


@functools.lru_cache(maxsize=1024)  # the same few names come again and again
def _kind(name: bytes) -> _Kind:
    lowered = _NO_TOKEN.sub(b"", name).lower()  # a recipient may take the name without what does not belong in it
    if lowered == b"set-cookie":
        return _Kind.SET_COOKIE
    if lowered == b"cookie":
        return _Kind.COOKIE
    if lowered in _TARGET_FIELDS:
        return _Kind.TARGET
    if lowered in (b":authority", b"host"):
        return _Kind.AUTHORITY
    if lowered == b"sec-websocket-protocol":
        return _Kind.PROTOCOLS
    return _Kind.SECRET if _SECRET_FIELD.search(lowered) else _Kind.PLAIN


class Masker:
    """Masks secrets under one key."""

    def __init__(self, key: bytes | None = None) -> None:
        """``key`` may have any length but zero (UsageError); None makes a random one."""
        if key is not None and not key:
            raise UsageError("the masking key must not be empty")
        chosen = secrets.token_bytes(32) if key is None else key
        self._key = hashlib.blake2s(chosen).digest()  # any length becomes the 32 bytes BLAKE2s takes

    def value(self, value: bytes) -> bytes:
        """Mask a whole value; an empty one stays, having nothing to hide."""
        if not value:
            return value
        return b"<masked:%s>" % hashlib.blake2s(value, digest_size=_DIGEST_BYTES, key=self._key).hexdigest().encode("ascii")

    def target(self, target: bytes) -> bytes:
        """Mask the secret query parameters, and a password before the host, in a request target or URI."""
        return self._target(target, _NESTED_TARGETS)

    def _target(self, target: bytes, levels: int) -> bytes:
        if b"@" in target:
            target = _USER_INFORMATION.sub(self._user_information, target)
        if b"=" in target:
            target = _PARAMETER.sub(lambda match: self._parameter(match, levels), target)
        return target

    def authority(self, authority: bytes) -> bytes:
        """Mask the password in user information (RFC 3986 section 3.2.1), which an authority should not have."""
        user_information, at, host = authority.rpartition(b"@")
        user, colon, password = user_information.partition(b":")
        return user + colon + self.value(password) + at + host

    def field(self, name: bytes | None, value: bytes | None) -> bytes | None:
        """Mask what is secret in the value of a field line; an unknown value stays unknown."""
        if value is None:
            return None
        kind = _Kind.SECRET if name is None else _kind(name)
        if kind is _Kind.PLAIN:
            return value
        if kind is _Kind.SET_COOKIE:
            return self._cookies(value, _COOKIE_ATTRIBUTES)
        if kind is _Kind.COOKIE:
            return self._cookies(value, frozenset())
        if kind is _Kind.TARGET:
            return self.target(value)
        if kind is _Kind.AUTHORITY:
            return self.authority(value)
        if kind is _Kind.PROTOCOLS:  # browsers have no other place for a token
            return b",".join(self.value(part) if _SECRET_PROTOCOL.search(part) else part for part in value.split(b","))
        scheme, space, credentials = value.partition(b" ")
        if name is not None and space and scheme.lower() in _SCHEMES:
            return scheme + space + self.value(credentials.strip(b" "))
        return self.value(value)

    def _cookies(self, value: bytes, kept: frozenset[bytes]) -> bytes:
        """Mask the values of cookie pairs and keep the names; ``kept`` are attributes that stay whole."""
        parts = []
        for position, part in enumerate(value.split(b";")):
            name, equals, secret = part.partition(b"=")
            if position > 0 and name.strip().lower() in kept:
                parts.append(part)
            elif equals:
                parts.append(name + equals + self.value(secret.strip()))
            else:
                parts.append(part[: len(part) - len(part.lstrip())] + self.value(part.strip()))
        return b";".join(parts)

    def _parameter(self, match: re.Match[bytes], levels: int) -> bytes:
        separator, name, value = match.groups()
        plain = unquote_to_bytes(name)
        if not _SECRET_PARAMETER.search(plain) or _NO_SECRET_PARAMETER.search(plain):
            inner = unquote_to_bytes(value)
            if b"=" not in inner or (levels > 0 and self._target(inner, levels - 1) == inner):
                return match.group()
            # the value is itself a target, with a secret in it
        return separator + name + b"=" + self.value(value)

    def _user_information(self, match: re.Match[bytes]) -> bytes:
        return match.group(1) + self.value(match.group(2)) + b"@"
