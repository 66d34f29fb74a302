#!/usr/bin/env python3
"""Checks what the chart comes to: the schemas of Kubernetes' API, promises of the chart, and settings that the code has.

Objects of KEDA are not part of that API; of them it is checked that what they scale is there.
"""

import re
import sys
from pathlib import Path

import kubernetes_validate
import yaml

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = "1.37.0"
KEDA = "keda.sh/v1alpha1"

COMMON = ["backend/src/settings.rs", "aws/src/settings.rs", "service/src/process.rs"]


def settings_of(service: str) -> set[str]:
    texts = [(ROOT / path).read_text() for path in [*COMMON, f"{service}/src/config.rs"]]
    return {name for text in texts for name in re.findall(r'env = "(FOREBAY_\w+)"', text)}


def pod_of(thing: dict) -> dict | None:
    if thing["kind"] == "CronJob":
        return thing["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return thing["spec"]["template"]["spec"] if thing["kind"] == "Deployment" else None


def check_pod(name: str, pod: dict) -> list[str]:
    container = pod["containers"][0]
    environment = {entry["name"]: entry.get("value") for entry in container["env"]}
    unknown = environment.keys() - settings_of(container["name"]) - {"AWS_REGION"}
    wrong = [f"{name}: {container['name']} has no setting {setting}" for setting in unknown]
    grace = int(environment["FOREBAY_SHUTDOWN_GRACE"].rstrip("s"))
    if pod["terminationGracePeriodSeconds"] <= grace:
        wrong.append(f"{name}: it is killed before it has drained")
    if not container["securityContext"]["readOnlyRootFilesystem"] or not pod["securityContext"]["runAsNonRoot"]:
        wrong.append(f"{name}: it may write to its image, or run as root")
    return wrong


def check(things: list[dict]) -> list[str]:
    wrong = []
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
