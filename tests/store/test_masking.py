import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.errors import UsageError
from analyzer.store.masking import Masker

MASKED = re.compile(rb"<masked:[0-9a-f]{8}>")
KEY = Masker(b"a key")


def shape(value: bytes) -> bytes:
    return MASKED.sub(b"#", value)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        (b"authorization", b"Bearer abc.def", b"Bearer #"),
        (b"Authorization", b"basic  dXNlcjpwYXNz", b"basic #"),
        (b"authorization", b'Digest username="u", response="6629"', b"Digest #"),
        (b"authorization", b"mysecret in two words", b"#"),
        (b"proxy-authorization", b"opaque", b"#"),
        (b"cookie", b"sid=31d4d96e407aad42; theme=dark;flag; empty=", b"sid=#; theme=#;#; empty="),
        (b"set-cookie", b"sid=31d4; Path=/; Max-Age=1; HttpOnly; Odd=1", b"sid=#; Path=/; Max-Age=1; HttpOnly; Odd=#"),
        (b"set-cookie", b"path=secret; path=/", b"path=#; path=/"),
        (b"X-API-Key", b"k", b"#"),
        (b"x-csrf-token", b"k", b"#"),
        (b"x-amz-security-token", b"k", b"#"),
        (b"private-token", b"glpat-1", b"#"),
        (b"ocp-apim-subscription-key", b"1", b"#"),
        (None, b"who knows", b"#"),
        (b"authorization", b"", b""),
        (b":path", b"/a?token=1&x=2", b"/a?token=#&x=2"),
        (b"referer", b"https://me:pw@h/a?b=1&access_token=2#id_token=3", b"https://#:#@h/a?b=1&access_token=##id_token=#"),
        (b"www-authenticate", b'Bearer realm="x"', b'Bearer realm="x"'),
        (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ==", b"dGhlIHNhbXBsZSBub25jZQ=="),
        (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ==", b"dGhlIHNhbXBsZSBub25jZQ=="),
        (b"content-type", b"text/html", b"text/html"),
        (b"idempotency-key", b"8e03978e", b"8e03978e"),
        (b"X-AuthToken", b"k", b"#"),
        (b"x-auth", b"k", b"#"),
        (b"x-auth-pass", b"k", b"#"),
        (b"x-github-otp", b"k", b"#"),
        (b"x-key", b"k", b"#"),
        (b"bearer", b"k", b"#"),
        (b"HTTP_AUTHORIZATION", b"k", b"#"),
        (b"x-wsse", b'UsernameToken Username="a", PasswordDigest="b"', b"#"),
        (b"x-amzn-oidc-data", b"k", b"#"),
        (b"x-goog-iap-jwt-assertion", b"k", b"#"),
        (b"x-ms-authorization-auxiliary", b"Bearer k", b"Bearer #"),
        (b"host", b"ghp_1@example.org", b"#@example.org"),
        (b"location", b"https://ghp_1@example.org/x", b"https://#@example.org/x"),
        (b"destination", b"https://u:p@h/?access_token=1", b"https://#:#@h/?access_token=#"),
        (b"x-forwarded-url", b"/a?access_token=1&b=2", b"/a?access_token=#&b=2"),
        (b"x-original-query", b"access_token=1&b=2", b"access_token=#&b=2"),
        (b"link", b'<https://h/a?token=1&b=2>; rel="next"', b'<https://h/a?token=#&b=2>; rel="next"'),
        (b"x-anything", b"it is eyJhbGciOiJub25lIn0.e30.c2ln, so", b"it is #, so"),
        (b"user-agent", b"a/1 (+http://h.org; me@h.org)", b"a/1 (+http://h.org; me@h.org)"),
        (b"access-control-allow-credentials", b"true", b"true"),
        (b"x-ratelimit-remaining-tokens", b"12", b"12"),
        (b"content-type", b"multipart/form-data; boundary=a=b", b"multipart/form-data; boundary=a=b"),
        (
            b"www-authenticate",
            b'Digest qop="auth",algorithm=MD5-sess,nonce="a"',
            b'Digest qop="auth",algorithm=MD5-sess,nonce="a"',
        ),
        (b"user-agent", b"a/1 B=1 C=2 D=3 E=4 F=5", b"a/1 B=1 C=2 D=3 E=4 F=5"),
        (b"x-digests", b"YQ==-YQ==-YQ==-YQ==-YQ==", b"YQ==-YQ==-YQ==-YQ==-YQ=="),
        (b"authentication-info", b'nextnonce="a", qop=auth', b'nextnonce="a", qop=auth'),
    ],
)
def test_secrets_in_fields_are_masked_and_the_rest_stays(name: bytes | None, value: bytes, expected: bytes) -> None:
    assert shape(KEY.field(name, value)) == expected


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/oauth?code=1&state=2&client_secret=3", b"/oauth?code=#&state=2&client_secret=#"),
        (b"/f?X-Amz-Signature=ab&X-Amz-Date=1&X-Amz-Credential=c", b"/f?X-Amz-Signature=#&X-Amz-Date=1&X-Amz-Credential=#"),
        (b"/f?acc%65ss_token=ab", b"/f?acc%65ss_token=#"),
        (b"/f?user[password]=ab&q=token", b"/f?user[password]=#&q=token"),
        (b"/f;jsessionid=1A2B?x=1", b"/f;jsessionid=#"),
        (b"/f?a=1;token=2;b=3", b"/f?a=1;token=#;b=3"),
        (b"/f?token=ab;cd&b=1", b"/f?token=#&b=1"),
        (b"/f?apiKey=1&api-key=2&key=3&sig=4", b"/f?apiKey=#&api-key=#&key=#&sig=#"),
        (b"/f?page_token=ab&monkey=1&token=", b"/f?page_token=ab&monkey=1&token="),
        (b"http://u:p@ss@host/", b"http://#:#@host/"),
        (b"http://ghp_1@host/a?b=1", b"http://#@host/a?b=1"),
        (b"u:p/w@host:443", b"#:#@host:443"),
        (b"/f?state=access_token%3D1&x=a%3Db", b"/f?state=#&x=a%3Db"),
        (b"/f?pw=1&auth_code=2&oauth_verifier=3&bearer=4", b"/f?pw=#&auth_code=#&oauth_verifier=#&bearer=#"),
        (b"/f?token.id=1&api.key=2&access%255ftoken=3&authCode=4", b"/f?token.id=#&api.key=#&access%255ftoken=#&authCode=#"),
        (b"/f?author=1&sort_key=2&max_tokens=3&token_type=4", b"/f?author=1&sort_key=2&max_tokens=3&token_type=4"),
        (b"/verify/eyJhbGciOiJub25lIn0.e30.c2ln/now", b"/verify/#/now"),
        (b"/r?u=https%3A%2F%2Fghp_1%40host%2F", b"/r?u=#"),
        (b"/users/@me", b"/users/@me"),
        (b"/plain/path", b"/plain/path"),
        (b"*", b"*"),
    ],
)
def test_secrets_in_a_target_are_masked_and_the_rest_stays(target: bytes, expected: bytes) -> None:
    assert shape(KEY.target(target)) == expected


