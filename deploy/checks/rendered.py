#!/usr/bin/env python3
"""Checks what the chart comes to: the schemas of Kubernetes' API, promises of the chart, and settings that the code has.

Objects of KEDA are not part of that API; of them it is checked that what they scale is there, and that readers are added by a
lag that moves.
"""

import re
import sys
from pathlib import Path

import kubernetes_validate
import yaml

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = "1.37.0"
KEDA = "keda.sh/v1alpha1"

CLOUD = ["backend/src/settings.rs", "aws/src/settings.rs"]
# Where the names of consumers are, each after the setting of its stream.
CONSUMERS = "backend/src/on_aws.rs"
# The watch over the chains is a command of a binary that is no service: it takes less from outside.
WATCH = ["forebay/src/audit.rs", "forebay/src/source.rs", "forebay/src/main.rs"]
# Settings that some processes take, by what their `main.rs`, or the frame that all services have in common, calls them.
SHARED = {"traces::Settings": ["service/src/traces.rs", "service/src/otlp.rs"], "otlp::Settings": ["service/src/otlp.rs"]}


def sources_of(service: str) -> str:
    """Where the settings of a service are."""
    own = WATCH if service == "audit" else ["service/src/process.rs", f"{service}/src/config.rs"]
    frame = WATCH if service == "audit" else ["service/src/process.rs", f"{service}/src/main.rs"]
    own = [*own, *shared_by(frame)]
    return "\n".join((ROOT / path).read_text() for path in [*CLOUD, *own])


def shared_by(frame: list[str]) -> list[str]:
    taken = "".join((ROOT / path).read_text() for path in frame)
    return [path for name, paths in SHARED.items() if name in taken for path in paths]


def settings_of(service: str) -> set[str]:
    return set(re.findall(r'env = "(FOREBAY_\w+)"', sources_of(service)))


def flags_of(service: str) -> set[str]:
    return {f"--{field.replace('_', '-')}" for field in re.findall(r"^    pub (\w+):", sources_of(service), re.M)}


def template_of(thing: dict) -> dict | None:
    """What pods are made from, where there are any."""
    if thing["kind"] == "CronJob":
        return thing["spec"]["jobTemplate"]["spec"]["template"]
    return thing["spec"]["template"] if thing["kind"] == "Deployment" else None


def pod_of(thing: dict) -> dict | None:
    template = template_of(thing)
    return template and template["spec"]


def check_pod(name: str, pod: dict) -> list[str]:
    container = pod["containers"][0]
    environment = settings_given(pod)
    settings = settings_of(container["name"])
    unknown = environment.keys() - settings - {"AWS_REGION"}
    wrong = [f"{name}: {container['name']} has no setting {setting}" for setting in unknown]
    flags = {word for word in container.get("args", []) if word.startswith("--")}
    wrong += [f"{name}: {container['name']} has no flag {flag}" for flag in flags - flags_of(container["name"])]
    drains = "FOREBAY_SHUTDOWN_GRACE" in settings
    if drains and pod["terminationGracePeriodSeconds"] <= int(environment["FOREBAY_SHUTDOWN_GRACE"].rstrip("s")):
        wrong.append(f"{name}: it is killed before it has drained")
    wrong += check_probe(name, container)
    if not container["securityContext"]["readOnlyRootFilesystem"] or not pod["securityContext"]["runAsNonRoot"]:
        wrong.append(f"{name}: it may write to its image, or run as root")
    return wrong


def check_probe(name: str, container: dict) -> list[str]:
    """The service whose health is asked for is one that the binary in the image knows by that name."""
    if "readinessProbe" not in container:
        return []
    binary, asked = container["image"].split("/")[-1].split(":")[0], container["readinessProbe"]["grpc"]["service"]
    known = any(f'"{asked}"' in path.read_text() for path in (ROOT / binary / "src").rglob("*.rs"))
    return [] if known else [f"{name}: {binary} does not tell the health of {asked}"]


