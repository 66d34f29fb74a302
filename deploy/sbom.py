#!/usr/bin/env python3
"""Prints what a binary is made of, as CycloneDX 1.6: `deploy/sbom.py forebay > forebay.cdx.json`.

Read from Cargo.lock by `cargo metadata`, for Linux on x86_64: nothing is built. The same sources give the same bytes. Features
are those that any package of the workspace asks for, so that a list may have a crate too many, but none too few.
"""

import json
import subprocess
import sys
import tomllib
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = "x86_64-unknown-linux-gnu"


def metadata() -> dict:
    command = ["cargo", "metadata", "--locked", "--format-version=1", f"--filter-platform={TARGET}"]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)


def checksums() -> dict[tuple[str, str], str]:
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    return {(package["name"], package["version"]): package["checksum"] for package in lock["package"] if "checksum" in package}


def is_macro(package: dict) -> bool:
    return any("proc-macro" in target["kind"] for target in package["targets"])


class Graph:
    """The packages, and which ones each is built from."""

    def __init__(self, of: dict):
        self.packages = {package["id"]: package for package in of["packages"]}
        self.edges = {node["id"]: node["deps"] for node in of["resolve"]["nodes"]}

    def below(self, package: str, kinds: set) -> list[str]:
        return sorted(dep["pkg"] for dep in self.edges[package] if any(kind["kind"] in kinds for kind in dep["dep_kinds"]))

    def linked(self, package: str) -> list[str]:
        """What comes into the binary with a package: a macro runs while it is compiled."""
        return [dep for dep in self.below(package, {None}) if not is_macro(self.packages[dep])]

    def built_from(self, package: str) -> list[str]:
        return self.below(package, {None, "build"})

    def closure(self, root: str, step) -> set[str]:
        seen, todo = {root}, [root]
        while todo:
            new = set(step(todo.pop())) - seen
            seen |= new
            todo += new
        return seen


def purl(package: dict) -> str:
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package: dict, checksum: str | None, is_linked: bool) -> dict:
    found = {
        "type": "library",
        "bom-ref": purl(package),
        "name": package["name"],
        "version": package["version"],
        "scope": "required" if is_linked else "excluded",
        "purl": purl(package),
        # The older way to write a choice.
        "licenses": [{"expression": package["license"].replace(" / ", " OR ").replace("/", " OR ")}],
    }
    if checksum:
        found["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package["repository"]:
        found["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return found


def bill(binary: str) -> dict:
    graph, hashes = Graph(metadata()), checksums()
    root = next((key for key, package in graph.packages.items() if package["name"] == binary and not package["source"]), None)
    if root is None:
        sys.exit(f"deploy/sbom.py: the workspace has no package {binary}")
    built_from, linked = graph.closure(root, graph.built_from), graph.closure(root, graph.linked)
    components = [
        component(package, hashes.get((package["name"], package["version"])), key in linked)
        for key, package in sorted(graph.packages.items(), key=lambda item: purl(item[1]))
        if key in built_from and key != root
    ]
    dependencies = [
        {"ref": purl(graph.packages[key]), "dependsOn": sorted(purl(graph.packages[dep]) for dep in graph.built_from(key))}
        for key in sorted(built_from, key=lambda key: purl(graph.packages[key]))
    ]
    program = graph.packages[root]
    whole = {"type": "application", "bom-ref": purl(program), "name": binary, "version": program["version"], "purl": purl(program)}
    content = {"metadata": {"component": whole}, "components": components, "dependencies": dependencies}
    # Named by what it says, and not by when it was made.
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(content, sort_keys=True))
    return {"bomFormat": "CycloneDX", "specVersion": "1.6", "serialNumber": f"urn:uuid:{serial}", "version": 1, **content}


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: deploy/sbom.py PACKAGE")
    json.dump(bill(sys.argv[1]), sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
