"""An OIDC issuer of the tests' own: a real HTTP server that describes itself, shows its keys, and counts who asks."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
AUDIENCE = "mnemolog"


class Issuer:
    """Signs tokens; `keys` are those that it shows, by id."""

    def __init__(self, url: str) -> None:
        """Start with one RSA key."""
        self.url = url
        self.keys: dict[str, PrivateKey] = {"first": rsa.generate_private_key(65_537, 2_048)}
        self.asked: list[str] = []
        self.answers: dict[str, bytes] = {}

    def token(
        self, *, key: str = "first", by: Any = None, algorithm: str = "RS256", kid: str | None = None, **claims: Any
    ) -> str:
        """Return a token of tenant `acme` and subject `ann`, with other claims; None takes one out."""
        whole = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "ann",
            "tenant": "acme",
            "exp": 32_000_000_000,
            "roles": [],
            **claims,
        }
        headers = {"kid": key if kid is None else kid}
        signed = {name: value for name, value in whole.items() if value is not None}
        return jwt.encode(signed, self.keys[key] if by is None else by, algorithm, headers)

    def shown(self) -> Mapping[str, Any]:
        """Return its public keys as a JSON Web Key Set."""
        return {"keys": [{**_public(key), "kid": name, "use": "sig"} for name, key in self.keys.items()]}

    def answer(self, path: str) -> bytes:
        """Return what stands at a path."""
        self.asked.append(path)
        if path in self.answers:
            return self.answers[path]
        if path == "/.well-known/openid-configuration":
            return json.dumps({"issuer": self.url, "jwks_uri": f"{self.url}/keys"}).encode()
        return json.dumps(self.shown()).encode()


def _public(key: PrivateKey) -> dict[str, Any]:
    match key:
        case rsa.RSAPrivateKey():
            found: Any = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
        case ec.EllipticCurvePrivateKey():
            found = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
        case _:
            found = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return dict(found)


@contextmanager
def issuing() -> Iterator[Issuer]:
    """Serve an issuer on this machine until the end."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = issuer.answer(self.path)
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer = Issuer(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="issuer")
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