def check_collector(things: list[dict]) -> list[str]:
    """Whoever sends to a collector is let out to it."""
    policies = [thing["spec"] for thing in things if thing["kind"] == "NetworkPolicy"]
    wrong = []
    for thing, pod in pods(things):
        endpoint = settings_given(pod).get("FOREBAY_OTLP_ENDPOINT")
        labels = template_of(thing)["metadata"]["labels"]
        own = [policy for policy in policies if policy["podSelector"]["matchLabels"].items() <= labels.items()]
        ports = {port["port"] for policy in own for rule in policy["egress"] for port in rule["ports"]}
        if endpoint and int(endpoint.rsplit(":", 1)[1]) not in ports:
            wrong.append(f"{thing['kind']} {thing['metadata']['name']}: no network policy lets it out to {endpoint}")
    return wrong


def check_lag(things: list[dict]) -> list[str]:
    """Readers are added by their own lag: who subscribes has it under another name than who asks, and only one of the two moves."""
    deployments = {thing["metadata"]["name"]: settings_given(pod) for thing, pod in pods(things)}
    consumers = dict(re.findall(r'names\.(\w+)_stream, "([\w-]+)"', (ROOT / CONSUMERS).read_text()))
    wrong = []
    for thing in (thing for thing in things if thing["apiVersion"] == KEDA):
        reader = thing["spec"].get("scaleTargetRef", {}).get("name", "")
        read = {"dedup-service": "raw", "writer-service": "clean"}.get(reader.partition("-")[2])
        if read is None:
            continue
        settings, given = deployments[reader], thing["spec"]["triggers"][0]["metadata"]
        wanted = {"StreamName": settings[f"FOREBAY_{read.upper()}_STREAM"]}
        fans_out = settings.get("FOREBAY_FAN_OUT") == "true"
        wanted |= {"ConsumerName": consumers[read]} if fans_out else {}
        metric = "SubscribeToShardEvent.MillisBehindLatest" if fans_out else "GetRecords.IteratorAgeMilliseconds"
        dimensions = dict(zip(given["dimensionName"].split(";"), given["dimensionValue"].split(";"), strict=True))
        if (given["metricName"], dimensions) != (metric, wanted):
            wrong.append(f"ScaledObject {reader}: it is scaled by {given['metricName']} of {dimensions}, not by {metric} of {wanted}")
    return wrong


def check_keys(things: list[dict]) -> list[str]:
    """Values that are shipped leave no gateway open to all."""
    open_to_all = [thing for thing, pod in pods(things) if pod["containers"][0]["name"] == "ingest-gateway" and "FOREBAY_WRITE_KEYS" not in settings_given(pod)]
    return [f"Deployment {thing['metadata']['name']} takes events from anybody: it has no write keys" for thing in open_to_all]


def pods(things: list[dict]) -> list[tuple[dict, dict]]:
    return [(thing, pod) for thing in things if (pod := pod_of(thing))]


def settings_given(pod: dict) -> dict[str, str | None]:
    return {entry["name"]: entry.get("value") for entry in pod["containers"][0]["env"]}


def check(things: list[dict]) -> list[str]:
    wrong = check_collector(things) + check_keys(things) + check_lag(things)
    deployments = {thing["metadata"]["name"] for thing in things if thing["kind"] == "Deployment"}
    for thing in things:
        name = f"{thing['kind']} {thing['metadata']['name']}"
        if thing["apiVersion"] == KEDA:
            target = thing["spec"]["scaleTargetRef"]["name"]
            wrong += [] if target in deployments else [f"{name}: there is no deployment {target}"]
            continue
        try:
            kubernetes_validate.validate(thing, KUBERNETES, strict=True)
        except kubernetes_validate.ValidationError as error:
            wrong.append(f"{name}: {'.'.join(map(str, error.path))}: {error.message}")
        pod = pod_of(thing)
        wrong += check_pod(name, pod) if pod else []
    return wrong


def main() -> None:
    things = [thing for thing in yaml.safe_load_all(Path(sys.argv[1]).read_text()) if thing]
    wrong = check(things)
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
