"""A server and an issuer that speak over HTTP: tokens open both faces, and keys rotate under the running server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from mnemolog.runtime.process import ServerProcess
from tests.issuers import AUDIENCE, issuing

pytestmark = pytest.mark.system


def test_guarantee_8_tokens_of_an_issuer_open_their_own_tenant_and_keys_rotate_without_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one tenant has written, a token of another does not find; a withdrawn key opens nothing any more."""
    with issuing() as issuer:
        told = {"oidc_issuer": issuer.url, "oidc_audience": AUDIENCE, "oidc_pause": "0.01", "model": "hashing"}
        for name, value in told.items():
            monkeypatch.setenv(f"MNEMOLOG_{name.upper()}", value)
        server = ServerProcess(tmp_path / "data")
        try:
            with httpx.Client(base_url=server.wait_ready().url, trust_env=False, timeout=30) as http:

                def send(method: str, path: str, token: str, body: Any = None) -> httpx.Response:
                    return http.request(method, path, headers={"authorization": f"Bearer {token}"}, json=body)

                mine, other = issuer.token(), issuer.token(tenant="globex")
                memory = {"agentID": "a", "invokerID": "i", "content": "kept for acme"}
                kept = send("POST", "/v1/memories", mine, memory).json()["id"]
                assert send("GET", f"/v1/memories({kept})", mine).json()["content"] == "kept for acme"
                assert send("GET", f"/v1/memories({kept})", other).status_code == 404
                space = send("POST", "/api/v2/memory/new/", mine, {}).json()
                assert (space["userId"], space["tenantId"]) == ("ann", "acme")
                bob = issuer.token(sub="bob")
                assert send("GET", f"/api/v2/memory/{space['memorySpaceId']}/", bob).status_code == 404

                issuer.keys = {"second": rsa.generate_private_key(65_537, 2_048)}
                renewed = issuer.token(key="second")
                assert send("GET", f"/v1/memories({kept})", renewed).status_code == 200
                assert send("GET", f"/v1/memories({kept})", mine).status_code == 401
        finally:
            assert server.stop() == 0
