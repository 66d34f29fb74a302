#!/usr/bin/env python3
"""Plants one fault at a time into a copy of what the checks read, and fails where a check does not notice it.

The arguments are Helm, the Python that `rendered.py` needs, and hadolint.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

RULES = "deploy/observability/prometheus/rules"
BOARDS = "deploy/observability/grafana/dashboards"
CHART = "deploy/kubernetes"


@dataclass
class Fault:
    """`old` becomes `new`, once, in a file; the check has to end with an error that says `named`. Without `new`, the file goes."""

    file: str
    old: str
    new: str | None
    named: str
    check: str = "observability.py"


FAULTS = [
    Fault("docs/metrics.md", "`forebay_writer_holes`", "`forebay_writer_gaps`", "has no forebay_writer_holes"),
    Fault("docs/metrics.md", "| `reason`, `source` |", "| `source` |", "no metric of it has label reason"),
    Fault("docs/metrics.md", "_freshness_seconds` | histogram", "_freshness_seconds` | gauge", "has no forebay_writer_freshness_seconds_bucket"),
    Fault(f"{RULES}/promise.yml", "forebay_missing_events) > 0", "forebay_missing_events > 0", "unclosed left parenthesis"),
    Fault(f"{RULES}/promise.yml", "max by (shard) (forebay", "max by (stream) (forebay", "no metric of it has label stream"),
    Fault(f"{RULES}/promise.yml", "$labels.shard", "$labels.stream", "its words name label stream"),
    Fault(f"{RULES}/promise.yml", "severity: page", "severity: urgent", "its severity is none of"),
    Fault(f"{RULES}/promise.yml", "          summary:", "          headline:", "it has no summary"),
    Fault(f"{RULES}/promise.yml", "runbooks/hole.md", "runbooks/holes.md", "there is no runbook deploy/runbooks/holes.md"),
    Fault(f"{RULES}/promise.yml", "alert: HoleOpen", "alert: HolesOpen", "no test has it fire"),
    Fault(f"{RULES}/processes.yml", 'bound="disk_free_bytes"', 'bound="disk_bytes"', "label bound is never 'disk_bytes'"),
    Fault(f"{RULES}/processes.yml", "kube_pod_container_status_restarts_total", "kube_pod_restarts_total", "has no kube_pod_restarts_total"),
    Fault("deploy/runbooks/hole.md", "", None, "there is no runbook deploy/runbooks/hole.md"),
    Fault("deploy/runbooks/hole.md", "`HoleOpen`", "`Hole`", "does not name alert HoleOpen"),
    Fault("deploy/runbooks/hole.md", "## Do", "## What to do", "its sections are not"),
    Fault("deploy/runbooks/hole.md", "forebay_writer_holes", "forebay_writer_hole", "has no forebay_writer_hole"),
    Fault("deploy/runbooks/halt.md", "--accept-trimmed", "--accept-lost", "nobody has the flag --accept-lost"),
    Fault("deploy/runbooks/halt.md", "retention has removed it` |", "retention took it` |", "nobody says 'retention took it'"),
    Fault("deploy/runbooks/halt.md", "`encoding failed`", "`were announced`", "halt.md has no row for 'encoding failed: {error}'"),
    Fault("deploy/runbooks/hole.md", "   forebay forward-again\n", "", "hole.md does not say `forebay forward-again`"),
    Fault(f"{BOARDS}/pipeline.json", "forebay_dedup_lag_seconds", "forebay_dedup_delay_seconds", "has no forebay_dedup_delay_seconds"),
    Fault(f"{BOARDS}/pipeline.json", "histogram_quantile(", "histogram_quantile((", "panel «How long does a producer wait?»"),
    Fault(f"{BOARDS}/pipeline.json", "{{shard}}", "{{stream}}", "its legend names label stream"),
    Fault(f"{BOARDS}/pipeline.json", '"expr": "max(', '"query": "max(', "query A is empty"),
    Fault(f"{BOARDS}/pipeline.json", '"id": 3,', '"id": 2,', "2 panels have id 2"),
    Fault(f"{BOARDS}/pipeline.json", '"uid": "${datasource}"', '"uid": "prometheus"', "a source is prometheus, not the variable"),
    Fault(f"{BOARDS}/pipeline.json", '"x": 4,', '"x": 3,', "overlap"),
    Fault(f"{BOARDS}/cost.json", "0.625 / 1000000", "1.25 / 1000000", "$dynamodb_write_unit is 1.25 / 1000000"),
    Fault(f"{BOARDS}/cost.json", "($kinesis_shard)", "($kinesis_shards)", "there is no variable kinesis_shards"),
    Fault(f"{BOARDS}/cost.json", 'unit=\\"write_units\\"', 'unit=\\"write_unit\\"', "label unit is never 'write_unit'"),
    Fault("aws/prices/us-east-1.toml", "dollars = 0.015", "dollars = 0.02", "$kinesis_shard is 0.015 / 1"),
    Fault("infrastructure/observability.tf", " Runbook: deploy/runbooks/nobody-reads.md", "", "its description names no runbook"),
    Fault("infrastructure/observability.tf", 'runbook     = "hole"', 'runbook     = "holes"', "an alarm names deploy/runbooks/holes.md"),
    Fault("writer-service/src/holes.rs", '"a hole stays open: forward it again"', '"a hole"', "nobody logs 'a hole stays open: forward it again'"),
    Fault("deploy/observability/prometheus/prometheus.yml", "writer-service:8083", "writer-service:8082", "job writer-service asks writer-service:8082"),
    Fault("docker-compose.yml", "prom/prometheus:v3.5.0", "prom/prometheus:latest", "the image of prometheus is not pinned"),
    Fault("infrastructure/observability.tf", "    compaction-not-done = {", "    night-not-done = {", "compaction-behind.md does not name alarm night-not-done"),
    Fault("infrastructure/observability.tf", 'runbook     = "quarantine-surge"', 'runbook     = "hole"', "no alarm of CloudWatch names quarantine-surge.md"),
    Fault("forebay/src/audit/watch.rs", "        in_flight,\n        missing,\n", "        missing,\n", "the line 'the chains were read' has no in_flight"),
    Fault("forebay/src/audit/watch.rs", "        in_flight,\n        missing,\n", "        on_the_way = in_flight,\n        missing,\n", "the line 'the chains were read' has no in_flight"),
    Fault(f"{CHART}/values/small.yaml", "  writeKeysSecret: forebay-write-keys\n", "", "takes events from anybody", "rendered.py small"),
    Fault(f"{CHART}/templates/network.yaml", 'include "forebay.collector" $context', '""', "no network policy lets it out to http://collector", "rendered.py telemetry"),
    Fault(f"{CHART}/templates/_pod.tpl", "FOREBAY_TRACE_SAMPLE", "FOREBAY_TRACE_SHARE", "has no setting FOREBAY_TRACE_SHARE", "rendered.py telemetry"),
    Fault(f"{CHART}/templates/network.yaml", 'include "forebay.collector" $context', 'include "forebay.traced" $context', "forebay-compactor: no network policy lets it out", "rendered.py telemetry"),
    Fault(f"{CHART}/templates/_pod.tpl", '  {{- if include "forebay.traced" . }}', '  {{- if include "forebay.collector" . }}', "has no setting FOREBAY_TRACE_SAMPLE", "rendered.py telemetry"),
    Fault(f"{CHART}/templates/_pod.tpl", '(include "forebay.fansOut" .) "true"', '(include "forebay.fansOut" .) "yes"', "by GetRecords.IteratorAgeMilliseconds", "rendered.py fan-out"),
    Fault(f"{CHART}/templates/_pod.tpl", ";{{ .consumer }}", ";{{ .service }}", "'ConsumerName': 'dedup-service'", "rendered.py fan-out"),
    Fault(f"{CHART}/templates/writer.yaml", '    "FOREBAY_FAN_OUT" (.Values.aws.fanOut | toString)', '    "FOREBAY_FANOUT" (.Values.aws.fanOut | toString)', "has no setting FOREBAY_FANOUT", "rendered.py fan-out"),
    Fault("deploy/Dockerfile", "rust:1.95-slim-bookworm", "rust:latest", "DL3007", "hadolint"),
]


def copy(to: Path) -> None:
    """What is read: all of `deploy/`, and the sources that it is compared with."""
    ignored = shutil.ignore_patterns(".terraform", "__pycache__")
    for name in ("deploy", "docs", "infrastructure", "aws/prices"):
        shutil.copytree(ROOT / name, to / name, ignore=ignored)
    shutil.copy(ROOT / "docker-compose.yml", to)
    for sources in filter(Path.is_dir, (path / "src" for path in ROOT.iterdir() if (path / "Cargo.toml").exists())):
        shutil.copytree(sources, to / sources.relative_to(ROOT))


def check(root: Path, name: str, tools: list[str]) -> subprocess.CompletedProcess:
    helm, python, hadolint = tools
    name, _, values = name.partition(" ")
    if name == "hadolint":
        return run([hadolint, root / "deploy/Dockerfile"])
    if name == "rendered.py":
        rendered = render(root, helm, values)
        return run([python, root / "deploy/checks/rendered.py", rendered])
    return run([sys.executable, root / "deploy/checks" / name])


def render(root: Path, helm: str, values: str) -> Path:
    """What the chart comes to with some values, in a file."""
    of_chart = root / CHART / f"values/{values}.yaml"
    chosen = of_chart if of_chart.exists() else root / f"deploy/checks/{values}.yaml"
    both = ["--values", chosen, "--values", root / "deploy/checks/installation.yaml"]
    ended = run([helm, "template", "forebay", root / CHART, "--namespace", "forebay", *both])
    if ended.returncode != 0:
        sys.exit(ended.stderr)
    rendered = root / f"{values}.yaml"
    rendered.write_text(ended.stdout)
    return rendered


def run(command: list) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})


def unnoticed(root: Path, fault: Fault, tools: list[str]) -> str | None:
    path = root / fault.file
    whole = path.read_text()
    if fault.old not in whole:
        return f"{fault.file} has no {fault.old!r} to put a fault in: change FAULTS"
    path.unlink() if fault.new is None else path.write_text(whole.replace(fault.old, fault.new, 1))
    ended = check(root, fault.check, tools)
    path.write_text(whole)
    said = ended.stdout + ended.stderr
    if ended.returncode != 0 and fault.named in said and "Traceback" not in said:
        return None
    return f"{fault.check} does not notice {fault.new!r} in {fault.file}: {said.strip()[-300:]}"


def main() -> None:
    tools = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        copy(root)
        sound = {name: check(root, name, tools) for name in sorted({fault.check for fault in FAULTS})}
        wrong = [f"{name}: {ended.stdout}{ended.stderr}" for name, ended in sound.items() if ended.returncode != 0]
        wrong = wrong or [line for fault in FAULTS if (line := unnoticed(root, fault, tools))]
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
