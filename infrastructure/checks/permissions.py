#!/usr/bin/env python3
"""Compares what each service's role may do with the calls of AWS that the service's code makes.

Calls are found in the sources. METHODS says which functions of a backend a method of its port comes to; a call in a
function that is not in it, or a function in it without a call, is an error. Which methods a service uses is found in its
own sources, by the names that its ports have there. The two give the actions that its policy must have: no fewer, no more.
"""

import re
import sys
from pathlib import Path

from hcl import Block, read, strings

ROOT = Path(__file__).resolve().parents[2]
POLICIES = ROOT / "infrastructure/iam.tf"
STREAMS = ROOT / "infrastructure/stream.tf"

BACKENDS = {
    "kinesis": "stream/src/kinesis",
    "dynamodb": "ledger/src/dynamodb",
    "s3": "lake/src/s3",
    "sqs": "queue/src/sqs",
}

# Functions of a backend that call AWS, as `file function`, by the method of the port. `open` is before all methods.
METHODS = {
    "kinesis": {
        "open": ["described.rs describe_once"],
        "append": ["append.rs call"],
        "shards": ["lineage.rs list_page"],
        "read": ["lineage.rs list_page", "read.rs iterator", "read.rs look"],
        "register for fan-out": ["fan_out.rs register_once", "fan_out.rs consumer"],
        "read with fan-out": ["fan_out.rs subscribe", "fan_out.rs consumer"],
        "keep_longer": ["setup.rs raise_retention"],
    },
    "dynamodb": {
        "open": ["table.rs described", "table.rs keeps_its_past"],
        "append": ["requests.rs put_once", "requests.rs page"],
        "load": ["requests.rs page"],
        "head": ["requests.rs page"],
        "chains": ["requests.rs page"],
        "trim": ["requests.rs page", "requests.rs put_once", "registry.rs delete_once"],
        "acquire": ["requests.rs put_once"],
        "renew": ["requests.rs put_once"],
        "release": ["requests.rs put_once"],
        "retire": ["leases.rs remove_once"],
        "leases": ["requests.rs page"],
    },
    "s3": {
        "open": ["read.rs list_page"],
        "create": ["write.rs create", *(f"upload.rs {step}" for step in ("begin", "send_part", "complete", "abort"))],
        "create_from_file": ["write.rs create"],
        "get": ["read.rs fetch"],
        "get_range": ["read.rs fetch", "read.rs head"],
        "head": ["read.rs head"],
        "list": ["read.rs list_page"],
        "delete": ["write.rs delete"],
    },
    "sqs": {
        "open": ["sqs.rs url_of", "attributes.rs read"],
        "send": ["send.rs send_once"],
        "receive": ["sqs.rs receive_messages"],
        "ack": ["sqs.rs ack"],
        "extend": ["sqs.rs extend"],
        "depth": ["sqs.rs depth"],
    },
}

# Calls that make things, for `forebay setup aws` and tests: no service makes them, but those in METHODS.
MAKERS = {"setup.rs", "table.rs create", "table.rs protect", "table.rs keep_its_past"}

# Calls whose permission has another name. Source: <https://docs.aws.amazon.com/service-authorization/latest/reference/>
OTHER_NAMES = {
    "s3:CompleteMultipartUpload": "s3:PutObject",
    "s3:CreateMultipartUpload": "s3:PutObject",
    "s3:HeadObject": "s3:GetObject",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:UploadPart": "s3:PutObject",
    "sqs:SendMessageBatch": "sqs:SendMessage",
}

# Calls that a key has no part in, on things that other calls need it for.
KEYLESS = {"s3:ListBucket", "sqs:GetQueueAttributes", "sqs:GetQueueUrl"}

LEDGER = ["ledger/src/lib.rs", "ledger/src/walk.rs"]
OWNERS = ["ownership/src", "ledger/src/keeper.rs", "ledger/src/keeper", *LEDGER]
FILES = ["lake/src/parquet_file.rs", "lake/src/parquet_file"]

