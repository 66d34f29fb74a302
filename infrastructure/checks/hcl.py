"""Reads as much of Terraform's language as the checks need: blocks, their arguments, and the text of expressions."""

import re
from dataclasses import dataclass, field
from pathlib import Path

WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
HEREDOC = re.compile(r"<<-?\s*([A-Za-z_]+)\n")
PAIRS = {"{": "}", "[": "]", "(": ")"}


@dataclass
class Block:
    """`kind "label" { ... }`: arguments by name with the text of their expressions, and the blocks inside."""

    kind: str
    labels: list[str]
    place: str
    arguments: dict[str, str] = field(default_factory=dict)
    blocks: list["Block"] = field(default_factory=list)

    def inside(self, kind: str) -> list["Block"]:
        """Blocks of a kind in this one, those that a `dynamic` block makes included."""
        return [block for block in map(content_of, self.blocks) if block.kind == kind]

    def texts(self):
        """The text of every expression in the block, with where the block is."""
        yield from ((self.place, text) for text in self.arguments.values())
        for block in self.blocks:
            yield from block.texts()


def content_of(block: Block) -> Block:
    """What a `dynamic` block makes; any other block itself."""
    if block.kind != "dynamic":
        return block
    content = next(inner for inner in block.blocks if inner.kind == "content")
    return Block(block.labels[0], [], block.place, content.arguments, content.blocks)


def read_folder(folder: Path) -> list[Block]:
    """All blocks of the `.tf` files right in a folder."""
    return [block for path in sorted(folder.glob("*.tf")) for block in read(path)]


def read(path: Path) -> list[Block]:
    """The outermost blocks of a file."""
    reader = Reader(path.read_text(), path)
    top = Block("file", [], str(path))
    reader.body(top)
    return top.blocks


def strings(text: str) -> list[str]:
    """The plain strings in an expression."""
    return re.findall(r'"((?:[^"\\]|\\.)*)"', text)


class Reader:
    def __init__(self, text: str, path: Path):
        self.text, self.path, self.at = text, path, 0

    def body(self, block: Block) -> None:
        while self.skip() and self.text[self.at] != "}":
            place = f"{self.path}:{self.text.count(chr(10), 0, self.at) + 1}"
            name = self.word()
            self.skip()
            if self.text[self.at] == "=":
                self.at += 1
                block.arguments[name] = self.expression()
                continue
            labels = []
            while self.text[self.at] == '"':
                labels.append(self.quoted()[1:-1])
                self.skip()
            assert self.text[self.at] == "{", f"{place}: neither an argument nor a block"
            self.at += 1
            inner = Block(name, labels, place)
            self.body(inner)
            self.at += 1
            block.blocks.append(inner)

    def skip(self) -> bool:
        """Goes past blanks and comments; false at the end."""
        blanks = re.compile(r"(?:\s+|#[^\n]*|//[^\n]*|/\*.*?\*/)*", re.S)
        self.at = blanks.match(self.text, self.at).end()
        return self.at < len(self.text)

    def word(self) -> str:
        match = WORD.match(self.text, self.at)
        assert match, f"{self.path}: no name at {self.text[self.at:self.at + 30]!r}"
        self.at = match.end()
        return match[0]

    def quoted(self) -> str:
        """A string with what is interpolated in it."""
        start, self.at = self.at, self.at + 1
        while self.text[self.at] != '"':
            if self.text.startswith("$${", self.at):
                self.at += 3
            elif self.text.startswith("${", self.at):
                self.at += 1
                self.bracketed()
            else:
                self.at += 2 if self.text[self.at] == "\\" else 1
        self.at += 1
        return self.text[start : self.at]

    def bracketed(self) -> None:
        closing = PAIRS[self.text[self.at]]
        self.at += 1
        while self.skip() and self.text[self.at] != closing:
            self.step()
        self.at += 1

    def step(self) -> None:
        """Goes past one string, bracket or character of an expression."""
        heredoc = HEREDOC.match(self.text, self.at)
        if heredoc:
            end = re.compile(rf"^\s*{heredoc[1]}$", re.M)
            self.at = end.search(self.text, heredoc.end()).end()
        elif self.text[self.at] == '"':
            self.quoted()
        elif self.text[self.at] in PAIRS:
            self.bracketed()
        else:
            self.at += 1

    def expression(self) -> str:
        start = self.at
        while self.at < len(self.text) and self.text[self.at] not in "\n}":
            if self.text[self.at] == "#":
                break
            self.step()
        return self.text[start : self.at].strip()
