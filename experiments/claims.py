"""Does every figure of the texts come from a recorded result? `python -m experiments.claims`

In README.md, CHANGELOG.md, experiments/README.md and docs/, section by section (from one heading to the next):

- A figure is a number in a row of a table, and elsewhere a number with a unit (%, points, ms, minutes, times, MB ...),
  with decimals, or beside ±. It must be a number of a file in experiments/results that the section links to, rounded
  as it stands in the text; a number and its ± are of one row, in this order.
- A row of a table is one row of a result, and a column is of one of its columns, or else the whole table is arranged
  in another way.
- A section says where its results are from: their commands with all options (but for paths), and which version of the
  code recorded those that are not of a commit of their own. Commands of other results are not shown beside them.
- Settings stand between backticks or in code, and are no figures; comments of commands are text.
- Figures of others stand in a sentence with a link to them (https://...).
- What a command prints stands in a block marked ```text, and every line of it, but for "...", in a linked .txt file.

It does not see whether a row has the right name, nor which of the figures of its results a sentence means. Prints what
is wrong, with its line.
"""

import bisect
import csv
import io
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from itertools import pairwise
from pathlib import Path

from experiments import options, provenance, tables

__all__ = ["TEXTS", "links", "sections", "wrong"]

ROOT = Path(__file__).parents[1]
TEXTS = [ROOT / name for name in ("README.md", "CHANGELOG.md", "experiments/README.md")]
TEXTS += sorted((ROOT / "docs").glob("**/*.md"))

