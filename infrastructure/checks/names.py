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
SETTINGS = {service: [f"{service}/src/config.rs"] for service in ("ingest-gateway", "dedup-service", "writer-service", "compactor")}
COMMANDS = "compactor/src/command.rs"
COLUMNS = "schema/src/columns.rs"

# How types of columns are called in SQL, by the part of a row that a column shows; all others are texts.
SQL_TYPES = {"CreatedAt": "timestamp", "ReceivedAt": "timestamp", "Ordinal": "bigint", "Binary": "binary"}


def settings_of(service: str) -> set[str]:
    texts = [(ROOT / path).read_text() for path in COMMON + SETTINGS[service]]
    return {name for text in texts for name in re.findall(r'env = "(FOREBAY_\w+)"', text)}


def modules() -> dict[str, Block]:
    return {block.labels[0].replace("_", "-"): block for block in read(INFRASTRUCTURE / "services.tf") if block.kind == "module"}


def shared_settings() -> set[str]:
    """Settings that all services get, as the local `environment` has them."""
    of_locals = (block.arguments for block in read(INFRASTRUCTURE / "services.tf") if block.kind == "locals")
    return set(re.findall(r"FOREBAY_\w+", next(arguments["environment"] for arguments in of_locals)))


def check_settings() -> list[str]:
    wrong = []
    for service, module in modules().items():
        own = module.arguments["environment"] + module.arguments.get("secrets", "")
        given = shared_settings() | set(re.findall(r"FOREBAY_\w+", own))
        wrong += [f"{module.place}: {service} has no setting {name}" for name in given - settings_of(service)]
    return wrong


def check_commands() -> list[str]:
    known = re.search(r"pub enum Command \{(.*?)\n\}", (ROOT / COMMANDS).read_text(), re.S)
    known = {name.lower() for name in re.findall(r"^    (\w+),$", known[1], re.M)}
    work = strings(modules()["compactor"].arguments["command"])
    plan = re.findall(r'command = \["(\w+)"\]', (INFRASTRUCTURE / "schedule.tf").read_text())
    return [f"compactor has no command {command}" for command in {*work, *plan} - known]


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
    wrong = check_settings() + check_commands() + check_columns()
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