@given(st.binary(max_size=40).map(lambda data: data.replace(b"&", b"").replace(b"#", b"").replace(b";", b"")))
def test_no_secret_leaves_a_query_whatever_its_bytes(secret: bytes) -> None:
    secret = b"<<" + secret + b">>"
    assert secret not in KEY.target(b"/x?a=1&access_token=" + secret + b"&b=2")
    assert secret not in KEY.field(b"authorization", b"Bearer " + secret)
    assert secret not in KEY.field(b"cookie", b"sid=" + secret)


def test_equal_secrets_look_equal_under_one_key_and_not_under_another() -> None:
    secret = b"31d4d96e407aad42"
    in_query = MASKED.findall(KEY.target(b"/?token=" + secret))
    assert in_query == MASKED.findall(KEY.field(b"authorization", b"Bearer " + secret)) == [KEY.value(secret)]
    assert Masker(b"a key").value(secret) == KEY.value(secret)
    assert Masker(b"another").value(secret) != KEY.value(secret)
    assert Masker().value(secret) != Masker().value(secret)
    assert KEY.value(b"other") != KEY.value(secret)


def test_any_key_will_do_but_an_empty_one() -> None:
    assert MASKED.fullmatch(Masker(b"k" * 1000).value(b"x"))
    with pytest.raises(UsageError):
        Masker(b"")


