"""Secrets are masked before they are stored: ``<masked:1a2b3c4d>``.

The eight digits are a keyed hash (BLAKE2s, RFC 7693) of the secret alone, so that the same token is recognised in a
header, a cookie and a query, while nobody without the key can test guesses. The key is random for each store and never
written to it; whoever needs equal digits in two stores, or after appending to one, chooses the key.

What tells a secret is its name: the field's, the cookie's or the query parameter's, by the words in it. Whatever it is
called, a JSON Web Token (RFC 7519) is one, and so is all user information before a host. Every field's value is searched
for parameters and URIs, and values of parameters once more. A value whose field name is unknown is masked. Contents
(forms, JSON, messages) are not looked into.
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

# What tells a secret in a name, which is written as words of lower case with "-" between them.
_SECRET: Final = (
    rb"secret|token|passw|passphrase|passcode|credential|assertion|authoriz|jwt|oidc|saml|session|sessid"
    rb"|(?:api|access|auth|customer|functions|private|signing|subscription)-?key"
    rb"|(?:^|-)(?:auth|authentication|bearer|cookie2?|hmac|mfa|otp|pass|pin|sess|sid|tok|totp|verifier|wsse)(?:-|$)"
    rb"|pwd?(?:-|$)"
)
_SECRET_FIELD: Final = re.compile(_SECRET + rb"|(?:^|-)key$")
_SECRET_PARAMETER: Final = re.compile(_SECRET + rb"|(?:^|-)(?:sig|signature)$|^(?:code|key|ticket)$")
# "next_page_token" is a position in a list, "max_tokens" a number.
_NO_SECRET: Final = re.compile(
    rb"(?:^|-)(?:page|continuation|next|sync|cursor)-?token$|(?:^|-)(?:max|min|total)-(?:[a-z]+-)?tokens$"
    rb"|rate-?limit|token-?type$"
)
_NO_SECRET_FIELD: Final = re.compile(
    rb"^access-control-|^authentication-(?:info|control)$"
    rb"|(?:^|-)(?:cache|idempotency|idempotence|partition|primary|public|routing|shard|sort|surrogate|web-?socket)-key$"
)
_PARAMETER_NAME: Final = re.compile(rb"[A-Za-z0-9_.\[\]%-]{1,64}")  # of one that no separator tells from other text
_WORD_BEGINS: Final = re.compile(rb"(?<=[a-z0-9])(?=[A-Z])")
_NO_WORD: Final = re.compile(rb"[^a-z0-9]+")

# Schemes of the IANA registry and others that are common; any other first word might be the secret itself.
_SCHEMES: Final = frozenset(
    b"apikey aws4-hmac-sha256 aws4-ecdsa-p256-sha256 basic bearer concealed digest dpop gnap hawk hoba jwt key mutual "
    b"negotiate ntlm oauth privatetoken scram-sha-1 scram-sha-256 sharedkey sharedkeylite token vapid".split()
)
# RFC 6265 section 4.1.1 and its successors; other parts of a Set-Cookie are masked like cookies.
_COOKIE_ATTRIBUTES: Final = frozenset(b"expires max-age domain path secure httponly samesite partitioned priority".split())

# A semicolon separates parameters only where another name and "=" follows; else it belongs to the value.
_PARAMETER: Final = re.compile(rb"([?&;#])([^=&;#?]+)=([^&;#]*(?:;[^&;#=]*(?=[&;#]|$))*)")
_NESTED_TARGETS: Final = 3  # targets inside targets that are looked into; what is deeper is masked whole
_NAME_CODINGS: Final = 3  # how often a parameter's name may be percent-encoded
_REMEMBERED_NAME_BYTES: Final = 128  # of a field; longer ones are rare, and must not fill the memory
_NO_TOKEN: Final = re.compile(rb"[^!#$%&'*+.^_`|~0-9A-Za-z:-]+")  # RFC 9110 section 5.6.2, and the colon of HTTP/2
_SECRET_PROTOCOL: Final = re.compile(rb"bearer|token|jwt|auth|secret", re.IGNORECASE)
_USER_INFORMATION: Final = re.compile(rb"(?<=//)[^/?#]+(?=@)")
_USER_INFORMATION_IN_TEXT: Final = re.compile(rb"(?<=//)[^/?#\s\"<>]+(?=@)")
_HAS_PATH: Final = re.compile(rb"/|[A-Za-z][A-Za-z0-9+.-]*://")
_JWT: Final = re.compile(rb"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*){2,4}")  # or JWE; "eyJ" is '{"' and a letter


class _Kind(Enum):
    """What a field's value may hold."""

    PLAIN = 0
    COOKIE = 1
    SET_COOKIE = 2
    PATH = 3
    AUTHORITY = 4
    PROTOCOLS = 5
    SECRET = 6


