#!/usr/bin/env python3
"""Checks a bill of materials against CycloneDX' own schema, and that it names what the binary can't be without."""

import json
import sys
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

# Linked into each binary, a crate of ours, and what only compiles: the scopes tell them apart.
SCOPES = {"tokio": "required", "schema": "required", "prost-derive": "excluded", "prost-build": "excluded"}

text = Path(sys.argv[1]).read_text()
if wrong := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
    sys.exit(f"{sys.argv[1]}: {wrong}")
components = json.loads(text)["components"]
for name, scope in SCOPES.items():
    if {component["scope"] for component in components if component["name"] == name} != {scope}:
        sys.exit(f"{sys.argv[1]}: {name} is not there as {scope}")
if bare := [component["name"] for component in components if "externalReferences" in component and "hashes" not in component]:
    sys.exit(f"{sys.argv[1]}: no checksum of {bare}")
