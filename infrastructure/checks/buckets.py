#!/usr/bin/env python3
"""Looks whether the rules for every bucket, which `buckets.tf` has, reach every bucket, by policies too."""

import re
import sys
from pathlib import Path

from hcl import read, read_folder

INFRASTRUCTURE = Path(__file__).resolve().parent.parent
RULES = INFRASTRUCTURE / "buckets.tf"
ONLY_OVER_TLS = r'only_over_tls\["(\w+)"\]\.json'


def listed() -> set[str]:
    """The buckets that the rules are for."""
    of_locals = next(block.arguments for block in read(RULES) if block.kind == "locals")
    return set(re.findall(r"= aws_s3_bucket\.(\w+)", of_locals["buckets"]))


def main() -> None:
    blocks = read_folder(INFRASTRUCTURE)
    named = {tuple(block.labels): block for block in blocks if block.kind in ("resource", "data")}
    wrong = []
    for bucket in sorted(name for kind, name in named if kind == "aws_s3_bucket"):
        if bucket not in listed():
            wrong.append(f"{RULES.name}: the rules are not for the bucket {bucket}: add it to local.buckets")
        policy = named.get(("aws_s3_bucket_policy", bucket))
        text = policy.arguments["policy"] if policy else ""
        document = named.get(("aws_iam_policy_document", f"{bucket}_bucket"))
        source = document.arguments.get("source_policy_documents", "") if f"{bucket}_bucket.json" in text else text
        if re.findall(ONLY_OVER_TLS, source) != [bucket]:
            wrong.append(f"the policy of the bucket {bucket} does not start from only_over_tls")
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
