"""Signing in by OpenID Connect: this service as a relying party of the providers in the settings.

Words: a *provider* vouches for people; its *issuer* is its address and its name in all it signs; an
*attempt* is one sign-in that was begun in one browser; an *identity* is what a provider said of a person.

Rule: the authorization code flow with PKCE (S256), a fresh state and nonce, and nothing is believed that
does not fit the attempt that this browser began, at the provider and redirect address where it began.
ID tokens are signed with a public key of the provider, for us, and valid now give or take SKEW_S.
Everything here fails closed with a ProviderError; what a provider writes is never shown to people.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from base64 import b64encode
from collections.abc import Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus, urlsplit

import httpx2
import msgspec
from authlib.integrations.base_client import OAuthError  # type: ignore[import-untyped]
from authlib.integrations.httpx_client import AsyncOAuth2Client  # type: ignore[import-untyped]
from authlib.oidc.core import CodeIDToken  # type: ignore[import-untyped]
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet
from msgspec import Struct

from moduai.accounts.people import MOST_ADDRESS, MOST_NAME
from moduai.outbound import Network, OutboundError, client_options
from moduai.settings import Provider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SKEW_S = 120
"""A clock may be wrong by two minutes, and no more."""
ATTEMPT_S = 600
"""Time to sign in at the provider."""
WITHIN_S = 15.0
"""All that is asked of a provider for one step takes no longer."""
FRESH_S = 3600
"""How long a provider's metadata and keys are kept in memory."""
AGAIN_S = 30
"""Keys are not read again for an unknown key id more often than this."""
AT_ONCE = 16
"""Steps with one provider at the same time; more wait, and time out with it."""
USED = 10_000
"""Attempts that are remembered as used, in this worker, until they expire."""
ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA"}
)
"""Signatures with public keys only: neither ``none`` nor a shared secret counts."""
MOST_SUBJECT = 255
"""Longest name that a provider has for a person (OpenID Connect Core, 2)."""

_UNUSABLE = (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError)
"""What reading an answer that is none raises, here and in Authlib."""


class ProviderError(RuntimeError):
    """Signing in failed. ``code`` is for people (words.py); the text is for the log."""

    def __init__(self, code: str, why: str) -> None:
        """Codes: provider_down, provider_failed, sign_in_stale, sign_in_denied."""
        super().__init__(why)
        self.code = code


class Attempt(Struct, frozen=True):
    """What the browser carries, sealed, from the beginning of a sign-in to its end."""

    provider: str
    state: str
    nonce: str
    verifier: str
    redirect: str
    target: str
    """Where to go afterwards."""
    invitation: str
    expires_at: int


class Identity(Struct, frozen=True):
    """What a provider said of a person, checked."""

    issuer: str
    subject: str
    name: str = ""
    address: str = ""
    region: str = ""
    group: str = ""


class Known(Struct):
    """A provider's metadata and keys, as read."""

    metadata: dict[str, Any]
    keys: KeySet
    read_at: float


