#!/usr/bin/env python3
"""Checks dashboards, alert rules, alarms and runbooks against each other and against what the processes show.

`docs/metrics.md` is the list of metrics; a test compares it with the code.
"""

import json
import re
import sys
import tomllib
from collections import Counter
from functools import cache
from itertools import combinations
from pathlib import Path

import promql_parser as promql
import yaml

ROOT = Path(__file__).resolve().parents[2]
OBSERVABILITY = ROOT / "deploy/observability"
RUNBOOKS = ROOT / "deploy/runbooks"
sys.path.insert(0, str(ROOT / "infrastructure/checks"))

import hcl  # noqa: E402

# Metrics that others show, and who.
OUTSIDE = {
    "ALERTS": "Prometheus: alerts that fire, for the marks in dashboards",
    "up": "Prometheus: whether a process answered",
    "kube_pod_container_status_last_terminated_exitcode": "kube-state-metrics: a halted process can't be asked itself",
    "kube_pod_container_status_restarts_total": "kube-state-metrics: whether that exit code is of late",
    "kube_pod_container_resource_limits": "kube-state-metrics: a process does not know the limit of its container",
    "kube_cronjob_status_last_successful_time": "kube-state-metrics: between the nights no compactor may run",
    "kube_cronjob_created": "kube-state-metrics: how long a CronJob that never succeeded has been there",
    "container_memory_working_set_bytes": "cAdvisor: what a container is killed by",
}
OUTSIDE_LABELS = {"alertname", "alertstate", "namespace", "pod", "container", "resource", "cronjob", "severity"}

# Labels that Prometheus gives to whatever it reads.
TARGET_LABELS = {"job", "instance"}

SEVERITIES = {"page", "ticket"}
SECTIONS = ["## Symptom", "## What it means for data", "## Look", "## Do", "## It is over when"]

# What Grafana puts in for variables of its own.
GRAFANA = {"__rate_interval": "5m", "__range": "1h", "datasource": "prometheus"}

# Runbooks of alerts that no alarm of CloudWatch has, and why.
ONLY_PROMETHEUS = {
    "disk-full.md": "of a data directory: on AWS nothing durable is on a disk",
    "gateway-sheds.md": "the load balancer does not tell 429 from other answers of its kind",
    "reload-failed.md": "on AWS keys come by the environment, and TLS ends at the load balancer",
}

# Lines of runbooks whose flags are those of somebody else.
FOREIGN_COMMANDS = re.compile(r"\b(aws|kubectl|docker|terraform|curl|df|du) ")

# Commands that runbooks must have people type.
COMMANDS = {"forebay forward-again": ["hole.md", "missing-events.md"]}

# Errors that end a process as a halt, by the file that has their words.
HALTING_ERRORS = {
    "ledger/src/lib.rs": {"Damaged", "TooLarge"},
    "stream/src/lib.rs": {"UnknownShard", "Trimmed", "MadeAgain", "Damaged"},
    "stream/src/kinesis/error.rs": {"MadeAgain", "Changed", "IgnoresKeys"},
    "lake/src/lib.rs": {"NotFound"},
    "lake/src/parquet_file.rs": {"Damaged", "Differs"},
}

# Crates that are no part of a service.
WITHOUT_HALTS = {"simulation", "standins"}

# Where a plan's rows are compared, which has a word of its own for a halt.
COMPACT = "compactor/src/compact.rs"

# Halts whose words are those of something else, which has a row or is looked for itself, and what it is.
OTHERS_WORDS = {
    "chain {}, plan {number}: {reason}": "a halt of compaction, as it is told by a worker",
    "chain {}, entry {}: {error}": "an object that differs or is damaged",
    "{error}; `forebay audit` says what is missing; on AWS, raise the stream's retention and start with "
    "--accept-trimmed {shard}:{after} to go on with the oldest record that is left": "records that retention has removed",
}


class Metrics:
    """What `docs/metrics.md` says."""

    def __init__(self) -> None:
        page = (ROOT / "docs/metrics.md").read_text()
        rows = re.findall(r"^\| `(\w+)` \| (\w+) \|([^|]*)\|", page, re.M)
        self.labels = {name: set(re.findall(r"`(\w+)`", labels)) for name, _, labels in rows}
        self.types = {name: kind for name, kind, _ in rows}
        self.values = set(re.findall(r"`([^`]+)`", page)) | strings_of_code()

    def labels_of(self, name: str) -> set[str] | None:
        """The labels of a series; none of one that nobody shows."""
        if name in OUTSIDE:
            return OUTSIDE_LABELS
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        if self.types.get(base) == "histogram" and base != name:
            return self.labels[base] | ({"le"} if name.endswith("_bucket") else set())
        return None if self.types.get(name) == "histogram" else self.labels.get(name)


