#!/usr/bin/env python3
"""Compares names that Terraform gives the services with the code: settings, commands, and columns of the lake."""

import re
import sys
from pathlib import Path

from hcl import Block, read, strings

ROOT = Path(__file__).resolve().parents[2]
INFRASTRUCTURE = ROOT / "infrastructure"

# Where the settings of each service are, next to those that all have.
COMMON = ["backend/src/settings.rs", "aws/src/settings.rs", "service/src/process.rs"]
SERVICES = ("ingest-gateway", "dedup-service", "writer-service", "compactor")
SETTINGS = {service: [*COMMON, f"{service}/src/config.rs"] for service in SERVICES}
# Settings that some processes take, by what their `main.rs`, or the frame that all services have in common, calls them.
SHARED = {"traces::Settings": ["service/src/traces.rs", "service/src/otlp.rs"], "otlp::Settings": ["service/src/otlp.rs"]}
# The watch is a command of a binary that is no service: it takes less from outside, and its flags are its own.
WATCH = "forebay/src/audit.rs"
BINARY = "forebay/src/main.rs"
SETTINGS["audit"] = ["backend/src/settings.rs", "aws/src/settings.rs", "forebay/src/source.rs", WATCH, BINARY]
COMMANDS = "compactor/src/command.rs"
COLUMNS = "schema/src/columns.rs"

# How types of columns are called in SQL, by the part of a row that a column shows; all others are texts.
SQL_TYPES = {"CreatedAt": "timestamp", "ReceivedAt": "timestamp", "Ordinal": "bigint", "Binary": "binary"}


def settings_of(service: str) -> set[str]:
    frame = [f"{service}/src/main.rs", "service/src/process.rs"] if service in SERVICES else [BINARY, WATCH]
    taken = "".join((ROOT / path).read_text() for path in frame)
    shared = [path for name, paths in SHARED.items() if name in taken for path in paths]
    texts = [(ROOT / path).read_text() for path in [*SETTINGS[service], *shared]]
    return {name for text in texts for name in re.findall(r'env = "(FOREBAY_\w+)"', text)}


def modules() -> dict[str, Block]:
    return {block.labels[0].replace("_", "-"): block for block in read(INFRASTRUCTURE / "services.tf") if block.kind == "module"}


def given_to(module: Block) -> set[str]:
    """Settings that a service gets, those in the locals that its own refer to included."""
    of_locals = next(block.arguments for block in read(INFRASTRUCTURE / "services.tf") if block.kind == "locals")
    text = module.arguments["environment"] + module.arguments.get("secrets", "")
    for name in ("reading", "traced", "pushed", "draining", "environment"):
        text = text.replace(f"local.{name}", of_locals[name])
    return set(re.findall(r"FOREBAY_\w+", text))


def check_settings() -> list[str]:
    wrong = []
    for service, module in modules().items():
        wrong += [f"{module.place}: {service} has no setting {name}" for name in given_to(module) - settings_of(service)]
    return wrong


def check_traced() -> list[str]:
    """Whoever is told of the collector is let out to it, and nobody else is."""
    of_locals = next(block.arguments for block in read(INFRASTRUCTURE / "services.tf") if block.kind == "locals")
    let_out = {service for name in ("traced_services", "pushed_services") for service in strings(of_locals[name])}
    told = {service for service, module in modules().items() if "FOREBAY_OTLP_ENDPOINT" in given_to(module)}
    return [f"services.tf: {service} is told of a collector or let out to it, and not both" for service in sorted(let_out ^ told)]


def check_accepted() -> list[str]:
    """Readers go on with what is declared here, and nobody else is told to."""
    told = {service for service, module in modules().items() if "FOREBAY_ACCEPT_CHANGED" in given_to(module)}
    readers = {"dedup-service", "writer-service"}
    return [f"services.tf: {service} reads a stream or goes on with a changed one, and not both" for service in sorted(readers ^ told)]


def variable(name: str) -> Block:
    return next(block for block in read(INFRASTRUCTURE / "variables.tf") if block.kind == "variable" and block.labels == [name])


# Settings that are a resource's or a port's by what they say, though no line here gives them one: places and keys in the lake that
# roles and Glue know, the form of log lines that alarms read, what load balancers and end points speak.
FOLLOWED = {f"FOREBAY_{name}" for name in "AWS_ENDPOINT AWS_REGION BUCKET_PREFIX KMS_KEY LOG_FORMAT TLS_CERT TLS_KEY".split()}


