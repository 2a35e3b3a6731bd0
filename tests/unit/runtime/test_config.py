"""Settings: what weighs more, what is refused, and that every refusal names what is wrong."""

from __future__ import annotations

import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from mnemolog.runtime.cli import main
from mnemolog.runtime.config import SECRETS, BadConfiguration, Settings
from mnemolog.runtime.config_reading import load
from mnemolog.runtime.config_shown import described
from tests.certificates import Authority

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MNEMOLOG_")]:
        monkeypatch.delenv(name)


def test_without_anything_said_the_defaults_hold() -> None:
    """An option that was not given says nothing."""
    assert load({"port": None, "data": None}) == Settings()


def test_options_weigh_more_than_variables_and_these_more_than_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them may be absent."""
    file = tmp_path / "m.toml"
    file.write_text('port = 1\nhost = "file"\nlog_level = "error"\nnever = true\nwrite_wait = 2.5\n')
    monkeypatch.setenv("MNEMOLOG_PORT", "2")
    monkeypatch.setenv("MNEMOLOG_HOST", "variable")
    settings = load({"port": "3"}, file)
    assert (settings.port, settings.host, settings.log_level) == (3, "variable", "error")
    assert settings.never
    assert settings.rules().never_allowed
    assert settings.write_wait == 2.5


@pytest.mark.parametrize(
    ("variable", "value", "needs"),
    [
        ("MNEMOLOG_PORT", "eighty", "a whole number, not 'eighty'"),
        ("MNEMOLOG_PORT", "65536", "0 to 65535, not 65536"),
        ("MNEMOLOG_PORT", "-1", "0 to 65535, not -1"),
        ("MNEMOLOG_NO_AUTH", "maybe", "true or false, not 'maybe'"),
        ("MNEMOLOG_NEVER", "", "true or false, not ''"),
        ("MNEMOLOG_WRITE_WAIT", "long", "a number of seconds, not 'long'"),
        ("MNEMOLOG_COMMAND_DAYS", "1.5", "a whole number, not '1.5'"),
        ("MNEMOLOG_LOG_LEVEL", "loud", "debug, info, warning or error, not 'loud'"),
        ("MNEMOLOG_PROT", "8080", "is not a setting of mnemolog"),
        ("MNEMOLOG_WRITE_WAIT", "nan", "seconds"),
        ("MNEMOLOG_WRITE_WAIT", "-1", "seconds"),
        ("MNEMOLOG_SEARCH_WAIT", "inf", "seconds"),
        ("MNEMOLOG_TOKEN_SECONDS", "0", "1 or more"),
        ("MNEMOLOG_COMMAND_DAYS", "0", "1 or more"),
        ("MNEMOLOG_QDRANT", "127.0.0.1:6333", "a URL like http://127.0.0.1:6333"),
    ],
)
def test_a_wrong_variable_is_named_with_what_it_must_be(
    variable: str, value: str, needs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads the error knows what to change, and to what."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(BadConfiguration) as error:
        load({})
    assert variable in str(error.value)
    assert needs in str(error.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("port = [1]\n", "port in "),
        ('no_auth = "maybe"\n', "no_auth in "),
        ("colour = 1\n", "colour in "),
        ("port = \n", "cannot be read"),
        ("\xff", "cannot be read"),
    ],
)
def test_a_wrong_file_is_named_with_the_setting(text: str, complaint: str, tmp_path: Path) -> None:
    """Also where it is no TOML, or no text at all."""
    file = tmp_path / "m.toml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(BadConfiguration) as error:
        load({}, file)
    assert complaint in str(error.value)
    assert str(file) in str(error.value)


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """It was asked for by name."""
    with pytest.raises(BadConfiguration, match=r"nowhere\.toml cannot be read"):
        load({}, tmp_path / "nowhere.toml")


def test_a_wrong_option_is_named_as_it_was_given() -> None:
    """With its dashes."""
    with pytest.raises(BadConfiguration, match="--port must be a whole number, not 'x'"):
        load({"port": "x"})


def test_no_auth_is_refused_on_an_address_that_others_reach() -> None:
    """Unless that is said to be meant."""
    assert load({"no_auth": True}).no_auth
    with pytest.raises(BadConfiguration, match=r"MNEMOLOG_NO_AUTH would let everyone.*MNEMOLOG_NO_AUTH_ANYWHERE"):
        load({"no_auth": True, "host": "0.0.0.0"})  # noqa: S104 -- the point of the test
    assert load({"no_auth": True, "host": "0.0.0.0", "no_auth_anywhere": "1"}).no_auth_anywhere  # noqa: S104


def test_every_setting_is_described_with_its_variable_value_and_meaning() -> None:
    """As text for a person and as JSON for a program."""
    settings = Settings(port=4711)
    text = described(settings, as_json=False)
    values: dict[str, Any] = json.loads(described(settings, as_json=True))
    for known in fields(Settings):
        assert f"MNEMOLOG_{known.name.upper()}" in text
        assert known.name in values
    assert values["port"] == 4711
    assert "4711" in text


def test_a_key_is_shown_nowhere() -> None:
    """Not in what the settings are described as, and not where they are printed."""
    settings = Settings(qdrant_key="s3cret", token_key="5e" * 32)
    for shown in (described(settings, as_json=False), described(settings, as_json=True), repr(settings)):
        assert "s3cret" not in shown
        assert "5e5e" not in shown


def test_every_mistake_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody starts five times to find five mistakes."""
    monkeypatch.setenv("MNEMOLOG_PORT", "many")
    monkeypatch.setenv("MNEMOLOG_PROT", "1")
    with pytest.raises(BadConfiguration) as error:
        load({})
    assert len(str(error.value).splitlines()) == 2
    monkeypatch.undo()
    with pytest.raises(BadConfiguration) as error:
        load({"port": "-1", "log_level": "loud"})
    assert len(str(error.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"runtime": "kafka"}, "MNEMOLOG_KAFKA must name"),
        ({"qdrant_key": "k"}, "MNEMOLOG_QDRANT_KEY is set, but MNEMOLOG_QDRANT"),
        ({"signed_tenants": "acme"}, "MNEMOLOG_SIGNED_TENANTS needs MNEMOLOG_AUTHORITIES"),
        ({"authority_key": "0" * 64}, "MNEMOLOG_AUTHORITY_KEY needs MNEMOLOG_AUTHORITIES"),
        ({"authorities": "0" * 64 + ",abc"}, "must be 32 bytes in hex"),
        ({"authorities": "0" * 64, "authority_key": "x"}, "must be 32 bytes in hex"),
        ({"grant_hours": "0"}, "MNEMOLOG_GRANT_HOURS must be 1 or more"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(options: dict[str, str], named: str) -> None:
    """With the variables that it is about."""
    with pytest.raises(BadConfiguration, match=named):
        load(options)


def test_a_secret_may_lie_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As orchestrators mount them; the secret and its file together are a contradiction, and no secret is ever told."""
    held = tmp_path / "secret"
    held.write_text("5e" * 32 + "\n")
    monkeypatch.setenv("MNEMOLOG_TOKEN_KEY_FILE", str(held))
    assert load({}).token_key == "5e" * 32
    monkeypatch.setenv("MNEMOLOG_TOKEN_KEY", "5e" * 32)
    with pytest.raises(BadConfiguration, match="MNEMOLOG_TOKEN_KEY and MNEMOLOG_TOKEN_KEY_FILE contradict") as error:
        load({})
    assert "5e5e" not in str(error.value)
    monkeypatch.delenv("MNEMOLOG_TOKEN_KEY")
    monkeypatch.setenv("MNEMOLOG_TOKEN_KEY_FILE", str(tmp_path / "nowhere"))
    with pytest.raises(BadConfiguration, match="MNEMOLOG_TOKEN_KEY_FILE must name a file"):
        load({})
    monkeypatch.setenv("MNEMOLOG_PORT_FILE", str(held))
    with pytest.raises(BadConfiguration, match="MNEMOLOG_PORT_FILE is not a setting"):
        load({})


def test_a_password_in_a_url_is_masked() -> None:
    """The rest of the URL is shown: it is what one looks for."""
    settings = Settings(
        redis="rediss://mnemolog:s3cret@redis:6380/0", audit_also="https://a:s3cret@b/x, kafka://k:9092/t"
    )
    for shown in (described(settings, as_json=False), described(settings, as_json=True)):
        assert "s3cret" not in shown
        assert "rediss://mnemolog:***@redis:6380/0" in shown
        assert "kafka://k:9092/t" in shown


def test_the_check_tells_mistakes_and_what_may_not_be_meant(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without starting anything: 2 with a line for each mistake, 0 with notes."""
    monkeypatch.setenv("MNEMOLOG_RUNTIME", "kafka")
    assert main(["config", "check"]) == 2
    assert "MNEMOLOG_KAFKA must name" in capsys.readouterr().err
    monkeypatch.setenv("MNEMOLOG_KAFKA", "kafka:9092")
    assert main(["config", "check"]) == 0
    said = capsys.readouterr().out
    assert "note: MNEMOLOG_TOKEN_KEY is not set" in said
    assert said.endswith("the settings can be used\n")


def test_every_secret_is_a_setting_that_is_not_printed() -> None:
    """Also not by a trace that shows the settings."""
    known = {f.name: f for f in fields(Settings)}
    assert known.keys() >= SECRETS
    assert not [name for name in SECRETS if known[name].repr]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"kafka_sasl": "GSSAPI"}, "MNEMOLOG_KAFKA_SASL must be nothing, PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"),
        ({"kafka_sasl": "PLAIN", "kafka_user": "u"}, "MNEMOLOG_KAFKA_SASL needs MNEMOLOG_KAFKA_USER and"),
        ({"kafka_password": "p"}, "MNEMOLOG_KAFKA_SASL names no way to log in"),
        ({"kafka_ca": "ca.pem"}, "MNEMOLOG_KAFKA_CA: nothing is encrypted, as MNEMOLOG_KAFKA_TLS is not true"),
        ({"kafka_tls": True, "kafka_key": "k.pem"}, "MNEMOLOG_KAFKA_KEY needs MNEMOLOG_KAFKA_CERTIFICATE"),
        ({"kafka_tls": True, "kafka_ca": "/nowhere"}, "MNEMOLOG_KAFKA_CA must be a file of certificates in PEM"),
        ({"redis_ca": "ca.pem"}, "MNEMOLOG_REDIS_CA: nothing is encrypted, as MNEMOLOG_REDIS is not rediss://"),
        ({"redis": "tcp://x"}, "MNEMOLOG_REDIS must be a URL of Redis"),
        ({"redis": "rediss://a:b@x", "redis_user": "c"}, "MNEMOLOG_REDIS names a user or a password, and so does"),
        ({"qdrant": "http://x", "qdrant_ca": "ca.pem"}, "MNEMOLOG_QDRANT_CA: nothing is encrypted"),
    ],
)
def test_connections_that_cannot_be_are_refused(options: dict[str, object], named: str) -> None:
    """Before anything is connected: a setting that would not do what its name says is no setting to start with."""
    with pytest.raises(BadConfiguration) as error:
        load(options)
    assert named in str(error.value)