@cache
def code() -> str:
    """All sources of the services, with texts that go on in the next line made whole."""
    text = "\n".join(path.read_text() for path in ROOT.glob("*/src/**/*.rs"))
    return re.sub(r"\\\n\s*", "", text)


def strings_of_code() -> set[str]:
    return set(re.findall(r'"([\w ]+)"', code()))


def nodes(expression) -> list:
    """An expression and all that it is made of."""
    below = [getattr(expression, name, None) for name in ("expr", "lhs", "rhs", "vector_selector", "param")]
    below += getattr(expression, "args", None) or []
    return [expression, *(node for part in below if part is not None and hasattr(part, "prettify") for node in nodes(part))]


def check_expression(metrics: Metrics, text: str) -> tuple[list[str], set[str]]:
    """What is wrong with a query, and the labels that its result may have."""
    try:
        parts = nodes(promql.parse(text))
    except ValueError as error:
        return [f"{error}: {text}"], set()
    wrong, known, grouped = [], set(TARGET_LABELS), set()
    for part in parts:
        if isinstance(part, promql.VectorSelector):
            wrong_here, labels = check_selector(metrics, part)
            wrong += wrong_here
            known |= labels
        modifier = getattr(part, "modifier", None)
        grouped |= set(getattr(getattr(modifier, "matching", modifier), "labels", None) or [])
        if isinstance(part, promql.Call) and part.func.name == "label_replace":
            known.add(part.args[1].val)
    return wrong + [f"no metric of it has label {label}: {text}" for label in sorted(grouped - known)], known


def check_selector(metrics: Metrics, selector) -> tuple[list[str], set[str]]:
    labels = metrics.labels_of(selector.name)
    if labels is None:
        return [f"docs/metrics.md has no {selector.name}"], set()
    wrong = []
    for matcher in selector.matchers.matchers:
        if matcher.name in TARGET_LABELS:
            continue
        if matcher.name not in labels:
            wrong.append(f"{selector.name} has no label {matcher.name}")
        values = [] if selector.name in OUTSIDE else matcher.value.split("|")
        unknown = [value for value in values if value not in metrics.values and not value.isdigit()]
        wrong += [f"{selector.name}: label {matcher.name} is never {value!r}" for value in unknown]
    return wrong, labels


def check_rules(metrics: Metrics) -> list[str]:
    wrong = []
    tests = [yaml.safe_load(path.read_text()) for path in sorted(OBSERVABILITY.glob("prometheus/rules/tests/*.yml"))]
    fired = {name for file in tests for test in file["tests"] for name in told_by(test)}
    for path, rule in rules():
        place = f"{path.name}: {rule['alert']}"
        found, labels = check_expression(metrics, rule["expr"])
        wrong += [f"{place}: {line}" for line in found]
        wrong += [f"{place}: {line}" for line in check_words(rule, labels)]
        if rule["alert"] not in fired:
            wrong.append(f"{place}: no test has it fire")
    names = Counter(rule["alert"] for _, rule in rules())
    return wrong + [f"alert {name} is there {count} times" for name, count in names.items() if count > 1]


def rules() -> list[tuple[Path, dict]]:
    groups = [(path, group) for path in sorted(OBSERVABILITY.glob("prometheus/rules/*.yml")) for group in yaml.safe_load(path.read_text())["groups"]]
    return [(path, rule) for path, group in groups for rule in group["rules"]]


def told_by(test: dict) -> set[str]:
    """Alerts that a test expects to fire."""
    by_alert = {case["alertname"] for case in test.get("alert_rule_test", []) if case["exp_alerts"]}
    by_query = [case["expr"] for case in test.get("promql_expr_test", []) if case["exp_samples"]]
    return by_alert | {name for expr in by_query for name in re.findall(r'alertname="(\w+)"', expr)}


