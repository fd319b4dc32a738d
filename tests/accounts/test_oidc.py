"""A relying party against an issuer that is honest, and then wrong in one thing at a time."""

import base64
import gzip
import hmac
import json
import time
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from moduai.accounts import oidc
from moduai.accounts.oidc import ATTEMPT_S, SKEW_S, Identity, ProviderError, Providers, mapped
from moduai.outbound import networks
from moduai.settings import Provider

from .issuer import CLIENT, KEY, RSA, STRANGER, http, running

REDIRECT = "https://modu.example/signin/main/callback"
NOW = time.time


@pytest.fixture
async def issuer():
    async with running() as one:
        yield one


def relying(issuer, url="", **fields):
    provider = Provider(
        **{
            "name": "정부24",
            "issuer": url or issuer.url,
            "client_id": CLIENT,
            "client_secret": "s e/c+r",
            **fields,
        }
    )
    return Providers({"main": provider, "other": provider}, networks(["127.0.0.1"]))


async def begun(issuer, party, **fields):
    """An attempt, as a browser that went to the issuer carries it."""
    url, attempt = await party.begin("main", REDIRECT, **fields)
    issuer.nonce = attempt.nonce
    return url, attempt


async def finished(issuer, party=None, **query):
    party = party or relying(issuer)
    _, attempt = await begun(issuer, party)
    return await party.finish("main", attempt, {"state": attempt.state, "code": "c0de", **query})


async def refusal(issuer, party=None, **query):
    with pytest.raises(ProviderError) as caught:
        await finished(issuer, party, **query)
    return caught.value.code


async def test_an_honest_issuer(issuer):
    assert await finished(issuer) == Identity(issuer.url, "person 7")


async def test_what_the_browser_is_sent_with(issuer):
    url, attempt = await begun(issuer, relying(issuer, scopes=("openid", "profile", "address")))
    query = parse_qs(urlsplit(url).query)
    assert url.startswith(f"{issuer.url}/authorize?")
    assert query["tenant"] == ["a b"]
    assert (query["response_type"], query["client_id"], query["redirect_uri"]) == (
        ["code"],
        [CLIENT],
        [REDIRECT],
    )
    assert (query["scope"], query["code_challenge_method"]) == (["openid profile address"], ["S256"])
    assert query["state"] == [attempt.state]
    assert query["nonce"] == [attempt.nonce]
    assert attempt.verifier not in url
    assert len({attempt.state, attempt.nonce, attempt.verifier}) == 3


async def test_what_the_code_is_changed_with(issuer):
    await finished(issuer)
    _, headers, form = next(each for each in issuer.seen if each[0] == "/token")
    assert form["code"] == ["c0de"]
    assert form["redirect_uri"] == [REDIRECT]
    assert len(form["code_verifier"][0]) >= 43
    user, _, secret = (
        base64.b64decode(headers["authorization"].removeprefix("Basic ")).decode().partition(":")
    )
    assert (user, secret) == (CLIENT, "s+e%2Fc%2Br")  # RFC 6749, 2.3.1


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"iss": "https://other.example"}, "provider_failed"),
        ({"iss": None}, "provider_failed"),
        ({"aud": "another client"}, "provider_failed"),
        ({"aud": ["modu", "another"]}, "provider_failed"),
        ({"aud": ["modu", "another"], "azp": "another"}, "provider_failed"),
        ({"aud": None}, "provider_failed"),
        ({"nonce": "another"}, "provider_failed"),
        ({"nonce": None}, "provider_failed"),
        ({"sub": ""}, "provider_failed"),
        ({"sub": None}, "provider_failed"),
        ({"sub": 7}, "provider_failed"),
        ({"sub": "s" * 256}, "provider_failed"),
        ({"exp": None}, "provider_failed"),
        ({"exp": "tomorrow"}, "provider_failed"),
        ({"iat": None}, "provider_failed"),
        ({"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}, "provider_failed"),
    ],
)
async def test_claims_that_are_not_for_us(issuer, claims, code):
    issuer.claims = claims
    assert await refusal(issuer) == code


