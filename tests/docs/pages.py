"""The pages of the documentation, and the blocks on them."""

from dataclasses import dataclass
from doctest import DocTestParser
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[2]

#: Where pages are; new ones are found by themselves.
PATTERNS = ("*.md", "docs/**/*.md", "plugins/**/README.md", "catalogs/**/*.md")

#: Paths of all pages, relative to the root; what a build leaves in docs/ is not one.
PAGES = sorted(
    {
        path.relative_to(ROOT).as_posix()
        for pattern in PATTERNS
        for path in ROOT.glob(pattern)
        if not {"_build", "api", ".pytest_cache"} & {*path.parts}
    }
)


@dataclass(frozen=True)
class Block:
    """A block of a page: its language ("" for one without), its text, the line where it begins."""

    language: str
    text: str
    line: int

    @property
    def statements(self):
        """What can be done one by one: examples, lines of a shell; of a text, its first line."""
        if self.language == "python":
            return [e.source.strip() for e in DocTestParser().get_examples(self.text)]
        lines = self.text.replace("\\\n", " ").splitlines()
        lines = [" ".join(line.partition(" # ")[0].split()) for line in lines]
        return lines if self.language == "shell" else lines[:1]


def read(page):
    """Tokens of a page's Markdown."""
    return MarkdownIt("commonmark").parse((ROOT / page).read_text(encoding="utf-8"))


def blocks(page):
    """The blocks of a page in order, those that are merely indented as well."""
    return [
        Block(token.info.strip(), token.content, token.map[0] + 2)
        for token in read(page)
        if token.type in ("fence", "code_block")
    ]


def inline_code(page):
    """Texts between single backticks, on one line each."""
    return [
        " ".join(child.content.split())
        for token in read(page)
        for child in token.children or ()
        if child.type == "code_inline"
    ]