def check_words(rule: dict, labels: set[str]) -> list[str]:
    wrong = []
    annotations = rule.get("annotations", {})
    wrong += [f"it has no {name}" for name in ("summary", "description", "runbook_url") if not annotations.get(name)]
    if rule.get("labels", {}).get("severity") not in SEVERITIES:
        wrong.append(f"its severity is none of {', '.join(sorted(SEVERITIES))}")
    named = {name for text in annotations.values() for name in re.findall(r"\$labels\.(\w+)", text)}
    wrong += [f"its words name label {name}, which it has not" for name in sorted(named - labels)]
    return wrong


def check_dashboards(metrics: Metrics) -> list[str]:
    paths = sorted(OBSERVABILITY.glob("grafana/dashboards/*.json"))
    boards = {path.name: json.loads(path.read_text()) for path in paths}
    uids = Counter(board["uid"] for board in boards.values())
    wrong = [f"{count} dashboards have uid {uid}" for uid, count in uids.items() if count > 1]
    for name, board in boards.items():
        wrong += [f"{name}: a source is {uid}, not the variable" for uid in sorted(set(sources(board)) - {"${datasource}"})]
        wrong += [f"{name}: {line}" for line in [*check_prices(board), *check_panels(metrics, board)]]
    return wrong


def check_prices(board: dict) -> list[str]:
    prices = tomllib.loads((ROOT / "aws/prices/us-east-1.toml").read_text())
    known = {f"{service}_{key}": price for service, keys in prices.items() if isinstance(keys, dict) for key, price in keys.items()}
    wrong = []
    for variable in constants(board):
        name, (dollars, per) = variable["name"], variable["query"].split(" / ")
        price = known.get(name)
        if price is None or (float(dollars), float(per)) != (price["dollars"], price["per"]):
            wrong.append(f"${name} is {variable['query']}, and aws/prices/us-east-1.toml has {price}")
    return wrong


def constants(board: dict) -> list[dict]:
    return [variable for variable in board["templating"]["list"] if variable["type"] == "constant"]


def check_panels(metrics: Metrics, board: dict) -> list[str]:
    panels = board["panels"]
    ids = Counter(panel["id"] for panel in panels)
    wrong = [f"{count} panels have id {number}" for number, count in ids.items() if count > 1]
    values = {variable["name"]: ".*" for variable in board["templating"]["list"] if variable["type"] == "query"}
    values |= {variable["name"]: variable["query"] for variable in constants(board)} | GRAFANA
    for panel in (panel for panel in panels if panel["type"] != "row"):
        wrong += [f"panel «{panel['title']}»: {line}" for line in check_panel(metrics, panel, values)]
    wrong += [f"panels «{a['title']}» and «{b['title']}» overlap" for a, b in combinations(panels, 2) if overlap(a["gridPos"], b["gridPos"])]
    shown = " ".join(str(variable.get("definition", "")) for variable in board["templating"]["list"])
    wrong += [f"a variable asks for {name}, which docs/metrics.md has not" for name in sorted(set(re.findall(r"forebay_\w+", shown)) - metrics.types.keys())]
    return wrong


def overlap(a: dict, b: dict) -> bool:
    return a["x"] < b["x"] + b["w"] and b["x"] < a["x"] + a["w"] and a["y"] < b["y"] + b["h"] and b["y"] < a["y"] + a["h"]


def check_panel(metrics: Metrics, panel: dict, values: dict[str, str]) -> list[str]:
    wrong = []
    if not panel["title"].endswith("?"):
        wrong.append("its title asks nothing")
    wrong += [f"it has no {name}" for name in ("description", "targets") if not panel.get(name)]
    if not panel["fieldConfig"]["defaults"].get("unit"):
        wrong.append("it has no unit")
    at = panel["gridPos"]
    if at["x"] + at["w"] > 24:
        wrong.append("it is beyond the right edge")
    places = Counter(target["refId"] for target in panel.get("targets", []))
    wrong += [f"{count} queries are {place}" for place, count in places.items() if count > 1]
    return wrong + [line for target in panel.get("targets", []) for line in check_target(metrics, target, values)]


def sources(part) -> list[str]:
    """Where a part of a dashboard has its data from."""
    if isinstance(part, list):
        return [uid for inner in part for uid in sources(inner)]
    if not isinstance(part, dict):
        return []
    own = [part["datasource"]["uid"]] if "datasource" in part else []
    return own + sources(list(part.values()))