@pytest.mark.parametrize(
    ("name", "seconds", "good"),
    [
        ("exp", -(SKEW_S - 5), True),
        ("exp", -(SKEW_S + 5), False),
        ("iat", SKEW_S - 5, True),
        ("iat", SKEW_S + 5, False),
        ("nbf", SKEW_S - 5, True),
        ("nbf", SKEW_S + 5, False),
    ],
)
async def test_two_minutes_of_clock_skew_and_no_more(issuer, name, seconds, good):
    issuer.claims = {name: int(NOW()) + seconds}
    if good:
        assert (await finished(issuer)).subject == "person 7"
    else:
        assert await refusal(issuer) == "provider_failed"


async def test_several_audiences_with_us_as_the_party(issuer):
    issuer.claims = {"aud": ["modu", "another"], "azp": "modu"}
    assert (await finished(issuer)).subject == "person 7"


async def test_a_key_that_is_not_known(issuer):
    issuer.header = {"kid": "unknown"}
    assert await refusal(issuer) == "provider_failed"


async def test_a_head_that_is_not_understood(issuer):
    signer = ec.ECDSA(hashes.SHA256())

    def sign(data):
        r, s = decode_dss_signature(KEY.private_key.sign(data, signer))
        return r.to_bytes(32) + s.to_bytes(32)

    issuer.sign = sign
    assert (await finished(issuer)).subject == "person 7"
    issuer.header = {"crit": ["x"], "x": 1}
    assert await refusal(issuer) == "provider_failed"


async def test_another_key_of_the_same_name(issuer):
    issuer.key = STRANGER
    assert await refusal(issuer) == "provider_failed"


@pytest.mark.parametrize("alg", ["none", "None", "NONE", ""])
async def test_without_a_signature(issuer, alg):
    issuer.header, issuer.sign = {"alg": alg}, lambda _: b""
    assert await refusal(issuer) == "provider_failed"


@pytest.mark.parametrize("secret", [RSA.as_pem(private=False), b"s e/c+r"], ids=["public key", "client"])
async def test_a_public_key_is_no_shared_secret(issuer, secret):
    """The old confusion: HMAC by the bytes of the public key, or by the client's secret."""
    issuer.keys, issuer.header = [RSA], {"alg": "HS256", "kid": "two"}
    issuer.sign = lambda data: hmac.digest(secret, data, "sha256")
    assert await refusal(issuer) == "provider_failed"


async def test_keys_are_read_anew_when_they_changed(issuer, monkeypatch):
    party = relying(issuer)
    await finished(issuer, party)
    issuer.key, issuer.keys, issuer.header = RSA, [RSA], {"alg": "RS256", "kid": "two"}
    assert await refusal(issuer, party) == "provider_failed"  # read a moment ago
    monkeypatch.setattr(oidc, "AGAIN_S", 0)
    assert (await finished(issuer, party)).subject == "person 7"
    assert sum(path == "/keys" for path, *_ in issuer.seen) == 2


async def test_keys_for_other_uses_do_not_count(issuer):
    body = json.dumps({"keys": [{**KEY.as_dict(private=False), "use": "enc"}, {"kty": "oct", "k": "AAAA"}]})
    issuer.raw["/keys"] = http(body.encode())
    assert await refusal(issuer) == "provider_failed"


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "https://other.example"},
        {"issuer": None},
        {"token_endpoint": None},
        {"token_endpoint": "ftp://127.0.0.1/token"},
        {"token_endpoint": 7},
        {"jwks_uri": "/keys"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"code_challenge_methods_supported": ["plain"]},
    ],
)
async def test_metadata_that_cannot_be_used(issuer, change):
    issuer.metadata = change
    assert await refusal(issuer) == "provider_failed"


async def test_no_secret_goes_to_an_address_without_tls(issuer):
    """An issuer with TLS whose metadata leads out of it."""
    provider = Provider(name="x", issuer="https://login.example", client_id="modu")
    found = {"issuer": provider.issuer, "authorization_endpoint": "https://login.example/a"}
    found |= {"token_endpoint": "http://login.example/t", "jwks_uri": "https://login.example/k"}
    with pytest.raises(ValueError, match="token_endpoint"):
        oidc._metadata(provider, found)


