#!/usr/bin/env python3
"""Plants one fault at a time into a copy of what `observability.py` reads, and fails where it does not notice it."""

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


@dataclass
class Fault:
    """`old` becomes `new`, once, in a file; the check has to end with an error that says `named`. Without `new`, the file goes."""

    file: str
    old: str
    new: str | None
    named: str


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
]


def copy(to: Path) -> None:
    """What is read: all of `deploy/`, and the sources that it is compared with."""
    ignored = shutil.ignore_patterns(".terraform", "__pycache__")
    for name in ("deploy", "docs", "infrastructure", "aws/prices"):
        shutil.copytree(ROOT / name, to / name, ignore=ignored)
    shutil.copy(ROOT / "docker-compose.yml", to)
    for sources in filter(Path.is_dir, (path / "src" for path in ROOT.iterdir() if (path / "Cargo.toml").exists())):
        shutil.copytree(sources, to / sources.relative_to(ROOT))


def check(root: Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([sys.executable, root / "deploy/checks/observability.py"], capture_output=True, text=True, env=environment)


def unnoticed(root: Path, fault: Fault) -> str | None:
    path = root / fault.file
    whole = path.read_text()
    if fault.old not in whole:
        return f"{fault.file} has no {fault.old!r} to put a fault in: change FAULTS"
    path.unlink() if fault.new is None else path.write_text(whole.replace(fault.old, fault.new, 1))
    ended = check(root)
    path.write_text(whole)
    if ended.returncode != 0 and fault.named in ended.stderr and "Traceback" not in ended.stderr:
        return None
    return f"observability.py does not notice {fault.new!r} in {fault.file}: {ended.stderr.strip()[-300:]}"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        copy(root)
        sound = check(root)
        wrong = [sound.stderr] if sound.returncode != 0 else [line for fault in FAULTS if (line := unnoticed(root, fault))]
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
