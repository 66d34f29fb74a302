#!/usr/bin/env python3
"""Compares every resource, argument and reference with the AWS provider's schema, without the provider.

The schema is what the typed bindings of the provider say (their folder is the one argument): a declaration file for
each resource and data source, with its arguments, those of its blocks, and its attributes. References to variables,
locals, modules and resources have to lead somewhere, and modules have to get the variables that they need.
"""

import re
import sys
from functools import cache
from pathlib import Path

from hcl import Block, content_of, read_folder

HERE = Path(__file__).resolve().parent.parent
FOLDERS = [HERE, HERE / "modules/service", *sorted((HERE / "examples").iterdir())]

META = {"count", "for_each", "depends_on", "provider"}
META_BLOCKS = {"lifecycle"}

INTERFACE = re.compile(r"export interface (\w+)[^{]*\{(.*?)\n\}", re.S)
MEMBER = re.compile(r"#(\w+) \w+#\w+\}.*?\n\s*readonly \w+(\??): ([^;]+);", re.S)
GETTER = re.compile(r"^    (?:get (\w+)\(\)|readonly (\w+):)", re.M)


class Provider:
    """The bindings: a folder for each resource and data source."""

    def __init__(self, bindings: Path):
        self.bindings = bindings

    @cache
    def of(self, kind: str, name: str) -> "Thing | None":
        folder = name.removeprefix("aws_").replace("_", "-")
        path = self.bindings / (f"data-aws-{folder}" if kind == "data" else folder) / "index.d.ts"
        return Thing(path.read_text()) if path.exists() else None


class Thing:
    """A resource or data source: interfaces by name, each with its members as (is needed, type)."""

    def __init__(self, text: str):
        self.interfaces = {
            name: {member: (optional == "", kind) for member, optional, kind in MEMBER.findall(body)}
            for name, body in INTERFACE.findall(text)
        }
        self.config = next(name for name in self.interfaces if name.endswith("Config"))
        main = text[text.rindex("export declare class") :]
        self.attributes = {snake(first or second) for first, second in GETTER.findall(main)}

    def inner(self, kind: str) -> str | None:
        """The interface that a member's type names, where it names one."""
        return next((word for word in re.findall(r"\w+", kind) if word in self.interfaces), None)


def snake(camel: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", camel).lower()


class Folder:
    """One module of Terraform, and what is wrong in it."""

    def __init__(self, path: Path, provider: Provider):
        self.path, self.provider, self.wrong = path, provider, []
        self.blocks = read_folder(path)

    def named(self, kind: str) -> dict[str, Block]:
        return {".".join(block.labels): block for block in self.blocks if block.kind == kind}

    def locals(self) -> set[str]:
        return {name for block in self.blocks if block.kind == "locals" for name in block.arguments}

    def check(self) -> list[str]:
        for block in self.blocks:
            if block.kind in ("resource", "data"):
                self.check_thing(block)
            elif block.kind == "module":
                self.check_module(block)
            for place, text in block.texts():
                self.check_references(place, text)
        return self.wrong

    def check_thing(self, block: Block) -> None:
        name = block.labels[0]
        thing = self.provider.of(block.kind, name)
        if thing is None:
            self.wrong.append(f"{block.place}: the provider has no {block.kind} {name}")
            return
        self.check_arguments(block, thing, thing.config, name, is_outermost=True)

    def check_arguments(self, block: Block, thing: Thing, interface: str, path: str, is_outermost: bool) -> None:
        members = thing.interfaces[interface]
        meta, meta_blocks = (META, META_BLOCKS) if is_outermost else (set(), set())
        for name in block.arguments.keys() - meta:
            if name not in members:
                self.wrong.append(f"{block.place}: {path} has no argument {name}")
            elif thing.inner(members[name][1]):
                self.wrong.append(f"{block.place}: {path}.{name} is a block, without a sign of equality")
        inner_blocks = [content_of(inner) for inner in block.blocks if inner.kind not in meta_blocks]
        for inner in inner_blocks:
            kind = thing.inner(members[inner.kind][1]) if inner.kind in members else None
            if kind is None:
                self.wrong.append(f"{inner.place}: {path} has no block {inner.kind}")
            else:
                self.check_arguments(inner, thing, kind, f"{path}.{inner.kind}", is_outermost=False)
        given = block.arguments.keys() | {inner.kind for inner in inner_blocks}
        for name, (is_needed, _) in members.items():
            if is_needed and name not in given:
                self.wrong.append(f"{block.place}: {path} lacks {name}")

    def check_module(self, block: Block) -> None:
        callee = self.callee(block)
        variables = callee.named("variable")
        for name in block.arguments.keys() - META - {"source", "providers"}:
            if name not in variables:
                self.wrong.append(f"{block.place}: module {block.labels[0]} has no variable {name}")
        for name, variable in variables.items():
            if "default" not in variable.arguments and name not in block.arguments:
                self.wrong.append(f"{block.place}: module {block.labels[0]} needs {name}")

    def callee(self, block: Block) -> "Folder":
        source = block.arguments["source"].strip('"')
        return Folder((self.path / source).resolve(), self.provider)

    def check_references(self, place: str, text: str) -> None:
        for scope, name in re.findall(r"(?<![\w.\"/:-])(var|local)\.([\w-]+)", text):
            known = self.named("variable") if scope == "var" else self.locals()
            if name not in known:
                self.wrong.append(f"{place}: there is no {scope}.{name}")
        for name, output in re.findall(r"(?<![\w.])module\.(\w+)\.(\w+)", text):
            module = self.named("module").get(name)
            if module is None or output not in self.callee(module).named("output"):
                self.wrong.append(f"{place}: there is no module.{name}.{output}")
        reference = r"(?<![\w.\"/])(data\.)?(aws_\w+)\.(\w+)((?:\[[^\]]*\])?)(?:\.(\w+))?"
        for data, kind, name, _, attribute in re.findall(reference, text):
            self.check_attribute(place, "data" if data else "resource", kind, name, attribute)

    def check_attribute(self, place: str, kind: str, thing_name: str, name: str, attribute: str) -> None:
        if f"{thing_name}.{name}" not in self.named(kind):
            self.wrong.append(f"{place}: there is no {kind} {thing_name}.{name}")
            return
        thing = self.provider.of(kind, thing_name)
        if attribute and thing and attribute not in thing.attributes | thing.interfaces[thing.config].keys():
            self.wrong.append(f"{place}: {thing_name} has no attribute {attribute}")


def main() -> None:
    provider = Provider(Path(sys.argv[1]))
    wrong = [line for folder in FOLDERS for line in Folder(folder, provider).check()]
    if wrong:
        sys.exit("\n".join(sorted(set(wrong))))


if __name__ == "__main__":
    main()