def _words(name: bytes) -> bytes:
    """The words of a name in lower case, with "-" between them."""
    return _NO_WORD.sub(b"-", _WORD_BEGINS.sub(b"-", name).lower())


def _is_secret_field(name: bytes) -> bool:
    words = _words(name)
    return bool(_SECRET_FIELD.search(words) and not _NO_SECRET.search(words) and not _NO_SECRET_FIELD.search(words))


def _is_secret_parameter(name: bytes) -> bool:
    for _ in range(_NAME_CODINGS):
        name = unquote_to_bytes(name)
    name = name.strip()
    if b" " in name:
        return False
    words = _words(name).strip(b"-")
    return bool(_SECRET_PARAMETER.search(words) and not _NO_SECRET.search(words))


def _kind(name: bytes) -> _Kind:
    token = _NO_TOKEN.sub(b"", name)  # a recipient may take the name without what does not belong in it
    lowered = token.lower()
    if lowered == b"set-cookie":
        return _Kind.SET_COOKIE
    if lowered == b"cookie":
        return _Kind.COOKIE
    if lowered == b":path":
        return _Kind.PATH
    if lowered in (b":authority", b"host"):
        return _Kind.AUTHORITY
    if lowered == b"sec-websocket-protocol":
        return _Kind.PROTOCOLS
    return _Kind.SECRET if _is_secret_field(token) else _Kind.PLAIN


_remembered_kind = functools.lru_cache(maxsize=1024)(_kind)  # the same few names come again and again


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
        """Mask the secret query parameters, and user information before the host, in a request target or URI."""
        if b"@" in target and not _HAS_PATH.match(target):
            return self._parameters(self.authority(target), _NESTED_TARGETS)
        return self._target(target, _NESTED_TARGETS)

    def _target(self, target: bytes, levels: int) -> bytes:
        if b"@" in target:
            target = _USER_INFORMATION.sub(self._user_information, target)
        return self._parameters(target, levels)

    def _text(self, text: bytes, levels: int = _NESTED_TARGETS) -> bytes:
        """Mask what is secret in a value that may be anything: URIs and parameters, the first of them without a separator."""
        if b"@" in text:
            text = _USER_INFORMATION_IN_TEXT.sub(self._user_information, text)
        first = text.partition(b"=")[0]
        if _PARAMETER_NAME.fullmatch(first) and _is_secret_parameter(first):
            return self._parameters(b"&" + text, levels)[1:]
        return self._parameters(text, levels)

    def _parameters(self, text: bytes, levels: int) -> bytes:
        if b"=" in text:
            text = _PARAMETER.sub(lambda match: self._parameter(match, levels), text)
        if b"eyJ" in text:
            text = _JWT.sub(self._whole, text)
        return text

    def authority(self, authority: bytes) -> bytes:
        """Mask user information (RFC 3986 section 3.2.1), which an authority should not have; tokens stand in it for users."""
        user_information, at, host = authority.rpartition(b"@")
        user, colon, password = user_information.partition(b":")
        return self.value(user) + colon + self.value(password) + at + host

    def field(self, name: bytes | None, value: bytes | None) -> bytes | None:
        """Mask what is secret in the value of a field line; an unknown value stays unknown."""
        if value is None:
            return None
        if name is None:
            return self.value(value)
        kind = _remembered_kind(name) if len(name) <= _REMEMBERED_NAME_BYTES else _kind(name)
        if kind is _Kind.PLAIN:
            return self._text(value)
        if kind is _Kind.SET_COOKIE:
            return self._cookies(value, _COOKIE_ATTRIBUTES)
        if kind is _Kind.COOKIE:
            return self._cookies(value, frozenset())
        if kind is _Kind.PATH:
            return self.target(value)
        if kind is _Kind.AUTHORITY:
            return self.authority(value)
        if kind is _Kind.PROTOCOLS:  # browsers have no other place for a token
            return b",".join(
                [self.value(part) if _SECRET_PROTOCOL.search(part) else self._text(part) for part in value.split(b",")]
            )
        scheme, space, credentials = value.partition(b" ")
        if space and scheme.lower() in _SCHEMES:
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
        if not _is_secret_parameter(name):
            inner = unquote_to_bytes(value)
            if not (b"=" in inner or b"@" in inner or b"eyJ" in inner):
                return match.group()
            if levels > 0 and self._text(inner, levels - 1) == inner:
                return match.group()
            # the value is itself a target or parameter, with a secret in it
        return separator + name + b"=" + self.value(value)

    def _user_information(self, match: re.Match[bytes]) -> bytes:
        user, colon, password = match.group().partition(b":")
        return self.value(user) + colon + self.value(password)

    def _whole(self, match: re.Match[bytes]) -> bytes:
        return self.value(match.group())
