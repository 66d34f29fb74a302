#!/usr/bin/env python3
"""Plants one fault at a time into a copy of what the checks read, and fails where a check does not notice.

The one argument is the folder of the provider's bindings, as for `schema.py`.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Fault:
    """`old` becomes `new`, once, in a file; `check` has to end with an error that says `named`."""

    check: str
    file: str
    old: str
    new: str
    named: str


FAULTS = [
    Fault("schema", "stream.tf", "retention_period ", "retention ", "no argument retention"),
    Fault("schema", "ledger.tf", "point_in_time_recovery {", "recovery {", "no block recovery"),
    Fault("schema", "lake.tf", "versioning_configuration {", "versioning_configuration = {", "is a block"),
    Fault("schema", "services.tf", "ip_protocol       =", "# ip_protocol =", "lacks ip_protocol"),
    Fault("schema", "services.tf", "aws_lb.gateway.arn_suffix", "aws_lb.gateway.suffix", "no attribute suffix"),
    Fault("schema", "outputs.tf", "aws_lb.gateway.arn", "aws_lb.gate.arn", "no resource aws_lb.gate"),
    Fault("schema", "services.tf", "var.dedup.memory", "var.deduper.memory", "no var.deduper"),
    Fault("schema", "services.tf", "  tasks_max         = var.dedup.tasks_max\n", "", "needs tasks_max"),
    Fault("schema", "iam.tf", "module.compactor.task_definition_family_arn", "module.compactor.family", "no module.compactor.family"),
    Fault("permissions", "iam.tf", '"kinesis:PutRecords"]', '"kinesis:PutRecords", "kinesis:GetRecords"]', "which no code calls"),
    Fault("permissions", "iam.tf", ', "dynamodb:Query"]', "]", "which the code calls"),
    Fault("permissions", "iam.tf", '["s3:DeleteObject", "s3:GetObject"]', '["s3:GetObject"]', "s3:DeleteObject, which the code"),
    Fault("permissions", "iam.tf", "lake_objects}live/*", "lake_objects}*", "LiveObjects of writer-service is about"),
    Fault("permissions", "iam.tf", '["dynamodb:PutItem"]', '["dynamodb:DeleteItem", "dynamodb:PutItem"]', "allows dynamodb:DeleteItem, which no code"),
    Fault("permissions", "iam.tf", 'values   = ["leases"]', 'values   = ["*"]', "Leases of dedup-service is not confined to the partitions leases"),
    Fault("permissions", "iam.tf", '"ForAllValues:StringLike"', '"ForAnyValue:StringLike"', "LedgerEntries of dedup-service is not confined"),
    Fault("permissions", "iam.tf", 'values   = ["chain/writer/*"]', 'values   = ["chain/*"]', "LedgerTrim of compactor is not confined"),
    Fault("permissions", "../ledger/src/dynamodb/leases.rs", "key(LEASES, ", "key(CHAINS, ", "has no 'key(LEASES, '"),
    Fault("permissions", "../dedup-service/src/chain.rs", '"void/"', '"voids/"', "nobody may append to chains voids/"),
    Fault("permissions", "iam.tf", "local.stream_arns.raw\n", "local.stream_arns.clean\n", "RawStream of ingest-gateway is about local.stream_arns.clean"),
    Fault("permissions", "iam.tf", "/consumer/forebay-dedup:*", "/consumer/*", "FanOutConsumers of dedup-service is about"),
    Fault("permissions", "stream.tf", "stream[generation[role]].arn", "stream[generation.raw].arn", "stream_arns is"),
    Fault("permissions", "iam.tf", ', "sqs.${local.region}.amazonaws.com"]', "]", "not use the key through sqs"),
    Fault("permissions", "../queue/src/sqs.rs", ".get_queue_url()", ".purge_queue()", "sqs:PurgeQueue"),
    Fault("permissions", "../lake/src/s3/write.rs", "async fn delete(", "async fn remove(", "write.rs remove calls AWS"),
    Fault("permissions", "../writer-service/src/forget.rs", "ledger.head(", "ledger.trim(", "BatchWriteItem"),
    Fault("permissions", "../forebay/src/audit/following.rs", "ledger.chains(ChainId::DEDUP)", "ledger.trim(ChainId::DEDUP)", "PARTITIONS of audit does not allow dynamodb:PutItem"),
    Fault("permissions", "../forebay/src/audit/conservation.rs", "flow::oldest_unwritten(", "flow::for_each_undecided(", "WATCH lacks forebay/src/audit/flow.rs for_each_undecided"),
    Fault("permissions", "../forebay/src/audit/following.rs", "use super::taken::", "use super::lost::", "WATCH lacks forebay/src/audit/lost.rs"),
    Fault("buckets", "buckets.tf", "    athena = aws_s3_bucket.athena\n", "", "not for the bucket athena"),
    Fault("buckets", "lake.tf", 'only_over_tls["logs"]', 'only_over_tls["lake"]', "policy of the bucket logs"),
    Fault("buckets", "catalog.tf", 'resource "aws_s3_bucket_policy" "athena"', 'resource "aws_s3_bucket_policy" "results"', "policy of the bucket athena"),
    Fault("names", "services.tf", "FOREBAY_WRITER_MEMORY", "FOREBAY_MEMORY", "no setting FOREBAY_MEMORY"),
    Fault("names", "services.tf", "merge(local.environment, local.pushed,", "merge(local.draining, local.pushed,", "audit has no setting FOREBAY_SHUTDOWN_GRACE"),
    Fault("names", "services.tf", "FOREBAY_TRACE_SAMPLE ", "FOREBAY_TRACE_SHARE ", "writer-service has no setting FOREBAY_TRACE_SHARE"),
    Fault("names", "services.tf", '"dedup-service", "writer-service"]', '"dedup-service"]', "writer-service is told of a collector or let out to it"),
    Fault("names", "services.tf", '["compactor", "audit"]', '["audit"]', "compactor is told of a collector or let out to it"),
    Fault("names", "services.tf", "merge(local.environment, local.pushed,", "merge(local.environment,", "audit is told of a collector or let out to it"),
    Fault("names", "services.tf", "merge(local.draining, local.pushed, {", "merge(local.traced, {", "compactor has no setting FOREBAY_TRACE_SAMPLE"),
    Fault("names", "services.tf", "merge(local.reading, {\n    FOREBAY_FLUSH", "merge(local.traced, {\n    FOREBAY_FLUSH", "writer-service reads a stream or goes on with a changed one"),
    Fault("names", "services.tf", 'lookup(var.extra_environment, "compactor", {})', 'lookup(var.extra_environment, "audit", {})', "compactor does not get its extra_environment"),
    Fault("names", "variables.tf", '"compactor", "audit"]', '"compactor"]', "the services are"),
    Fault("names", "variables.tf", '      "FOREBAY_TABLE",\n', "", "takes FOREBAY_TABLE, which something else follows"),
    Fault("names", "variables.tf", '      "FOREBAY_WRITE_KEYS",\n', "", "takes FOREBAY_WRITE_KEYS, which something else follows"),
    Fault("names", "variables.tf", '"FOREBAY_SPILL_DIR"', '"FOREBAY_SPILL_FOLDER"', "refuses FOREBAY_SPILL_FOLDER, which no service has"),
    Fault("names", "observability.tf", "stream ${local.stream_names.raw}", "stream ${var.name}-raw", "it takes the name of stream ${var.name}"),
    Fault("names", "services.tf", '"--missing-after"', '"--late-after"', "no flag --late-after"),
    Fault("names", "schedule.tf", '["plan"]', '["compact"]', "no command compact"),
    Fault("names", "catalog.tf", '"ordinal", type = "bigint"', '"ordinal", type = "int"', "event_columns"),
]


def copy(to: Path) -> None:
    """The infrastructure, and the sources that are looked at."""
    shutil.copytree(ROOT / "infrastructure", to / "infrastructure", ignore=shutil.ignore_patterns(".terraform"))
    for crate in filter(Path.is_dir, (path / "src" for path in ROOT.iterdir() if (path / "Cargo.toml").exists())):
        shutil.copytree(crate, to / crate.relative_to(ROOT))


def unnoticed(root: Path, bindings: str, fault: Fault) -> str | None:
    path = root / "infrastructure" / fault.file
    whole = path.read_text()
    if fault.old not in whole:
        return f"{fault.file} has no {fault.old!r} to put a fault in: change FAULTS"
    path.write_text(whole.replace(fault.old, fault.new, 1))
    command = [sys.executable, root / f"infrastructure/checks/{fault.check}.py", *([bindings] if fault.check == "schema" else [])]
    ended = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    path.write_text(whole)
    if ended.returncode != 0 and fault.named in ended.stderr:
        return None
    return f"{fault.check}.py does not notice {fault.new!r} in {fault.file}: {ended.stderr.strip()[:300]}"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        copy(root)
        wrong = [line for fault in FAULTS if (line := unnoticed(root, sys.argv[1], fault))]
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
