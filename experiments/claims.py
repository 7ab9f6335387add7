"""Does every figure of the texts come from a recorded result? `python -m experiments.claims`

In README.md, CHANGELOG.md, experiments/README.md and docs/, section by section (from one heading to the next):

- A figure is a number in a row of a table, and elsewhere a number with a unit (%, points, ms, minutes, times, MB ...),
  with decimals, or beside ±. It must be a number of a file in experiments/results that the section links to, rounded
  as it stands in the text; a number and its ± are of one row.
- Settings stand between backticks or in code, and are no figures; comments of commands are text.
- Figures of others stand in a sentence with a link to them (https://...).
- What a command prints stands in a block marked ```text, and every line of it, but for "...", in a linked .txt file.

Prints what is wrong, with its line.
"""

import bisect
import csv
import io
import re
import sys
from collections.abc import Iterator
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
_END = re.compile(r"[.!?](?=\s)|\n\s*(?:[-*]|\d\.) ")  # of a sentence


@dataclass
class Section:
    """What stands between two headings.

    Attributes:
        parts: line number, kind (text, row, printed) and text; a text may have several lines.
    """

    parts: list[tuple[int, str, str]] = field(default_factory=list)

    def add(self, line: int, kind: str, text: str) -> None:
        """A line; lines of text that follow each other are one part."""
        last = self.parts[-1] if self.parts else (0, "", "")
        if kind == last[1] == "text" and line == last[0] + last[2].count("\n") + 1:
            self.parts[-1] = (last[0], kind, f"{last[2]}\n{text}")
        else:
            self.parts.append((line, kind, text))


def sections(markdown: str) -> list[Section]:
    """Of a text in Markdown; code is left out, but for its comments."""
    found, fence, in_table = [Section()], None, False
    for number, line in enumerate(markdown.splitlines(), 1):
        if line.lstrip().startswith("```"):
            fence = None if fence is not None else line.strip().removeprefix("```")
        elif fence == "text":
            found[-1].add(number, "printed", line.strip())
        elif fence is not None:
            if fence == "" and " # " in line:
                found[-1].add(number, "text", line.partition(" # ")[2])
        elif line.startswith("    "):
            continue
        elif line.startswith("|"):
            if in_table and not set(line) <= set("|-: "):
                found[-1].add(number, "row", line)
            in_table = True
            continue
        else:
            if line.startswith("#"):
                found.append(Section())
            if line:
                found[-1].add(number, "text", line)
        in_table = False
    return found


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
        for line, kind, text in section.parts:
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


def _holds(file: Path, figure: tuple[str, ...]) -> bool:
    """Whether one row of `file` has all numbers of `figure`, rounded as they are there; one without a sign may be that
    of a negative."""
    return any(all(_has(row, number) for number in figure) for row in _rows(file))


def _has(row: list[Decimal], figure: str) -> bool:
    text = figure.replace(",", "").replace("−", "-")
    value = Decimal(text)
    half = Decimal(5).scaleb(-1 - max(0, -int(value.as_tuple().exponent)))
    return any(abs((number if text[0] in "+-" else abs(number)) - value) <= half for number in row)


@cache
def _rows(file: Path) -> list[list[Decimal]]:
    """The numbers of each row or line of a result."""
    _, text = provenance.split(file.read_text())
    rows = list(csv.reader(io.StringIO(text))) if file.suffix == ".csv" else [[line] for line in text.splitlines()]
    return [
        [Decimal(n.replace(",", "").replace("−", "-")) for cell in row for n in _NUMBER.findall(_bare(cell))]
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