async def test_an_issuer_has_tls_or_is_this_machine():
    with pytest.raises(ValueError, match="https"):
        Provider(name="x", issuer="http://login.example", client_id="modu")


async def test_mix_up(issuer):
    """An answer that names another issuer, or none where this one always names itself (RFC 9207)."""
    assert await refusal(issuer, iss="https://other.example") == "provider_failed"
    assert (await finished(issuer, iss=issuer.url)).subject == "person 7"
    issuer.metadata = {"authorization_response_iss_parameter_supported": True}
    assert await refusal(issuer) == "provider_failed"
    assert (await finished(issuer, iss=issuer.url)).subject == "person 7"
    before = len(issuer.seen)
    await refusal(issuer, iss="https://other.example")
    assert "/token" not in [path for path, *_ in issuer.seen[before:]]


async def test_an_attempt_belongs_to_its_provider(issuer):
    party = relying(issuer)
    _, attempt = await begun(issuer, party)
    with pytest.raises(ProviderError) as caught:
        await party.finish("other", attempt, {"state": attempt.state, "code": "c"})
    assert caught.value.code == "sign_in_stale"


async def test_states(issuer):
    party = relying(issuer)
    _, attempt = await begun(issuer, party)
    stale = msgspec.structs.replace(attempt, expires_at=int(NOW()))
    for broken, state in ((None, attempt.state), (attempt, "x"), (attempt, ""), (stale, attempt.state)):
        with pytest.raises(ProviderError) as caught:
            await party.finish("main", broken, {"state": state, "code": "c"})
        assert caught.value.code == "sign_in_stale"
    assert attempt.expires_at <= NOW() + ATTEMPT_S
    answer = {"state": attempt.state, "code": "c"}
    await party.finish("main", attempt, answer)
    before = len(issuer.seen)
    with pytest.raises(ProviderError) as caught:
        await party.finish("main", attempt, answer)
    assert caught.value.code == "sign_in_stale"
    assert len(issuer.seen) == before


async def test_a_code_that_was_used(issuer):
    issuer.raw["/token"] = http(b'{"error": "invalid_grant", "error_description": "<b>"}', "400 Bad Request")
    assert await refusal(issuer) == "provider_failed"


@pytest.mark.parametrize(
    ("error", "code"),
    [("access_denied", "sign_in_denied"), ("server_error", "provider_failed"), ("<b>", "provider_failed")],
)
async def test_errors_of_the_provider(issuer, error, code):
    assert await refusal(issuer, error=error) == code
    assert "/token" not in [path for path, *_ in issuer.seen]


@pytest.mark.parametrize("code", ["", "c" * 5000])
async def test_codes_that_are_none(issuer, code):
    assert await refusal(issuer, code=code) == "provider_failed"


PLACES = ["/.well-known/openid-configuration", "/keys", "/token"]


@pytest.mark.parametrize("path", PLACES)
@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (http(b"<html>"), "provider_failed"),
        (http(b"[]"), "provider_failed"),
        (http(b"null"), "provider_failed"),
        (http(b'{"a":' * 2000), "provider_failed"),
        (http(b"{}", "302 Found\r\nlocation: http://127.0.0.1:1/"), None),
        (http(b"oh", "500 Internal Server Error"), "provider_down"),
        (http(b"x" * 300_000), "provider_down"),
        (http(b"{}", length=1000), "provider_down"),
        (
            b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\nconnection: close\r\n\r\n" + gzip.compress(b"{}"),
            "provider_down",
        ),
        (b"no http at all\r\n\r\n", "provider_down"),
    ],
    ids=["html", "list", "null", "deep", "elsewhere", "broken", "huge", "short", "packed", "no http"],
)
async def test_answers_that_are_none(issuer, path, raw, code):
    issuer.raw[path] = raw
    assert await refusal(issuer) in ({code} if code else {"provider_failed", "provider_down"})