# What `forebay audit --watch` comes to; the rest of `audit` is for people, who have roles of their own.
WATCH = [
    "forebay/src/audit.rs watch",
    "forebay/src/audit/watch.rs",
    "forebay/src/audit/conservation.rs",
    "forebay/src/audit/following.rs",
    "forebay/src/audit/taken.rs",
    "forebay/src/audit/flow.rs oldest_unwritten",
    "forebay/src/audit/flow.rs writer_head",
    "forebay/src/audit/numbering.rs for_each_decision",
    "forebay/src/audit/numbering.rs recall_voids",
    "dedup-service/src/retention.rs saved_voids",
    "dedup-service/src/chain.rs",
    "writer-service/src/chain.rs",
    "ledger/src/walk.rs",
]

# Parts of `audit` that the watch uses and that read nothing.
PURE = {"bitmap", "broken", "report"}

# Where a service's code is, as a folder, a file or `file function`, and what its ports are called there: (kind of backend,
# name of what stands behind it).
SERVICES = {
    "ingest-gateway": (
        ["ingest-gateway/src"],
        {"stream": ("kinesis", "RawStream"), "queue": ("sqs", "OverflowQueue")},
    ),
    "dedup-service": (
        ["dedup-service/src", *OWNERS],
        {
            "raw": ("kinesis", "RawStream"),
            "stream": ("kinesis", "RawStream"),
            "clean": ("kinesis", "CleanStream"),
            "ledger": ("dynamodb", "Ledger"),
            "overflow": ("sqs", "OverflowQueue"),
        },
    ),
    "writer-service": (
        ["writer-service/src", *OWNERS, *FILES],
        {
            "clean": ("kinesis", "CleanStream"),
            "stream": ("kinesis", "CleanStream"),
            "ledger": ("dynamodb", "Ledger"),
            "lake": ("s3", "Lake"),
        },
    ),
    "compactor": (
        ["compactor/src", *LEDGER, *FILES],
        {
            "ledger": ("dynamodb", "Ledger"),
            "lake": ("s3", "Lake"),
            "tasks": ("sqs", "TaskQueue"),
            "dead": ("sqs", "DeadTasks"),
        },
    ),
    "audit": (
        WATCH,
        {
            "raw": ("kinesis", "RawStream"),
            "clean": ("kinesis", "CleanStream"),
            "ledger": ("dynamodb", "Ledger"),
            "lake": ("s3", "Lake"),
            "overflow": ("sqs", "OverflowQueue"),
        },
    ),
}

# Where in the lake each service may do what. All that is done to objects must be in here.
OBJECTS = {
    "writer-service": {
        "LiveObjects": (["live/*"], {"s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject"}),
    },
    "compactor": {
        "LiveObjects": (["live/*"], {"s3:DeleteObject", "s3:GetObject"}),
        "FinalObjects": (["dropped/*", "final/*"], {"s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject"}),
    },
}

# What each service may write to in the ledger: partitions, by their keys. All that is written or deleted must be in here.
PARTITIONS = {
    "dedup-service": {
        "LedgerEntries": (["chain/dedup/*", "chain/raw/*", "chain/void/*", "chains", "leases"], {"dynamodb:PutItem"}),
        "LedgerTrim": (["chain/dedup/*"], {"dynamodb:BatchWriteItem"}),
        "Leases": (["leases"], {"dynamodb:DeleteItem"}),
    },
    "writer-service": {
        "LedgerEntries": (["chain/clean/*", "chain/writer/*", "chains", "leases"], {"dynamodb:PutItem"}),
        "Leases": (["leases"], {"dynamodb:DeleteItem"}),
    },
    "compactor": {
        "LedgerEntries": (["chain/plan/*", "chains"], {"dynamodb:PutItem"}),
        "LedgerTrim": (["chain/writer/*"], {"dynamodb:BatchWriteItem"}),
    },
}

# What the keys above come of, as `file function` or a file, and what has to be there.
KEYS = [
    ("ledger/src/dynamodb/item.rs", 'CHAINS: &str = "chains"'),
    ("ledger/src/dynamodb/item.rs", 'LEASES: &str = "leases"'),
    ("ledger/src/dynamodb/item.rs partition_of", 'format!("chain/{chain}")'),
    ("ledger/src/dynamodb/leases.rs remove_once", "key(LEASES, "),
    ("ledger/src/dynamodb/registry.rs delete", "partition_of(chain)"),
]

