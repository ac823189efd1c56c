"""A chart of bars as SVG, small and the same on every machine, so that a test can hold it against its numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

NAMES, WIDTH, ROW, TOP = 230, 190, 22, 52
OURS, OTHERS, INK, BACK = "#c2410c", "#94a3b8", "#1e293b", "#ffffff"


@dataclass(frozen=True)
class Panel:
    """One column of bars.

    Attributes:
        title: stands above it.
        values: 0 to 1, one for each name; None where there is none.
    """

    title: str
    values: Sequence[float | None]


def panels(title: str, names: Sequence[str], columns: Sequence[Panel], mine: set[str]) -> str:
    """Panels of bars beside each other that share their names.

    Args:
        title: for those who cannot see it.
        names: one for each row.
        columns: from left to right.
        mine: names whose bars stand out.
    """
    step = WIDTH + 60
    width, height = NAMES + step * len(columns), TOP + ROW * len(names) + 12
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"',
        f'  font-family="sans-serif" font-size="12" fill="{INK}">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" fill="{BACK}"/>',
    ]
    for i, column in enumerate(columns):
        parts += _lines(column.title, 38, NAMES + i * step)
    for row, name in enumerate(names):
        y = TOP + ROW * row
        weight = ' font-weight="bold"' if name in mine else ""
        parts.append(f'<text x="{NAMES - 8}" y="{y + 14}" text-anchor="end"{weight}>{escape(name)}</text>')
        for i, column in enumerate(columns):
            parts += _bar(column.values[row], NAMES + i * step, y, OURS if name in mine else OTHERS)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _bar(value: float | None, x: int, y: int, colour: str) -> list[str]:
    if value is None:
        return [f'<text x="{x + 4}" y="{y + 14}">not run</text>']
    length = round(WIDTH * value, 1)
    return [
        f'<rect x="{x}" y="{y + 3}" width="{length}" height="{ROW - 8}" fill="{colour}"/>',
        f'<text x="{x + length + 4:g}" y="{y + 14}">{value:.3f}</text>',
    ]


def _lines(text: str, y: int, x: int) -> list[str]:
    """A heading, in two lines where it has a comma."""
    first, _, second = text.partition(", ")
    lines = [(first, y - 16), (second, y)] if second else [(first, y)]
    return [f'<text x="{x}" y="{at}" font-weight="bold">{escape(line)}</text>' for line, at in lines]
