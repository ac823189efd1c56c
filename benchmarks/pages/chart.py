"""A chart of bars as SVG, small and the same on every machine, so that a test can hold it against its numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

NAMES, WIDTH, ROW, TOP = 230, 190, 22, 52
#: Of curves, in turn; apart in lightness, too.
COLOURS = ("#0f766e", "#64748b", "#c2410c")
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


@dataclass(frozen=True)
class Curves:
    """One panel of curves.

    Attributes:
        title: stands above it.
        values: of each name, one for each point of the horizontal axis; None where there is none.
    """

    title: str
    values: Mapping[str, Sequence[float | None]]


def curves(title: str, along: Sequence[str], label: str, columns: Sequence[Curves]) -> str:
    """Panels of curves beside each other over evenly spaced points.

    Args:
        title: for those who cannot see it.
        along: the points of the horizontal axis.
        label: of that axis.
        columns: from left to right; they have the same names.
    """
    side, high, left = 260, 200, 44
    width, height = (left + side + 40) * len(columns), TOP + high + 64
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"',
        f'  font-family="sans-serif" font-size="12" fill="{INK}">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" fill="{BACK}"/>',
    ]
    for number, column in enumerate(columns):
        x0 = left + (left + side + 40) * number
        there = [value for row in column.values.values() for value in row if value is not None]
        top = max(there, default=1.0) * 1.05 or 1.0
        parts += _lines(column.title, 22, x0)
        parts += [f'<path d="M{x0} {TOP}V{TOP + high}H{x0 + side}" fill="none" stroke="{OTHERS}"/>']
        parts += [
            f'<text x="{x0 - 6}" y="{TOP + high - high * part + 4:g}" text-anchor="end">{top * part:.2f}</text>'
            for part in (0, 0.5, 1)
        ]
        place = [x0 + side * (at + 0.5) / len(along) for at in range(len(along))]
        parts += [
            f'<text x="{x:g}" y="{TOP + high + 16}" text-anchor="middle">{escape(name)}</text>'
            for x, name in zip(place, along, strict=True)
        ]
        parts.append(f'<text x="{x0 + side / 2:g}" y="{TOP + high + 34}" text-anchor="middle">{escape(label)}</text>')
        for at, (name, row) in enumerate(column.values.items()):
            colour = COLOURS[at % len(COLOURS)]
            dots = [(x, TOP + high * (1 - y / top)) for x, y in zip(place, row, strict=True) if y is not None]
            joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in dots)
            parts.append(f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="2"/>')
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in dots]
            parts.append(f'<text x="{x0 + 90 * at}" y="{TOP + high + 54}" fill="{colour}">{escape(name)}</text>')
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