def test_secrets_behind_long_text_that_almost_matches_are_masked() -> None:
    hostile = [b"/?" + b"a_" * 20_000 + b"=1", b"//" * 20_000 + b":@", b"?x=;" * 10_000, b"//a:" + b"b" * 40_000]
    hostile += [b"eyJ" * 20_000, b"eyJ." * 20_000, b"max-" * 20_000, b"a=" * 20_000, b"%25" * 20_000 + b"=1=@"]
    for value in hostile:
        secret = value + b"&?access_token=S3CRET"
        assert shape(KEY.target(secret)).endswith(b"?access_token=#")
        assert shape(KEY.field(b"x-forwarded-url", secret) or b"").endswith(b"?access_token=#")
        assert shape(KEY.field(value + b"-token", b"S3CRET") or b"") == b"#"


def test_long_field_names_tell_secrets_too_but_are_not_remembered() -> None:
    name = b"a" * 100_000 + b"-token"
    references = sys.getrefcount(name)
    assert shape(KEY.field(name, b"x") or b"") == b"#"
    assert KEY.field(name + b"ize", b"x") == KEY.value(b"x")
    assert KEY.field(name[:-1], b"x") == b"x"
    assert sys.getrefcount(name) == references


def test_user_information_in_an_authority_is_masked_and_the_host_stays() -> None:
    user = KEY.value(b"user")
    assert KEY.authority(b"user:secret@example.org:8080") == user + b":" + KEY.value(b"secret") + b"@example.org:8080"
    assert KEY.field(b":authority", b"user:a@b@host") == user + b":" + KEY.value(b"a@b") + b"@host"
    assert KEY.authority(b"user@host") == user + b"@host"
    for plain in (b"example.org:8080", b"[::1]:80", b"", b":@"):
        assert KEY.authority(plain) == plain


def test_secrets_are_found_in_targets_inside_targets() -> None:
    for target in (
        b"/r?u=https://h/cb?access_token=S3CRET",
        b"/r?u=https%3A%2F%2Fh%2Fcb%3Faccess_token%3DS3CRET&x=1",
        b"/r?u=https%3A%2F%2Fh%2Fcb%3Fu%3Dhttps%253A%252F%252Fi%252F%253Faccess_token%253DS3CRET",
    ):
        assert b"S3CRET" not in KEY.target(target)
    assert KEY.target(b"/r?u=https%3A%2F%2Fh%2Fcb%3Fpage%3D2") == b"/r?u=https%3A%2F%2Fh%2Fcb%3Fpage%3D2"


def test_secrets_are_masked_in_fields_whose_name_is_damaged_and_in_subprotocols() -> None:
    assert b"S3CRET" not in (KEY.field(b"Cookie\x00", b"sid=S3CRET") or b"")
    assert b"S3CRET" not in (KEY.field(b"Authorization ", b"Bearer S3CRET") or b"")
    protocols = KEY.field(b"Sec-WebSocket-Protocol", b"chat, base64url.bearer.authorization.k8s.io.S3CRET") or b""
    assert protocols.startswith(b"chat,")
    assert b"S3CRET" not in protocols