def followed() -> set[str]:
    """Settings that something else follows: what they are comes of a resource or a port, or is a secret."""
    blocks = [block for block in read(INFRASTRUCTURE / "services.tf") if block.kind in ("locals", "module")]
    given = "\n".join(text for block in blocks for _, text in block.texts())
    found = set(re.findall(r"(FOREBAY_\w+)\s*=[^\n]*\b(?:aws_\w+|local)\.", given))
    return FOLLOWED | found | set(re.findall(r"FOREBAY_\w+", "".join(module.arguments.get("secrets", "") for module in modules().values())))


def check_extra() -> list[str]:
    """Each service gets the further settings of its own name, after all others, and none of them is one that is followed."""
    wrong = []
    for service, module in modules().items():
        if not module.arguments["environment"].endswith(f'lookup(var.extra_environment, "{service}", {{}}))'):
            wrong.append(f"{module.place}: {service} does not get its extra_environment after all else")
    of_services, _, of_settings = variable("extra_environment").inside("validation")
    named, refused = strings(of_services.arguments["condition"]), set(strings(of_settings.arguments["condition"]))
    if set(named) != modules().keys():
        wrong.append(f"variables.tf: extra_environment is for {', '.join(named)}, and the services are {', '.join(modules())}")
    wrong += [f"variables.tf: extra_environment takes {name}, which something else follows" for name in sorted(followed() - refused)]
    known = set().union(*map(settings_of, modules()))
    return wrong + [f"variables.tf: extra_environment refuses {name}, which no service has" for name in sorted(refused - known)]


def check_called() -> list[str]:
    """Streams and table may be called otherwise than the installation: whoever tells of one asks what it is called."""
    files = sorted(INFRASTRUCTURE.glob("*.tf"))
    texts = [(place, text) for path in files for block in read(path) for place, text in block.texts()]
    return [f"{place}: it takes the name of {what[0]}" for place, text in texts for what in re.finditer(r"(?i)\b(?:stream|table) \$\{var\.name\}", text)]


def check_commands() -> list[str]:
    known = re.search(r"pub enum Command \{(.*?)\n\}", (ROOT / COMMANDS).read_text(), re.S)
    known = {name.lower() for name in re.findall(r"^    (\w+),$", known[1], re.M)}
    work = strings(modules()["compactor"].arguments["command"])
    plan = re.findall(r'command = \["(\w+)"\]', (INFRASTRUCTURE / "schedule.tf").read_text())
    return [f"compactor has no command {command}" for command in {*work, *plan} - known]


def check_watch() -> list[str]:
    """The command of the watch, and its flags."""
    command, *words = strings(modules()["audit"].arguments["command"])
    known = re.findall(r"^    (\w+)\(", re.search(r"enum Command \{(.*?)\n\}", (ROOT / BINARY).read_text(), re.S)[1], re.M)
    flags = {f"--{field.replace('_', '-')}" for field in re.findall(r"^    pub (\w+):", (ROOT / WATCH).read_text(), re.M)}
    wrong = [] if command in map(str.lower, known) else [f"forebay has no command {command}"]
    return wrong + [f"forebay {command} has no flag {word}" for word in words if word.startswith("--") and word not in flags]


def columns_of(table: str) -> list[tuple[str, str]]:
    """The columns of a table in the code, with their types in SQL."""
    text = (ROOT / COLUMNS).read_text()
    names = dict(re.findall(r'pub const (\w+): &str = "(\w+)";', text))
    body = re.search(rf"const {table}: &Columns = &\[(.*?)\];", text, re.S)[1]
    return [(names[name], SQL_TYPES.get(part, "string")) for name, part in re.findall(r"\((\w+), Part::(\w+)", body)]


def check_columns() -> list[str]:
    of_locals = next(block.arguments for block in read(INFRASTRUCTURE / "catalog.tf") if block.kind == "locals")
    wrong = []
    for table, local in (("EVENTS", "event_columns"), ("QUARANTINE", "quarantine_columns")):
        given = re.findall(r'name = "(\w+)", type = "(\w+)"', of_locals[local])
        if given != columns_of(table):
            wrong.append(f"catalog.tf: {local} is {given}, and {COLUMNS} has {columns_of(table)}")
    return wrong


def main() -> None:
    wrong = check_settings() + check_traced() + check_accepted() + check_extra() + check_called() + check_commands() + check_watch() + check_columns()
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