def check_target(metrics: Metrics, target: dict, values: dict[str, str]) -> list[str]:
    expr = target.get("expr")
    if not expr:
        return [f"query {target['refId']} is empty"]
    unknown = [name for name in re.findall(r"\$\{?(\w+)\}?", expr) if name not in values]
    if unknown:
        return [f"there is no variable {name}" for name in unknown]
    wrong, labels = check_expression(metrics, re.sub(r"\$\{?(\w+)\}?", lambda found: values[found[1]], expr))
    named = re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", ""))
    return wrong + [f"its legend names label {name}, which it has not" for name in named if name not in labels]


def check_runbooks(metrics: Metrics) -> list[str]:
    """Each alert and alarm has a runbook, each runbook has one of them, and what it tells people to type is there."""
    by_rule = {rule["alert"]: rule.get("annotations", {}).get("runbook_url", "") for _, rule in rules()}
    wrong = []
    for alert, url in by_rule.items():
        path = ROOT / url
        if path.parent != RUNBOOKS or not path.is_file():
            wrong.append(f"alert {alert}: there is no runbook {url}")
        elif f"`{alert}`" not in path.read_text():
            wrong.append(f"{url} does not name alert {alert}")
    alarms = runbooks_of_alarms(wrong)
    named = {Path(url).name for url in by_rule.values()} | alarms
    there = {path.name for path in RUNBOOKS.glob("*.md")}
    wrong += [f"deploy/runbooks/{name} is of no alert and no alarm" for name in sorted(there - named)]
    wrong += [f"an alarm names deploy/runbooks/{name}, which is not there" for name in sorted(alarms - there)]
    by_alerts = {Path(url).name for url in by_rule.values()}
    wrong += [f"no alarm of CloudWatch names {name}, which alerts do" for name in sorted(by_alerts - alarms - ONLY_PROMETHEUS.keys())]
    for name, books in COMMANDS.items():
        wrong += [f"{book} does not say `{name}`" for book in sorted(there.intersection(books)) if f"\n   {name}\n" not in (RUNBOOKS / book).read_text()]
    known_flags = flags()
    for path in sorted(RUNBOOKS.glob("*.md")):
        wrong += [f"{path.name}: {line}" for line in check_runbook(metrics, path.read_text(), known_flags)]
    return wrong