def test_a_certificate_and_another_key_do_not_go_together(tmp_path: Path) -> None:
    """What TLS would only say at the first connection is said at the start; what belongs together is taken."""
    authority = Authority(tmp_path)
    one, other = authority.client("one"), authority.client("other")
    given = {"redis": "rediss://x", "redis_ca": str(authority.ca), "redis_certificate": str(one.certificate)}
    assert load({**given, "redis_key": str(one.key)}).redis_key
    assert load({**given, "redis_certificate": str(one.both)}).redis_certificate
    with pytest.raises(
        BadConfiguration, match="MNEMOLOG_REDIS_CERTIFICATE and MNEMOLOG_REDIS_KEY must be files in PEM"
    ):
        load({**given, "redis_key": str(other.key)})


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"oidc_issuer": "https://id"}, "MNEMOLOG_OIDC_ISSUER needs MNEMOLOG_OIDC_AUDIENCE"),
        ({"oidc_audience": "us"}, "MNEMOLOG_OIDC_AUDIENCE is set, but MNEMOLOG_OIDC_ISSUER names no issuer"),
        ({"oidc_issuer": "http://id", "oidc_audience": "us"}, "MNEMOLOG_OIDC_ISSUER must be an https:// address"),
        ({"oidc_issuer": "https://id", "oidc_audience": "us", "no_auth": True}, "MNEMOLOG_NO_AUTH lets everyone in"),
    ],
)
def test_an_issuer_that_cannot_be_believed_is_refused(options: dict[str, object], named: str) -> None:
    """Whose tokens would open what they should not."""
    with pytest.raises(BadConfiguration) as error:
        load(options)
    assert named in str(error.value)