# Where names of chains begin.
CHAINS = ["schema/src/origin.rs", "dedup-service/src/chain.rs", "writer-service/src/chain.rs", "compactor/src/chain.rs"]

# What can't be narrowed down to objects or partitions, and what says how all else is.
WHOLE = {
    "Lake": ({"s3:ListBucket"}, OBJECTS, "OBJECTS"),
    "Ledger": ({"dynamodb:DescribeContinuousBackups", "dynamodb:DescribeTable", "dynamodb:Query"}, PARTITIONS, "PARTITIONS"),
}

# What the statements of a policy are about.
RESOURCES = {
    "RawStream": "local.stream_arns.raw",
    "CleanStream": "local.stream_arns.clean",
    "Ledger": "[aws_dynamodb_table.ledger.arn]",
    "Lake": "[aws_s3_bucket.lake.arn]",
    "OverflowQueue": '[aws_sqs_queue.queue["overflow"].arn]',
    "TaskQueue": '[aws_sqs_queue.queue["tasks"].arn]',
    "DeadTasks": '[aws_sqs_queue.dead["tasks"].arn]',
    "Key": "[aws_kms_key.data.arn]",
}

# What `stream_arns` has to be: the streams of a role, of every generation that there is, and of the other role none.
STREAM_ARNS = "{ for role in keys(local.shards) : role => [for generation in local.generations : aws_kinesis_stream.stream[generation[role]].arn] }"

# The stream that a service reads, and its consumer there.
FAN_OUT = {
    "dedup-service": ("local.stream_arns.raw", "forebay-dedup"),
    "writer-service": ("local.stream_arns.clean", "forebay-writer"),
}


def source(path: Path) -> str:
    """A source file without its unit tests."""
    return path.read_text().split("#[cfg(test)]\nmod tests")[0]


def files(place: str) -> list[Path]:
    path = ROOT / place
    found = [path] if path.is_file() else sorted(path.rglob("*.rs"))
    return [file for file in found if "tests" not in file.relative_to(ROOT).parts and file.name != "tests.rs"]


def texts(place: str) -> list[str]:
    """The sources at a place."""
    path, _, function = place.partition(" ")
    if not function:
        return [source(file) for file in files(path)]
    found = re.search(rf"^( *)(?:pub(?:\([\w ]+\))? )?(?:async )?fn {function}\b.*?^\1}}", source(ROOT / path), re.M | re.S)
    if not found:
        sys.exit(f"{path} has no function {function}: change WATCH")
    return [found[0]]


def calls(kind: str) -> dict[str, set[str]]:
    """The actions that each function of a backend calls, by `file function`."""
    place, found = BACKENDS[kind], {}
    for path in [ROOT / f"{place}.rs", *files(place)]:
        function = ""
        for match in re.finditer(r"\bfn (\w+)|\bclient\s*\.\s*([a-z][a-z0-9_]*)\(\)", source(path)):
            if match[1]:
                function = match[1]
            elif match[2] not in ("clone", "config"):
                action = f"{kind}:{''.join(map(str.capitalize, match[2].split('_')))}"
                found.setdefault(f"{path.name} {function}", set()).add(OTHER_NAMES.get(action, action))
    return found


def is_maker(function: str) -> bool:
    return function in MAKERS or function.split()[0] in MAKERS


def check_methods(all_calls: dict[str, dict[str, set[str]]]) -> list[str]:
    wrong = []
    for kind, found in all_calls.items():
        known = {function for functions in METHODS[kind].values() for function in functions}
        called = {function for function in found if function in known or not is_maker(function)}
        wrong += [f"{BACKENDS[kind]}: {name} calls AWS; say in METHODS for which method" for name in called - known]
        wrong += [f"{BACKENDS[kind]}: {name} calls AWS no more; take it out of METHODS" for name in known - called]
    return wrong