class Providers:
    """The providers of the settings, with what is known of them in this worker."""

    def __init__(self, providers: Mapping[str, Provider], private: tuple[Network, ...] = ()) -> None:
        self._providers = dict(providers)
        self._private = private
        self._known: dict[str, Known] = {}
        self._gates = {key: asyncio.Semaphore(AT_ONCE) for key in providers}
        self._used: dict[str, int] = {}

    async def begin(
        self, key: str, redirect: str, *, target: str = "/", invitation: str = ""
    ) -> tuple[str, Attempt]:
        """Where to send the browser, and what it has to carry. Raises ProviderError."""
        provider = self._providers[key]
        attempt = Attempt(
            provider=key,
            state=secrets.token_urlsafe(32),
            nonce=secrets.token_urlsafe(32),
            verifier=secrets.token_urlsafe(48),
            redirect=redirect,
            target=target,
            invitation=invitation,
            expires_at=int(time.time()) + ATTEMPT_S,
        )
        async with self._step(key):
            known = await self._read(key)
            async with self._client(provider, known) as client:
                url, _ = client.create_authorization_url(
                    known.metadata["authorization_endpoint"],
                    state=attempt.state,
                    nonce=attempt.nonce,
                    code_verifier=attempt.verifier,
                    redirect_uri=redirect,
                )
        return str(url), attempt

    async def finish(self, key: str, attempt: Attempt | None, query: Mapping[str, str]) -> Identity:
        """Take the provider's answer to an attempt. Raises ProviderError.

        An attempt is used once in this worker; across workers the provider refuses a used code.
        """
        provider = self._providers[key]
        code = self._code(key, attempt, query)
        assert attempt is not None  # noqa: S101  (for the type checker: _code refused None)
        async with self._step(key):
            known = await self._read(key)
            _check_issuer(provider, known, query)
            async with self._client(provider, known) as client:
                token = await client.fetch_token(
                    known.metadata["token_endpoint"],
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=attempt.verifier,
                    redirect_uri=attempt.redirect,
                )
                claims = await self._id_token(key, attempt, token)
                claims = {**await _user_info(client, known, token, claims), **claims}
        return _identity(provider, claims)

    def _code(self, key: str, attempt: Attempt | None, query: Mapping[str, str]) -> str:
        """The code of an answer that fits the attempt, which is used up by this. Raises ProviderError."""
        now = int(time.time())
        if attempt is None or attempt.provider != key or attempt.expires_at <= now:
            raise ProviderError("sign_in_stale", "no attempt of this browser is open")
        if not secrets.compare_digest(query.get("state", "").encode(), attempt.state.encode()):
            raise ProviderError("sign_in_stale", "the state is not the attempt's")
        self._used = {state: end for state, end in self._used.items() if end > now}
        if attempt.state in self._used or len(self._used) >= USED:
            raise ProviderError("sign_in_stale", "the attempt was used before")
        self._used[attempt.state] = attempt.expires_at
        if error := query.get("error"):
            denied = error in {"access_denied", "login_required", "interaction_required", "consent_required"}
            code = "sign_in_denied" if denied else "provider_failed"
            raise ProviderError(code, f"the provider says {error[:60]!r}")
        code = query.get("code", "")
        if not 0 < len(code) <= 4096:
            raise ProviderError("provider_failed", "the answer has no code")
        return code

    async def _id_token(self, key: str, attempt: Attempt, token: Mapping[str, Any]) -> dict[str, Any]:
        """Claims of the ID token: signature, issuer, audience, times, nonce and access token all fit."""
        provider, known = self._providers[key], self._known[key]
        raw = token.get("id_token")
        if not isinstance(raw, str):
            raise ProviderError("provider_failed", "the answer has no ID token")
        allowed = sorted(
            ALGORITHMS & set(known.metadata.get("id_token_signing_alg_values_supported", ["RS256"]))
        )
        try:
            decoded = jwt.decode(raw, known.keys, algorithms=allowed)
        except InvalidKeyIdError:
            known = await self._read(key, again=True)
            decoded = jwt.decode(raw, known.keys, algorithms=allowed)
        options = {
            "iss": {"essential": True, "value": provider.issuer},
            "aud": {"essential": True, "value": provider.client_id},
            "sub": {"essential": True},
        }
        params = {
            "client_id": provider.client_id,
            "nonce": attempt.nonce,
            "access_token": token.get("access_token"),
        }
        claims = CodeIDToken(decoded.claims, decoded.header, options, params)
        claims.validate(now=int(time.time()), leeway=SKEW_S)
        return dict(claims)

    async def _read(self, key: str, *, again: bool = False) -> Known:
        """Metadata and keys, from memory where they are fresh."""
        known, now = self._known.get(key), time.monotonic()
        if known is not None and now - known.read_at < (AGAIN_S if again else FRESH_S):
            return known
        provider = self._providers[key]
        async with httpx2.AsyncClient(**client_options(self._private)) as client:
            url = f"{provider.issuer.rstrip('/')}/.well-known/openid-configuration"
            metadata = _metadata(provider, await _get(client, url))
            keys = await _get(client, metadata["jwks_uri"])
        self._known[key] = Known(metadata, _keys(keys), now)
        return self._known[key]

    @asynccontextmanager
    async def _client(self, provider: Provider, known: Known) -> AsyncIterator[AsyncOAuth2Client]:
        secret = secret_of(provider)
        method: Any = "none"
        if secret:
            methods = known.metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
            basic = "client_secret_basic" in methods or "client_secret_post" not in methods
            method = _basic if basic else "client_secret_post"
        options = client_options(self._private)
        async with AsyncOAuth2Client(
            client_id=provider.client_id,
            client_secret=secret or None,
            scope=" ".join(dict.fromkeys(("openid", *provider.scopes))),
            token_endpoint_auth_method=method,
            code_challenge_method="S256",
            **options,
        ) as client:
            yield client

    @asynccontextmanager
    async def _step(self, key: str) -> AsyncIterator[None]:
        """One step with a provider: bounded in time and number, and every failure is a ProviderError."""
        try:
            async with asyncio.timeout(WITHIN_S), self._gates[key]:
                yield
        except (TimeoutError, httpx2.TransportError, httpx2.HTTPStatusError, OutboundError) as error:
            raise ProviderError("provider_down", f"{key}: {type(error).__name__}: {error}"[:300]) from error
        except OAuthError as error:
            raise ProviderError(
                "provider_failed", f"{key}: the provider says {error.error!r}"[:300]
            ) from error
        except (*_UNUSABLE, httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise ProviderError("provider_failed", f"{key}: {type(error).__name__}: {error}"[:300]) from error


def _basic(client: Any, _: str, uri: str, headers: Any, body: str) -> tuple[str, Any, str]:
    """The client's name and secret as RFC 6749, 2.3.1 writes them; Authlib leaves the encoding out, and a
    secret with "+" or "%" would be another one.
    """
    said = f"{quote_plus(client.client_id)}:{quote_plus(client.client_secret)}"
    headers["Authorization"] = f"Basic {b64encode(said.encode()).decode()}"
    return uri, headers, body


def secret_of(provider: Provider) -> str:
    """The client's secret, from where the settings say. Raises ProviderError."""
    if provider.client_secret_env:
        return os.environ.get(provider.client_secret_env, "") or _no_secret("the variable is empty")
    if provider.client_secret_file:
        try:
            return Path(provider.client_secret_file).read_text("utf-8").strip() or _no_secret(
                "the file is empty"
            )
        except (OSError, UnicodeDecodeError) as error:
            return _no_secret(type(error).__name__)
    return provider.client_secret


def _no_secret(why: str) -> str:
    raise ProviderError("provider_failed", f"the client secret cannot be read: {why}")


async def _get(client: httpx2.AsyncClient, url: str, **headers: str) -> dict[str, Any]:
    response = await client.get(url, headers=headers)
    response.raise_for_status()
    if response.status_code != 200:
        raise ValueError(f"status {response.status_code}")
    return msgspec.json.decode(response.content, type=dict[str, Any])


def _metadata(provider: Provider, found: dict[str, Any]) -> dict[str, Any]:
    """The metadata, if it is this provider's and each address is as safe as the issuer's."""
    if found.get("issuer") != provider.issuer:
        raise ValueError("the metadata is another issuer's")
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"):
        if name == "userinfo_endpoint" and name not in found:
            continue
        address = urlsplit(found[name])
        plain = address.scheme == "http" and provider.issuer.startswith("http://")
        if not address.hostname or not (address.scheme == "https" or plain):
            raise ValueError(f"{name} is not a safe address")
    methods = found.get("code_challenge_methods_supported", ["S256"])
    if "S256" not in methods:
        raise ValueError("the provider has no PKCE with S256")
    return found


def _keys(found: dict[str, Any]) -> KeySet:
    """Public keys that sign; keys for other uses or of unknown kinds do not count."""
    usable = [
        key
        for key in found.get("keys", [])
        if isinstance(key, dict) and key.get("kty") in {"RSA", "EC", "OKP"} and key.get("use", "sig") == "sig"
    ]
    return KeySet.import_key_set({"keys": usable})


def _check_issuer(provider: Provider, known: Known, query: Mapping[str, str]) -> None:
    """Against mix-up (RFC 9207): an answer that names its issuer names this one, and it names one if the
    provider says that it does.
    """
    named = query.get("iss")
    needed = known.metadata.get("authorization_response_iss_parameter_supported") is True
    if (named is None and needed) or (named is not None and named != provider.issuer):
        raise ProviderError("provider_failed", "the answer comes from another issuer")


async def _user_info(
    client: AsyncOAuth2Client, known: Known, token: Mapping[str, Any], claims: Mapping[str, Any]
) -> dict[str, Any]:
    """Further claims, asked of the provider itself; they have to be of the same subject."""
    url = known.metadata.get("userinfo_endpoint")
    if not url or not isinstance(token.get("access_token"), str):
        return {}
    bearer = {"authorization": f"Bearer {token['access_token']}"}
    response = await client.request("GET", url, withhold_token=True, headers=bearer)
    if response.status_code != 200 or not response.headers.get("content-type", "").startswith(
        "application/json"
    ):
        return {}
    found = msgspec.json.decode(response.content, type=dict[str, Any])
    if found.get("sub") != claims["sub"]:
        raise ValueError("the further claims are of another subject")
    return found


def _identity(provider: Provider, claims: Mapping[str, Any]) -> Identity:
    subject = claims["sub"]
    if not 0 < len(subject) <= MOST_SUBJECT:
        raise ProviderError("provider_failed", "the subject is empty or too long")
    address = _text(claims.get("email")) if claims.get("email_verified") is True else ""
    return Identity(
        issuer=provider.issuer,
        subject=subject,
        name=_text(claims.get("name") or claims.get("preferred_username"))[:MOST_NAME].strip(),
        address=address if len(address) <= MOST_ADDRESS else "",  # cut short it would be another's
        region=mapped(claims, provider.region_claim, provider.region_map),
        group=mapped(claims, provider.group_claim, provider.group_map),
    )


def mapped(claims: Mapping[str, Any], path: str, codes: Mapping[str, str]) -> str:
    """The code of the first value of a claim that the map lists; empty where there is none.

    Dots in ``path`` go into objects, after the whole path was tried as a name.
    """
    found: Any = claims.get(path) if path else None
    if found is None and path:
        found = claims
        for part in path.split("."):
            found = found.get(part) if isinstance(found, dict) else None
    values = found if isinstance(found, list) else [found]
    return next((codes[value] for value in values if isinstance(value, str) and value in codes), "")


def _text(value: object) -> str:
    """A claim as text that can be shown: printable, on one line."""
    if not isinstance(value, str):
        return ""
    return "".join(letter for letter in value if letter.isprintable()).strip()