_NUMBER = re.compile(r"(?<![\w.,/=-])[-+−]?\d+(?:,\d{3})*(?:\.\d+)?(?!\w|[.,]\d)")
_UNIT = r"(?:%|points?|ms|s|seconds?|minutes?|hours?|days?|weeks?|times|×|[kKMG]i?B)(?!\w)"
_WITH_UNIT = re.compile(rf"[\s-]*{_UNIT}")
_BETWEEN = re.compile(r"\s*(?:,|to|and|or|,\s*and|±)\s*")  # 2 to 4 points
_CODE = re.compile(r"`[^`]+`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_COMMIT = re.compile(r"[0-9a-f]{7,40}")
_PATHS = ("path=", "picture=", "run_dir=")
_END = re.compile(r"[.!?](?=\s)|\n\s*(?:[-*]|\d\.) ")  # of a sentence


@dataclass
class Section:
    """What stands between two headings.

    Attributes:
        parts: line number, kind (text, row, printed, command, code) and text; a text may have several lines.
    """

    parts: list[tuple[int, str, str]] = field(default_factory=list)

    @property
    def tables(self) -> list[list[tuple[int, str]]]:
        """The rows of each table, with their line numbers."""
        grouped: list[list[tuple[int, str]]] = []
        for line, kind, text in self.parts:
            if kind == "row":
                if not grouped or line != grouped[-1][-1][0] + 1:
                    grouped.append([])
                grouped[-1].append((line, text))
        return grouped

    def add(self, line: int, kind: str, text: str) -> None:
        """A line; lines of text that follow each other are one part."""
        last = self.parts[-1] if self.parts else (0, "", "")
        if kind == last[1] == "text" and line == last[0] + last[2].count("\n") + 1:
            self.parts[-1] = (last[0], kind, f"{last[2]}\n{text}")
        else:
            self.parts.append((line, kind, text))


def sections(markdown: str) -> list[Section]:
    """Of a text in Markdown; code is left out, but for its comments."""
    cut, fence, in_table = [Section()], None, False
    for number, line in enumerate(markdown.splitlines(), 1):
        if line.lstrip().startswith("```"):
            fence = None if fence is not None else line.strip().removeprefix("```")
        elif fence == "text":
            cut[-1].add(number, "printed", line.strip())
        elif fence is not None:
            cut[-1].add(number, "code", line.partition(" # ")[0])
            if fence == "" and " # " in line:
                cut[-1].add(number, "text", line.partition(" # ")[2])
        elif line.startswith("    "):
            cut[-1].add(number, "command", line.strip())
        elif line.startswith("|"):
            if in_table and not set(line) <= set("|-: "):
                cut[-1].add(number, "row", line)
            in_table = True
            continue
        else:
            if line.startswith("#"):
                cut.append(Section())
            if line:
                cut[-1].add(number, "text", line)
        in_table = False
    return cut


def links(text: str) -> list[str]:
    """Where the links of a text in Markdown lead."""
    return _LINK.findall(text)


def wrong(text: Path) -> list[str]:
    """What of a text is in none of the results that it names, one line each."""
    return [f"{text.relative_to(ROOT)}:{line}" for line in _wrong(text.read_text(), text.parent)]


def _wrong(markdown: str, folder: Path) -> Iterator[str]:
    for section in sections(markdown):
        targets = [(line, target) for line, _, text in section.parts for target in links(text) if "://" not in target]
        for line, target in targets:
            name, _, place = target.partition("#")
            file = folder / name
            if name and not file.exists():
                yield f"{line}: {target}: there is no such file"
            elif place and place not in _places(file.read_text() if name else markdown):
                yield f"{line}: {target}: there is no such heading"
        files = [(folder / target).resolve() for _, target in targets if target.endswith((".csv", ".txt"))]
        files = [file for file in files if file.parent == tables.RESULTS and file.exists()]
        names = "not in " + ", ".join(file.name for file in files) if files else "in no result that is linked here"
        yield from _unsaid(section, files)
        for table in section.tables:
            yield from _misplaced(table, files, names)
        for line, kind, text in section.parts:
            if kind in ("command", "code"):
                continue
            if kind == "printed":
                if text not in ("", "...") and not any(text in _printed(file) for file in files):
                    yield f"{line}: this line is {names}: {text}"
                continue
            for place, figure in _figures(text, every=kind == "row"):
                if not any(_holds(file, figure) for file in files):
                    yield f"{line + text[:place].count(chr(10))}: {' ± '.join(figure)} is {names}"


def _figures(text: str, *, every: bool) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Places and figures; a number and its ± are one."""
    plain = _LINK.sub(_blank, _CODE.sub(_blank, text))
    numbers = list(_NUMBER.finditer(plain))
    between = [plain[a.end() : b.start()] for a, b in pairwise(numbers)] + [""]
    has_unit = [_WITH_UNIT.match(plain, number.end()) is not None for number in numbers]
    for i in reversed(range(len(numbers))):  # in 2 to 4 points both have one
        has_unit[i] |= i + 1 < len(numbers) and has_unit[i + 1] and _BETWEEN.fullmatch(between[i]) is not None
    spread = [gap.strip() == "±" for gap in between]
    for i, number in enumerate(numbers):
        if (i and spread[i - 1]) or _of_others(text, number.start()):
            continue
        if every or has_unit[i] or spread[i] or "." in number[0]:
            yield number.start(), (number[0], numbers[i + 1][0]) if spread[i] else (number[0],)


def _of_others(text: str, place: int) -> bool:
    """Whether the sentence at a place has a link to somewhere else."""
    ends = [0, *(match.end() for match in _END.finditer(text)), len(text)]
    i = bisect.bisect_right(ends, place)
    return "](https://" in text[ends[i - 1] : ends[i] if i < len(ends) else len(text)]


def _blank(match: re.Match[str]) -> str:
    return "".join("\n" if character == "\n" else " " for character in match[0])


def _unsaid(section: Section, files: Sequence[Path]) -> Iterator[str]:
    """Of where the results of a section are from, what it does not say; and its commands that are of none of them."""
    said = " ".join(text for _, _, text in section.parts).replace("\\", " ").split()
    said = {word.strip("`,.;:()") for word in said}
    line, modules = section.parts[0][0] if section.parts else 0, set()
    for file in dict.fromkeys(files):
        facts, _ = provenance.split(file.read_text())
        _, _, module, *settings = shlex.split(facts["command"].partition(";")[0])
        version = [word for word in facts.get("recorded", "").split() if _COMMIT.fullmatch(word)]
        settings = [setting for setting in settings if not setting.startswith(_PATHS)]
        modules.add(module)
        if unsaid := [word for word in (module, *settings, *version) if word not in said]:
            yield f"{line}: {file.name} is of {' '.join(unsaid)}, which this section does not say"
    for line, kind, text in section.parts:
        for command in text.splitlines() if kind == "command" else ():
            module = command.removeprefix("python -m ").split()[0]
            if modules and command.startswith("python -m experiments.") and module not in modules:
                yield f"{line}: {module} is the command of no result that is linked here"


def _misplaced(table: Sequence[tuple[int, str]], files: Sequence[Path], names: str) -> Iterator[str]:
    """Rows that are no row of a result where most rows of the table are one, and columns that are of several."""
    lines = [(line, [_numbers(cell) for cell in _cells(row)]) for line, row in table]
    lines = [(line, cells) for line, cells in lines if any(cells)]
    matching = [
        [(file, row) for file in files for row in _rows(file) if all(_has(row, n) for cell in cells for n in cell)]
        for _, cells in lines
    ]
    if 2 * sum(map(bool, matching)) <= len(matching):
        return
    columns: dict[int, set[tuple[Path, int]]] = {}
    for (line, cells), rows in zip(lines, matching, strict=True):
        if not rows:
            yield f"{line}: this row is {names} as one row"
            continue
        for i, cell in enumerate(cells):
            if not i or not cell:  # the first is what the row is called
                continue
            of = {(file, k) for file, row in rows for k, numbers in enumerate(row) if _has([numbers], cell[0])}
            columns[i] = columns.get(i, of) & of
            if not columns[i]:
                yield f"{line}: column {i + 1} is of another column than in the rows before"
                columns[i] = of


def _numbers(cell: str) -> list[str]:
    return [number for _, figure in _figures(cell, every=True) for number in figure]


def _cells(row: str) -> list[str]:
    return row.strip().strip("|").split("|")


def _holds(file: Path, figure: tuple[str, ...]) -> bool:
    """Whether one row of `file` has all numbers of `figure`, in their order and rounded as they are there; one without
    a sign may be that of a negative."""
    return any(_in_order([number for cell in row for number in cell], figure) for row in _rows(file))


def _in_order(row: list[Decimal], figure: Sequence[str]) -> bool:
    places = [i for i, number in enumerate(row) if _is(number, figure[0])]
    return bool(places) and (len(figure) == 1 or any(_in_order(row[i + 1 :], figure[1:]) for i in places))


def _has(row: list[list[Decimal]], figure: str) -> bool:
    return any(_is(number, figure) for cell in row for number in cell)


def _is(number: Decimal, figure: str) -> bool:
    """Whether a number, rounded, is the figure."""
    text = figure.replace(",", "").replace("−", "-")
    value = Decimal(text)
    half = Decimal(5).scaleb(-1 - max(0, -int(value.as_tuple().exponent)))
    return abs((number if text[0] in "+-" else abs(number)) - value) <= half


@cache
def _rows(file: Path) -> list[list[list[Decimal]]]:
    """The numbers of each cell of each row of a result, or of each line."""
    _, text = provenance.split(file.read_text())
    rows = csv.reader(io.StringIO(text)) if file.suffix == ".csv" else map(_cells, text.splitlines())
    return [
        [[Decimal(n.replace(",", "").replace("−", "-")) for n in _NUMBER.findall(_bare(cell))] for cell in row]
        for row in rows
    ]


def _bare(cell: str) -> str:
    """With numbers as they stand in texts: percent signs and the letters of units are apart."""
    return re.sub(r"(?<=\d)(?=(?:%|ms|s|M)(?!\w))", " ", cell)


def _places(markdown: str) -> list[str]:
    """What links to its headings are called."""
    headings = re.findall(r"^#+ (.+)$", markdown, flags=re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


@cache
def _printed(file: Path) -> set[str]:
    return {line.strip() for line in provenance.split(file.read_text())[1].splitlines()}


def main() -> None:
    options.read({})
    lines = [line for text in TEXTS if text.exists() for line in wrong(text)]
    print("\n".join(lines) or f"every figure of {len(TEXTS)} texts is in a result that is linked beside it")
    if lines:
        sys.exit(1)


if __name__ == "__main__":
    options.run(main)