@pytest.mark.parametrize("path", PLACES)
async def test_a_slow_provider(issuer, path, monkeypatch):
    monkeypatch.setattr(oidc, "WITHIN_S", 0.3)
    issuer.slow[path] = 30
    assert await refusal(issuer) == "provider_down"


async def test_a_provider_that_is_down(issuer):
    party = relying(issuer, url="http://127.0.0.1:1")
    assert await refusal(issuer, party) == "provider_down"


async def test_private_addresses_are_not_reached(issuer):
    party = Providers({"main": Provider(name="x", issuer=issuer.url, client_id="modu")})
    assert await refusal(issuer, party) == "provider_down"
    assert not issuer.seen


async def test_further_claims_come_from_the_provider_itself(issuer):
    issuer.userinfo = {
        "sub": "person 7",
        "name": "하늘\u202e\n",
        "address": {"region": "부산광역시"},
        "groups": ["x", "staff"],
    }
    issuer.userinfo |= {"email": "h@example.org", "email_verified": True}
    party = relying(
        issuer,
        region_claim="address.region",
        region_map={"부산광역시": "KR-26"},
        group_claim="groups",
        group_map={"staff": "public"},
    )
    found = await finished(issuer, party)
    assert found == Identity(issuer.url, "person 7", "하늘", "h@example.org", "KR-26", "public")
    issuer.userinfo["sub"] = "person 8"
    assert await refusal(issuer, party) == "provider_failed"


async def test_an_address_that_nobody_checked_is_not_taken(issuer):
    issuer.claims = {"email": "h@example.org", "email_verified": "true"}
    assert (await finished(issuer)).address == ""


@pytest.mark.parametrize(("length", "whole"), [(254, True), (255, False)])
async def test_a_long_address_is_taken_whole_or_not_at_all(issuer, length, whole):
    address = "h@" + "e" * (length - 6) + ".org"
    issuer.claims = {"email": address, "email_verified": True, "name": "이" * 200}
    found = await finished(issuer)
    assert (found.address, found.name) == (address if whole else "", "이" * 100)


@pytest.mark.parametrize(
    ("claims", "path", "code"),
    [
        ({"region": "b"}, "region", "B"),
        ({"region": ["x", "b", "a"]}, "region", "B"),
        ({"a.b": "a", "a": {"b": "b"}}, "a.b", "A"),
        ({"a": {"b": "b"}}, "a.b", "B"),
        ({"a": "b"}, "a.b", ""),
        ({"region": {"b": 1}}, "region", ""),
        ({"region": 7}, "region", ""),
        ({}, "region", ""),
        ({"": "a"}, "", ""),
    ],
)
def test_only_what_the_map_lists_is_taken(claims, path, code):
    assert mapped(claims, path, {"a": "A", "b": "B"}) == code


async def test_the_secret_from_elsewhere(issuer, tmp_path, monkeypatch):
    file = tmp_path / "secret"
    file.write_text("of the file\n")
    monkeypatch.setenv("OUR_SECRET", "of the variable")
    for fields, secret in (
        ({"client_secret_file": str(file)}, "of the file"),
        ({"client_secret_env": "OUR_SECRET"}, "of the variable"),
    ):
        provider = Provider(name="x", issuer=issuer.url, client_id="modu", **fields)
        assert oidc.secret_of(provider) == secret
    for fields in ({"client_secret_file": str(tmp_path / "none")}, {"client_secret_env": "NONE_SUCH"}):
        with pytest.raises(ProviderError):
            oidc.secret_of(Provider(name="x", issuer=issuer.url, client_id="modu", **fields))


async def test_without_a_secret_the_client_is_public(issuer):
    assert (await finished(issuer, relying(issuer, client_secret=""))).subject == "person 7"
    _, headers, form = next(each for each in issuer.seen if each[0] == "/token")
    assert "authorization" not in headers
    assert form["client_id"] == [CLIENT]
    assert "client_secret" not in form
