"""Tokens of an OIDC issuer: whom they let in on both faces, whom never, and how often the issuer is asked for keys."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from mnemolog.domain.errors import Unavailable
from mnemolog.gateway.oidc import actor, claim
from mnemolog.runtime.config import Settings
from mnemolog.runtime.issuer import IssuerKeys, issuer, usable
from tests.issuers import AUDIENCE, Issuer, issuing
from tests.unit.gateway.fakes import NOW, Server

pytestmark = pytest.mark.unit
SECOND = 1_000_000
FACES = ["/v1/memories", "/api/v2/memory/", "/api/v2/version/"]


@pytest.fixture(scope="module")
def oidc() -> Iterator[Issuer]:
    """Return an issuer that runs."""
    with issuing() as running:
        yield running


def server(oidc: Issuer, **settings: Any) -> Server:
    """Return a face that believes it."""
    told = {"oidc_issuer": oidc.url, "oidc_audience": AUDIENCE, "oidc_pause": 0.0, **settings}
    return Server(issuer=issuer(Settings(**told)))


def status(face: Server, token: str, path: str = "/v1/memories") -> int:
    """Return how a token is answered."""
    return face.send("GET", path, headers={"authorization": f"Bearer {token}"}).status_code


@pytest.mark.parametrize("path", FACES)
def test_a_good_token_opens_both_faces(path: str, oidc: Issuer) -> None:
    """Beside the built-in issuer and the API tokens, which go on as before."""
    face = server(oidc)
    assert status(face, oidc.token(), path) == 200
    assert status(face, "nonsense", path) == 401
    assert face.send("GET", "/v1/memories", headers=face.bearer()).status_code == 200


@pytest.mark.parametrize("made", ["rsa", "ec", "ed"])
def test_every_kind_of_public_key_signs(made: str, oidc: Issuer) -> None:
    """RSA, elliptic curves and Ed25519."""
    keys: dict[str, Any] = {
        "rsa": (rsa.generate_private_key(65_537, 2_048), "PS384"),
        "ec": (ec.generate_private_key(ec.SECP256R1()), "ES256"),
        "ed": (ed25519.Ed25519PrivateKey.generate(), "EdDSA"),
    }
    oidc.keys[made], algorithm = keys[made]
    assert status(server(oidc), oidc.token(key=made, algorithm=algorithm)) == 200


def public(oidc: Issuer) -> bytes:
    """Return the issuer's public key as everyone knows it."""
    key = oidc.keys["first"].public_key()
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def confused(oidc: Issuer) -> str:
    """Return a token signed by HMAC with the public key as its secret."""
    body = oidc.token().split(".")[1]
    head = base64.urlsafe_b64encode(json.dumps({"alg": "HS256", "typ": "JWT", "kid": "first"}).encode()).rstrip(b"=")
    signed = head + b"." + body.encode()
    mac = hmac.new(public(oidc), signed, hashlib.sha256).digest()
    return (signed + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")).decode()


BAD: dict[str, Callable[[Issuer], str]] = {
    "expired": lambda o: o.token(exp=NOW // SECOND),
    "not valid yet": lambda o: o.token(nbf=NOW // SECOND + 3_600),
    "without an expiry": lambda o: o.token(exp=None),
    "an expiry that is no number": lambda o: o.token(exp=True),
    "for another audience": lambda o: o.token(aud="another"),
    "for nobody": lambda o: o.token(aud=None),
    "of another issuer": lambda o: o.token(iss="https://elsewhere"),
    "of another key": lambda o: o.token(by=rsa.generate_private_key(65_537, 2_048)),
    "of a key that nobody knows": lambda o: o.token(kid="made-up"),
    "unsigned": lambda o: o.token(by="", algorithm="none"),
    "signed with the public key as a secret": confused,
    "with another algorithm": lambda o: o.token(by=ec.generate_private_key(ec.SECP256R1()), algorithm="ES256"),
    "without a tenant": lambda o: o.token(tenant=None),
    "with a tenant that is no name": lambda o: o.token(tenant=["acme"]),
    "with an empty tenant": lambda o: o.token(tenant=" "),
    "without a subject": lambda o: o.token(sub=None),
    "changed on the way": lambda o: o.token()[:-6] + "AAAAAA",
}


@pytest.mark.parametrize("path", ["/v1/memories", "/api/v2/memory/"])
@pytest.mark.parametrize("why", BAD)
def test_guarantee_8_a_bad_token_opens_nothing(why: str, path: str, oidc: Issuer) -> None:
    """Expired, of another audience, issuer or key, unsigned, confused, or without what makes it somebody's: 401."""
    assert status(server(oidc), BAD[why](oidc), path) == 401


def test_guarantee_8_a_foreign_tenant_is_not_the_issuers_to_speak_for() -> None:
    """Where the tenants are named, a token of any other opens nothing."""
    with issuing() as oidc:
        face = server(oidc, oidc_tenants="acme, globex")
        assert status(face, oidc.token(tenant="globex")) == 200
        assert status(face, oidc.token(tenant="initech")) == 401


def test_roles_come_from_a_claim_and_so_does_the_tenant(oidc: Issuer) -> None:
    """Also from claims inside others, and from a text of several; without the role, 403."""
    face = server(oidc, oidc_roles_claim="realm_access.roles", oidc_tenant_claim="org.name")
    policy = "/v1/admin/retentionConfig"

    def changed(**claims: Any) -> int:
        token = oidc.token(tenant=None, org={"name": "acme"}, **claims)
        headers = {"authorization": f"Bearer {token}"}
        return face.send("PATCH", policy, headers=headers, json={"messageDays": 1}).status_code

    assert changed(realm_access={"roles": ["mnemolog.admin"]}) == 200
    assert changed(realm_access={"roles": "read mnemolog.admin"}) == 200
    assert changed(realm_access={"roles": ["admin"]}) == 403
    assert changed(realm_access="mnemolog.admin") == 403
    assert {envelope.tenant for envelope in face.world.envelopes} == {"acme"}
    assert claim({"a.b": 1, "a": {"b": 2}}, "a.b") == 1


def test_facts_never_name_the_subject(oidc: Issuer) -> None:
    """The actor is the same for the same subject, another for another, and tells nobody's name."""
    face = server(oidc)
    headers = {"authorization": f"Bearer {oidc.token(sub='ann@example.com')}"}
    face.send("POST", "/v1/memories", headers=headers, json={"agentID": "a", "invokerID": "i", "content": "x"})
    (envelope,) = face.world.envelopes
    assert envelope.actor == actor(oidc.url, "ann@example.com")
    assert "ann" not in envelope.actor
    assert actor(oidc.url, "bob") != envelope.actor


def test_keys_rotate_without_a_restart() -> None:
    """A token with a key that has just appeared is let in; one whose key was withdrawn is not, once that is known."""
    with issuing() as oidc:
        face = server(oidc)
        old = oidc.token()
        assert status(face, old) == 200
        oidc.keys = {"second": rsa.generate_private_key(65_537, 2_048)}
        assert status(face, oidc.token(key="second")) == 200
        assert status(face, old) == 401


def test_made_up_keys_do_not_make_the_issuer_work() -> None:
    """However many tokens come with keys that nobody knows, the issuer is asked once a pause; good tokens go on."""
    with issuing() as oidc:
        face = server(oidc, oidc_pause=3_600.0)
        assert status(face, oidc.token()) == 200
        asked = len(oidc.asked)
        for number in range(50):
            assert status(face, oidc.token(kid=f"made-up-{number}")) == 401
        assert len(oidc.asked) == asked
        assert status(face, oidc.token()) == 200


def test_while_the_issuer_is_away_known_keys_count_and_without_any_it_is_said() -> None:
    """A good token is not called a bad one: 503 on `/v1`, 500 on `/api/v2`, and other credentials go on."""
    with issuing() as oidc:
        face, fresh, token = server(oidc), server(oidc), oidc.token()
        assert status(face, token) == 200
    assert status(face, token) == 200
    assert status(fresh, token) == 503
    assert status(fresh, token, "/api/v2/memory/") == 500
    assert fresh.send("GET", "/v1/memories", headers=fresh.bearer()).status_code == 200


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/keys", b"no JSON"),
        ("/keys", b"[]"),
        ("/keys", b'{"keys": []}'),
        ("/keys", b'{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "first"}]}'),
        ("/keys", b'{"keys": [{"kty": "RSA", "n": "AQAB", "kid": "first"}]}'),
        ("/keys", b" " * (2 << 20)),
        ("/.well-known/openid-configuration", b'{"issuer": "https://another", "jwks_uri": "https://x"}'),
        ("/.well-known/openid-configuration", b'{"issuer": "URL", "jwks_uri": "http://192.0.2.1/keys"}'),
    ],
)
def test_an_issuer_that_answers_nonsense_is_as_good_as_away(path: str, answer: bytes) -> None:
    """Nothing that it says is believed in part: no shared secret as a key, no key from an open road."""
    with issuing() as oidc:
        oidc.answers[path] = answer.replace(b"URL", oidc.url.encode())
        assert status(server(oidc), oidc.token()) == 503


def test_requests_share_one_fetch_and_none_waits_on_the_loop() -> None:
    """A hundred requests at once ask once, and while the issuer takes its time the loop goes on."""
    fetches: list[None] = []
    ticks: list[None] = []
    shown = usable_keys()

    async def fetch() -> Any:
        fetches.append(None)
        for _ in range(20):
            await asyncio.sleep(0)
        return shown

    async def story() -> None:
        keys = IssuerKeys(fetch, pause=60.0)

        async def ticking() -> None:
            while True:
                ticks.append(None)
                await asyncio.sleep(0)

        beside = asyncio.create_task(ticking())
        found = await asyncio.gather(*(keys.key("first") for _ in range(100)))
        beside.cancel()
        assert all(key is not None for key in found)

    asyncio.run(story())
    assert len(fetches) == 1
    assert len(ticks) > 10


def test_old_keys_are_fetched_again_beside_the_requests() -> None:
    """Whoever asks is answered from what is known, at once; what was withdrawn is gone when the new set is there."""

    async def story() -> None:
        asked, come = asyncio.Event(), asyncio.Event()
        answers = [usable_keys(), usable_keys("second")]

        async def fetch() -> Any:
            if len(answers) == 1:
                asked.set()
                await come.wait()
            return answers.pop(0) if len(answers) > 1 else answers[0]

        keys = IssuerKeys(fetch, pause=0.0, lifetime=0.0)
        assert await keys.key("first") is not None
        assert await keys.key("first") is not None
        await asked.wait()
        assert await keys.key("first") is not None
        come.set()
        assert await keys.key("second") is not None
        assert await keys.key("first") is None

    asyncio.run(story())


def usable_keys(name: str = "first") -> dict[str, Any]:
    """Return a set of one key."""
    with issuing() as oidc:
        return {"keys": [{**oidc.shown()["keys"][0], "kid": name}]}


def test_a_private_key_in_the_set_is_taken_as_its_public_half() -> None:
    """What an issuer should never show is not kept."""
    key = rsa.generate_private_key(65_537, 2_048)
    shown = {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key)), "kid": "k"}
    assert not hasattr(usable({"keys": [shown]})["k"].key, "sign")


def test_without_a_key_nobody_can_be_told() -> None:
    """The first fetch failing is not a bad token."""

    async def fetch() -> Any:
        raise OSError

    with pytest.raises(Unavailable):
        asyncio.run(IssuerKeys(fetch, pause=60.0).key("first"))