def check_watch() -> list[str]:
    """What the watch uses has to be in WATCH. Of `flow.rs` it uses some functions only."""
    own = [place for place in WATCH if place.startswith("forebay/src/audit/")]
    used = {name for place in own if " " not in place for name in re.findall(r"^use super::(\w+)", "\n".join(texts(place)), re.M)}
    unknown = [name for name in sorted(used - PURE) if not any(place.startswith(f"forebay/src/audit/{name}.rs") for place in own)]
    called = re.findall(r"\bflow::(\w+)\(", "\n".join(texts("forebay/src/audit/conservation.rs")))
    places = {f"forebay/src/audit/flow.rs {function}" for function in called}
    wrong = [f"WATCH lacks {place}, which the watch calls" for place in places - set(WATCH)]
    return wrong + [f"WATCH lacks forebay/src/audit/{name}.rs, which the watch uses" for name in unknown]


def used(service: str) -> dict[tuple[str, str], set[str]]:
    """The methods that a service uses, by what stands behind the port."""
    places, ports = SERVICES[service]
    found = {target: {"open"} for target in ports.values()}
    for text in (text for place in places for text in texts(place)):
        for port, method in re.findall(r"\b(\w+)(?:\(\))?\s*\.\s*(\w+)\(", text):
            target = ports.get(port)
            if target and method in METHODS[target[0]]:
                found[target].add(method)
    return found


def needed(service: str, all_calls: dict[str, dict[str, set[str]]]) -> dict[str, set[str]]:
    """The actions that a service needs, by the name of the statement that has to allow them."""
    statements: dict[str, set[str]] = {}
    for (kind, name), methods in used(service).items():
        functions = [function for method in methods for function in METHODS[kind][method]]
        statements[name] = set().union(*(all_calls[kind][function] for function in functions))
    if service in FAN_OUT:
        functions = all_calls["kinesis"]
        register, consumer = (functions[name] for name in METHODS["kinesis"]["register for fan-out"])
        statements["FanOut"] = register | consumer
        statements["FanOutConsumers"] = functions["fan_out.rs subscribe"] | consumer
    return statements


def policy(service: str) -> dict[str, Block]:
    """The statements of a service's policy by their names."""
    name = service.replace("-", "_")
    documents = (block for block in read(POLICIES) if block.labels == ["aws_iam_policy_document", name])
    statements = next(documents).inside("statement")
    return {strings(block.arguments["sid"])[0]: block for block in statements}


def actions(statement: Block) -> set[str]:
    return set(strings(statement.arguments["actions"]))


def compare(where: str, wanted: set[str], given: set[str]) -> list[str]:
    wrong = [f"{where} does not allow {action}, which the code calls" for action in wanted - given]
    return wrong + [f"{where} allows {action}, which no code calls" for action in given - wanted]


def check_service(service: str, all_calls: dict[str, dict[str, set[str]]]) -> list[str]:
    statements, wanted = policy(service), needed(service, all_calls)
    wrong = narrow(service, wanted)
    for name in statements.keys() | wanted.keys() - {"Key"}:
        if name == "Key":
            continue
        where = f"{POLICIES.name}: {name} of {service}"
        given = actions(statements[name]) if name in statements else set()
        wrong += compare(where, wanted.get(name, set()), given)
    wrong += check_resources(service, statements) + check_partitions(service, statements)
    return wrong + check_key(service, statements.get("Key"), wanted)


def narrow(service: str, wanted: dict[str, set[str]]) -> list[str]:
    """Takes what is for some objects or partitions only out of the statement about the whole, into statements of its own."""
    wrong = []
    for name in WHOLE.keys() & wanted.keys():
        of_whole, by_service, said_by = WHOLE[name]
        parts = by_service.get(service, {})
        of_parts = wanted[name] - of_whole
        wanted[name] -= of_parts
        wrong += compare(f"{said_by} of {service}", of_parts, set().union(*(allowed for _, allowed in parts.values())))
        wanted |= {part: allowed for part, (_, allowed) in parts.items()}
    return wrong


