#!/usr/bin/env python3
"""Asks a real Prometheus every query of the dashboards and rules, on made-up figures of all metrics of `docs/metrics.md`.

A query that fails only on data, as where labels match many to many, fails here; a query of a dashboard that gives nothing shows an
empty panel. The arguments are the paths of `promtool` and `prometheus`.
"""

import json
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager
from itertools import product
from pathlib import Path

from observability import GRAFANA, OBSERVABILITY, Metrics, constants, rules

# Two hours of figures, one a minute.
START, MINUTES = 1_767_225_600, 120
ASKED_AT = START + MINUTES * 60

# How long Prometheus may take to read two hours of figures.
PATIENCE_S = 60

# Values of labels. Where several hang together, each place has them in the order of the names.
VALUES = {
    ("service", "operation", "unit"): [
        ("kinesis", "PutRecords", "ingested_kb"),
        ("kinesis", "PutRecords", "payload_units_25kb"),
        ("kinesis", "GetRecords", "retrieved_kb"),
        ("kinesis", "SubscribeToShard", "retrieved_kb"),
        ("dynamodb", "PutItem", "write_units"),
        ("dynamodb", "Query", "read_units"),
        ("s3", "PutObject", "put_requests"),
        ("s3", "GetObject", "get_requests"),
        ("sqs", "SendMessageBatch", "billed_requests"),
    ],
    ("service", "operation", "outcome"): [("kinesis", "PutRecords", "ok"), ("kinesis", "PutRecords", "throttled"), ("s3", "PutObject", "failed")],
    ("service", "version"): [("forebay", "0.1.0")],
    ("reason", "source"): [("bad_json", "web"), ("bad_uuid", "app")],
    ("source",): [("web",), ("app",)],
    ("reason",): [("bad_uuid",), ("undecodable",)],
    ("status",): [("202",), ("503",)],
    ("part",): [("raw stream",), ("writer",)],
    ("what",): [("certificate",), ("keys",)],
    ("kind",): [("event",), ("quarantine",)],
    ("state",): [(state,) for state in ("numbered", "live", "quarantined", "void", "in_flight", "unknown", "duplicate")],
    ("outcome",): [("done",), ("dead",)],
    ("shard",): [("shard-0",), ("shard-1",)],
    (): [()],
}
INSTANCES = ["a:8080", "b:8080"]

# The order of labels in VALUES.
ORDER = ["service", "operation", "unit", "outcome", "version", "reason", "source"]


def series(metrics: Metrics) -> str:
    """All metrics, as OpenMetrics has them."""
    lines = []
    for name, kind in sorted(metrics.types.items()):
        lines.append(f"# TYPE {name.removesuffix('_total')} {kind}")
        for labels, instance in product(labels_of(metrics, name), INSTANCES):
            labels = f'{labels}job="forebay",instance="{instance}"'
            for minute in range(MINUTES + 1):
                lines += samples(name, kind, labels, minute)
    return "\n".join([*lines, "# EOF\n"])


def labels_of(metrics: Metrics, name: str) -> list[str]:
    """The label sets of a metric, each as text that ends with a comma."""
    labels = metrics.labels[name]
    names = tuple(sorted(labels, key=ORDER.index)) if len(labels) > 1 else tuple(labels)
    rows = bounds() if names == ("bound",) else VALUES.get(names)
    if rows is None:
        sys.exit(f"{name}: give values for {names} in VALUES")
    return ["".join(f'{label}="{value}",' for label, value in zip(names, row)) for row in rows]


def bounds() -> list[tuple[str]]:
    page = (OBSERVABILITY.parents[1] / "docs/metrics.md").read_text()
    listed = re.search(r"^`bound` is one of(.*?)\(", page, re.M | re.S)[1]
    return [(bound,) for bound in re.findall(r"`(\w+)`", listed)]


def samples(name: str, kind: str, labels: str, minute: int) -> list[str]:
    at = START + minute * 60
    if kind == "histogram":
        shares = (("0.1", 50), ("1.0", 90), ("10.0", 99), ("+Inf", 100))
        buckets = [f'{name}_bucket{{{labels},le="{le}"}} {minute * share} {at}' for le, share in shares]
        return [*buckets, f"{name}_sum{{{labels}}} {minute * 40} {at}", f"{name}_count{{{labels}}} {minute * 100} {at}"]
    return [f"{name}{{{labels}}} {minute * 60 if kind == 'counter' else 2} {at}"]


def queries() -> list[tuple[str, str, bool]]:
    """Where each query is, its text, and whether it has to give something."""
    found = [(rule["alert"], rule["expr"], False) for _, rule in rules()]
    for path in sorted(OBSERVABILITY.glob("grafana/dashboards/*.json")):
        board = json.loads(path.read_text())
        values = {variable["name"]: ".*" for variable in board["templating"]["list"]} | GRAFANA
        values |= {variable["name"]: variable["query"] for variable in constants(board)}
        for panel in board["panels"]:
            for target in panel.get("targets", []):
                expr = re.sub(r"\$\{?(\w+)\}?", lambda name: values[name[1]], target["expr"])
                found.append((f"{path.name}: panel «{panel['title']}», {target['refId']}", expr, True))
    return found


def ask(port: int, query: str) -> tuple[str | None, list]:
    """What went wrong, and the result."""
    body = urllib.parse.urlencode({"query": query, "time": ASKED_AT}).encode()
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query", body) as answer:
            return None, json.load(answer)["data"]["result"]
    except urllib.error.HTTPError as error:
        return json.load(error)["error"], []


@contextmanager
def prometheus(promtool: str, binary: str, figures: str):
    """A server that has the figures, at a free port."""
    with tempfile.TemporaryDirectory() as folder:
        data, text, config = Path(folder, "data"), Path(folder, "figures"), Path(folder, "prometheus.yml")
        text.write_text(figures)
        config.write_text("scrape_configs: []\n")
        subprocess.run([promtool, "tsdb", "create-blocks-from", "openmetrics", text, data], check=True, stdout=subprocess.DEVNULL)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [binary, f"--config.file={config}", f"--storage.tsdb.path={data}", f"--web.listen-address=127.0.0.1:{port}"]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait(port, server)
            yield port
        finally:
            server.terminate()
            server.wait()


def wait(port: int, server: subprocess.Popen) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while server.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready").close()
            return
        except OSError:
            time.sleep(0.2)
    sys.exit(f"prometheus is not ready within {PATIENCE_S} s")


def main() -> None:
    wrong = []
    with prometheus(sys.argv[1], sys.argv[2], series(Metrics())) as port:
        for place, query, has_to_give in queries():
            error, result = ask(port, query)
            if error or (has_to_give and not result):
                wrong.append(f"{place}: {error or 'it gives nothing'}: {query}")
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