def check_runbook(metrics: Metrics, text: str, known_flags: set[str]) -> list[str]:
    sections = re.findall(r"^## .*$", text, re.M)
    wrong = [] if sections == SECTIONS else [f"its sections are not {SECTIONS}"]
    for query in re.findall(r"^```promql\n(.*?)^```", text, re.M | re.S):
        for line in filter(None, (line.split(" # ")[0].strip() for line in query.splitlines())):
            wrong += check_expression(metrics, line)[0]
    for name in sorted(set(re.findall(r"\bforebay_[a-z_]+\b", text))):
        wrong += [] if metrics.labels_of(name) is not None or name in metrics.types else [f"docs/metrics.md has no {name}"]
    own = "\n".join(line for line in text.replace("\\\n", " ").splitlines() if not FOREIGN_COMMANDS.search(line))
    wrong += [f"nobody has the flag {flag}" for flag in sorted(set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", own)) - known_flags)]
    return wrong


def flags() -> set[str]:
    """Whatever may be a flag: fields of settings, and flags that messages, help texts and the list of metrics name."""
    fields = re.findall(r"pub (\w+):", code()) + re.findall(r'long = "([\w-]+)"', code())
    named = re.findall(r"--[a-z][a-z-]+", code() + (ROOT / "docs/metrics.md").read_text())
    return {"--" + field.replace("_", "-") for field in fields} | set(named)


def check_halts() -> list[str]:
    """What the runbook of halts quotes is what the code says, and whatever the code halts with is in it."""
    rows = re.findall(r"^\| (`[^|]*) \|", (RUNBOOKS / "halt.md").read_text(), re.M)
    quoted = [said for row in rows for said in re.findall(r"`([^`]+)`", row)]
    wrong = [f"halt.md: nobody says {said!r}" for said in quoted if said not in code()]
    for place, said in halts():
        if said not in OTHERS_WORDS and not any(quote in said for quote in quoted):
            wrong.append(f"halt.md has no row for {said!r}, of {place}")
    known = {said for _, said in halts()}
    return wrong + [f"OTHERS_WORDS: nobody halts with {said!r}" for said in OTHERS_WORDS if said not in known]


def halts() -> list[tuple[str, str]]:
    """What services halt with, and where: literals of halts, and the words of errors that become one."""
    found = []
    for path in sorted(ROOT.glob("*/src/**/*.rs")):
        place = str(path.relative_to(ROOT))
        text = re.sub(r"\\\n\s*", "", path.read_text().split("#[cfg(test)]\nmod")[0])
        if path.parts[len(ROOT.parts)] not in WITHOUT_HALTS and path.name != "tests.rs":
            found += [(place, said) for said in re.findall(r'\b[Hh]alt\(\s*(?:format!\(|format_args!\()?\s*"((?:[^"\\]|\\.)*)"', text)]
            found += [(place, said) for said in re.findall(r'\bdiffers\(\s*(?:format_args!\()?\s*"((?:[^"\\]|\\.)*)"', text) if place == COMPACT]
        errors = re.findall(r'#\[error\(\s*"((?:[^"\\]|\\.)*)",?\s*\)\]\s*(\w+)', text)
        found += [(place, said) for said, variant in errors if variant in HALTING_ERRORS.get(place, ())]
    return found


def runbooks_of_alarms(wrong: list[str]) -> set[str]:
    """Runbooks that the alarms of CloudWatch name."""
    named = set()
    for path in [ROOT / "infrastructure/observability.tf", ROOT / "infrastructure/modules/service/alarms.tf"]:
        text = path.read_text()
        named |= {f"{name}.md" for name in re.findall(r'\brunbook\s*= "([\w-]+)"', text)}
        wrong += check_names_of_alarms(text)
        named |= set(re.findall(r"deploy/runbooks/([\w-]+\.md)", text))
        for block in hcl.read(path):
            if block.labels[:1] == ["aws_cloudwatch_metric_alarm"] and "deploy/runbooks/" not in block.arguments["alarm_description"]:
                wrong.append(f"{block.place}: its description names no runbook")
        wrong += check_log_filters(path)
    return named


def check_names_of_alarms(text: str) -> list[str]:
    """Who gets an alarm finds it by its name in its runbook."""
    listed = re.findall(r'^    ([\w-]+) = \{\n(?:      .*\n)*?      runbook\s*= "([\w-]+)"', text, re.M)
    pages = {book: (RUNBOOKS / f"{book}.md").read_text() for _, book in listed if (RUNBOOKS / f"{book}.md").is_file()}
    return [f"{book}.md does not name alarm {name}" for name, book in listed if f"`{name}`" not in pages.get(book, f"`{name}`")]


def check_log_filters(path: Path) -> list[str]:
    """What alarms look for in logs is said by the code."""
    texts = re.findall(r'^\s*says\s*= "([^"]+)"', path.read_text(), re.M)
    return [f"{path.name}: nobody logs {text!r}" for text in texts if text not in code()] + check_figures(path)


def check_figures(path: Path) -> list[str]:
    """What metrics are made of is in the line that they are said to be in."""
    wrong = []
    for line, listed in re.findall(r'^\s*says\s*= "([^"]+)"\n\s*figures\s*= \[([^\]]*)\]', path.read_text(), re.M):
        logged = re.search(rf'tracing::info!\(([^;"]*)"{re.escape(line)}"', code())
        fields = set(re.findall(r"(?:^|,)\s*[%?]?(\w+)\s*(?==|,)", logged[1])) if logged else set()
        wrong += [f"{path.name}: the line {line!r} has no {figure}" for figure in hcl.strings(listed) if figure not in fields]
    return wrong


def check_targets() -> list[str]:
    """Prometheus asks the services of the compose file at the ports that they have."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    config = yaml.safe_load((OBSERVABILITY / "prometheus/prometheus.yml").read_text())
    wrong = []
    for job in config["scrape_configs"]:
        for target in (target for group in job["static_configs"] for target in group["targets"]):
            host, port = target.split(":")
            given = str(services.get(host, {}).get("environment", {})) + str(services.get(host, {}).get("command", ""))
            if job["job_name"] != host or f"0.0.0.0:{port}" not in given:
                wrong.append(f"prometheus.yml: job {job['job_name']} asks {target}, which docker-compose.yml does not have")
    images = {name: service["image"] for name, service in services.items() if "image" in service}
    loose = {name: image for name, image in images.items() if not re.search(r":v?\d+\.\d+\.\d+$", image)}
    return wrong + [f"docker-compose.yml: the image of {name} is not pinned: {image}" for name, image in loose.items()]


def main() -> None:
    metrics = Metrics()
    wrong = [*check_rules(metrics), *check_dashboards(metrics), *check_runbooks(metrics), *check_halts(), *check_targets()]
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