def check_partitions(service: str, statements: dict[str, Block]) -> list[str]:
    wrong = []
    for name, (partitions, _) in PARTITIONS.get(service, {}).items():
        conditions = statements[name].inside("condition") if name in statements else []
        given = [[strings(block.arguments[key]) for key in ("test", "variable", "values")] for block in conditions]
        if given != [[["ForAllValues:StringLike"], ["dynamodb:LeadingKeys"], partitions]]:
            wrong.append(f"{POLICIES.name}: {name} of {service} is not confined to the partitions {', '.join(partitions)}")
    return wrong


def check_ledger_keys() -> list[str]:
    """Keys of partitions are those of the code, and each kind of chain has somebody who may append to it."""
    wrong = [f"{place} has no {said!r}: change PARTITIONS" for place, said in KEYS if said not in "\n".join(texts(place))]
    begun = {name for path in CHAINS for name in re.findall(r'const \w+: &str = "(\w+/)";', source(ROOT / path))}
    allowed = {key for parts in PARTITIONS.values() for key in parts["LedgerEntries"][0] if key.startswith("chain/")}
    return wrong + [f"nobody may append to chains {name}: change PARTITIONS" for name in begun if f"chain/{name}*" not in allowed]


def check_resources(service: str, statements: dict[str, Block]) -> list[str]:
    wrong = []
    for name, statement in statements.items():
        wanted, given = wanted_resources(service, name), statement.arguments["resources"]
        if re.sub(r"\s+", " ", given) != wanted:
            wrong.append(f"{POLICIES.name}: {name} of {service} is about {given}, not {wanted}")
    return wrong


def check_streams() -> list[str]:
    of_locals = next(block.arguments for block in read(STREAMS) if block.kind == "locals")
    given = re.sub(r"\s+", " ", of_locals["stream_arns"])
    return [] if given == STREAM_ARNS else [f"{STREAMS.name}: stream_arns is {given}, not {STREAM_ARNS}"]


def wanted_resources(service: str, name: str) -> str:
    if name in OBJECTS.get(service, {}):
        prefixes, _ = OBJECTS[service][name]
        return f"[{', '.join(f'{chr(34)}${{local.lake_objects}}{prefix}{chr(34)}' for prefix in prefixes)}]"
    if name in PARTITIONS.get(service, {}):
        name = "Ledger"
    if name == "FanOut":
        return FAN_OUT[service][0]
    if name == "FanOutConsumers":
        arns, consumer = FAN_OUT[service]
        return f'[for arn in {arns} : "${{arn}}/consumer/{consumer}:*"]'
    return RESOURCES.get(name, "nothing that is known")


def check_key(service: str, statement: Block | None, wanted: dict[str, set[str]]) -> list[str]:
    """The key may be used through the services that are called, and through no other."""
    if statement is None:
        return [f"{POLICIES.name}: {service} may not use the key"]
    kinds = {action.split(":")[0] for allowed in wanted.values() for action in allowed - KEYLESS}
    given = set(re.findall(r'"(\w+)\.\$\{local\.region\}', statement.inside("condition")[0].arguments["values"]))
    wrong = [f"{POLICIES.name}: {service} may use the key through {kind}, which it does not call" for kind in given - kinds]
    return wrong + [f"{POLICIES.name}: {service} may not use the key through {kind}" for kind in kinds - given]


def table(all_calls: dict[str, dict[str, set[str]]]) -> str:
    """What each service calls, as Markdown."""
    lines = ["| service | on | calls |", "|---|---|---|"]
    for service in SERVICES:
        for name, allowed in needed(service, all_calls).items():
            lines.append(f"| `{service}` | {name} | {', '.join(f'`{action}`' for action in sorted(allowed))} |")
    return "\n".join(lines)


def main() -> None:
    all_calls = {kind: calls(kind) for kind in BACKENDS}
    wrong = check_methods(all_calls)
    if not wrong:
        if sys.argv[1:] == ["--table"]:
            return print(table(all_calls))
        wrong = check_watch() + check_ledger_keys() + check_streams() + [line for service in SERVICES for line in check_service(service, all_calls)]
    if wrong:
        sys.exit("\n".join(sorted(set(wrong))))


if __name__ == "__main__":
    main()
