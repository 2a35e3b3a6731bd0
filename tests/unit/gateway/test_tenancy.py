"""The rule of the host: which tenant a token request is for (design §10, wire contract §1.2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemolog.gateway.tenancy import asked_tenant
from tests.unit.gateway.fakes import client_row

pytestmark = pytest.mark.unit


@given(st.text())
def test_without_a_zone_the_host_says_nothing(host: str) -> None:
    """A client of tenant T without an identity zone is T's, whatever the host."""
    assert asked_tenant(client_row(), host) == "acme"


@pytest.mark.parametrize(
    ("host", "tenant"),
    [
        ("provider.localhost", "acme"),
        ("provider.localhost:18080", "acme"),
        ("PROVIDER.localhost", "acme"),
        ("globex.localhost:18080", "acme/globex"),
        ("Globex.LocalHost", "acme/globex"),
        ("globex.localhost.", "acme/globex"),
        ("a.b.c.d", "acme/a"),
        ("x" * 63 + ".host", "acme/" + "x" * 63),
        ("localhost", "acme"),
        ("localhost:8080", "acme"),
        ("", "acme"),
        ("127.0.0.1:8080", "acme"),
        ("[::1]:8080", "acme"),
        ("[::1]", "acme"),
        ("x" * 64 + ".host", None),
        ("-a.host", None),
        ("a_b.host", None),
        (".host", None),
        ("a..host", None),
        ("user@globex.host", None),
        ("globex.host/x", None),
        ("acme/globex.host", None),
        ("globex.host:x", None),
        ("127.0.0.1.2", None),
        ("127.1", None),
        ("[::1", None),
        ("gl\xf6bex.host", None),
    ],
)
def test_with_a_zone_the_first_label_counts(host: str, tenant: str | None) -> None:
    """The zone, an IP and a single label are the provider; another label is a subscriber; the rest is refused."""
    assert asked_tenant(client_row(identity_zone="provider"), host) == tenant


def test_subscribers_limit_the_labels() -> None:
    """With a list of subscribers no other label opens anything."""
    client = client_row(identity_zone="provider", subscribers=["globex"])
    assert asked_tenant(client, "globex.host") == "acme/globex"
    assert asked_tenant(client, "provider.host") == "acme"
    assert asked_tenant(client, "initech.host") is None
    assert asked_tenant(client_row(identity_zone="provider", subscribers=[]), "globex.host") is None


@given(st.text())
def test_a_label_never_leaves_the_providers_tenant(host: str) -> None:
    """Whatever the host, the tenant is the client's own or lies below it."""
    tenant = asked_tenant(client_row(identity_zone="provider"), host)
    assert tenant is None or tenant == "acme" or (tenant.startswith("acme/") and tenant.count("/") == 1)
