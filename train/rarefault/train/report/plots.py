"""The plots of a report, as inline SVG."""

import io
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve

from rarefault.runtime.arrays import Float64, Int64
from rarefault.runtime.times import format_ms
from rarefault.train.evaluation.cost_curve import CostPoint
from rarefault.train.evaluation.metrics import ReliabilityBin
from rarefault.train.history.shift.structs import LogShift

#: Normal is grey; faults have the colours of Okabe and Ito, which colour-blind people can tell apart.
COLOURS = ("#c8ccd4", "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#f0e442", "#7a5195", "#444444")

#: Windows in a row of a time line, and rows of one; what does not fit is in metrics.json.
WINDOWS_A_ROW, MOST_ROWS = 420, 12
#: Columns of the plot of what moved the alarms.
MOST_CHANNELS = 20

_STYLE: Any = {
    "font.size": 9,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e3e6eb",
    "axes.axisbelow": True,
    "svg.fonttype": "none",
    "svg.hashsalt": "rarefault",
    "figure.facecolor": "white",
}


def colour(c: int) -> str:
    """Colour of a class."""
    return COLOURS[0] if c == 0 else COLOURS[1 + (c - 1) % (len(COLOURS) - 1)]


def _name(text: str) -> str:
    """A name that stands there as it is: no formula between dollars, and no label that legends leave out."""
    return (" " if text.startswith("_") else "") + text.replace("$", r"\$")


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": "rarefault"})
    text = out.getvalue()
    return text[text.index("<svg") :]


def _figure(width: float, height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height))
    return figure, figure.subplots()


def class_balance(windows: dict[str, dict[str, int]]) -> str:
    """Share of each class in each part, on a logarithmic axis: the rare ones must be seen."""
    with mpl.rc_context(_STYLE):
        figure, ax = _figure(7.2, 2.8)
        names = list(next(iter(windows.values())))
        x = np.arange(len(names))
        for i, (part, counts) in enumerate(windows.items()):
            total = max(sum(counts.values()), 1)
            share = [100 * counts[name] / total for name in names]
            ax.bar(x + (i - 1) * 0.27, share, 0.25, label=part, color=("#3b4252", "#88a0c4", "#d08770")[i])
        ax.set_yscale("log")
        ax.set_xticks(x, list(map(_name, names)))
        ax.set_ylabel("% of windows")
        ax.legend(frameon=False, ncols=3)
        return _svg(figure)


def confusion(counts: list[list[int]], classes: tuple[str, ...]) -> str:
    """Confusion matrix, coloured by the share of each row."""
    with mpl.rc_context({**_STYLE, "axes.grid": False}):
        table = np.asarray(counts)
        classes = tuple(map(_name, classes))
        columns = list(classes)
        figure, ax = _figure(1.4 + 0.62 * len(columns), 0.9 + 0.48 * len(classes))
        share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
        ax.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for i, j in np.ndindex(*table.shape):
            if table[i, j]:
                dark = share[i, j] > 0.55
                ax.text(j, i, f"{table[i, j]}", ha="center", va="center", color="white" if dark else "#222")
        ax.set_xticks(range(len(columns)), columns, rotation=30, ha="right")
        ax.set_yticks(range(len(classes)), classes)
        ax.set_xlabel("verdict")
        ax.set_ylabel("truth")
        return _svg(figure)


def precision_recall(label: Int64, posterior: Float64, classes: tuple[str, ...]) -> str:
    """Precision over recall, one curve per class that occurs."""
    with mpl.rc_context(_STYLE):
        figure, ax = _figure(4.4, 3.4)
        for c, name in enumerate(classes):
            if (label == c).any():
                precision, recall, _ = precision_recall_curve(label == c, posterior[:, c])
                ax.step(recall, precision, where="post", label=_name(name), color=colour(c), lw=1.6)
        ax.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.03))
        ax.legend(frameon=False, fontsize=8)
        return _svg(figure)


def log_shift(shift: LogShift) -> str:
    """How well the log fits the telemetry over the shift; 0 is the log as it is."""
    curve = shift.curve
    if curve is None:
        raise ValueError("nothing was searched")
    with mpl.rc_context(_STYLE):
        figure, ax = _figure(7.2, 2.4)
        ax.axhspan(0, curve.noise, color="#c8ccd4", alpha=0.5, lw=0)
        ax.plot(np.array(curve.shift_s) / 3600, curve.fit, color="#3b4252", lw=1.2)
        ax.axvline(0, color="#009e73", lw=1.2, ls="--", label="as it is")
        if shift.kind != "none":
            ax.axvline(shift.offset_s / 3600, color="#d55e00", lw=1.2, label="fits best")
        ax.set(xlabel="added to the log, hours", ylabel="fit", ylim=(0, 1.05), xlim=(-14, 14))
        ax.set_xticks(range(-14, 15, 2))
        ax.legend(frameon=False, fontsize=8)
        return _svg(figure)


def reliability(verdicts: list[ReliabilityBin], faults: list[ReliabilityBin]) -> str:
    """Reliability diagram: how often what was stated came true, over the probability; dots grow with the windows.

    Args:
        verdicts: bins of the most probable class.
        faults: bins of the probability of any fault.
    """
    with mpl.rc_context(_STYLE):
        figure, ax = _figure(3.8, 3.4)
        ax.plot([0, 1], [0, 1], color="#999", lw=1, ls="--")
        for bins, name, shade in ((verdicts, "most probable class", "#0072b2"), (faults, "any fault", "#d55e00")):
            n = np.array([b.windows for b in bins])
            x, y = [b.stated for b in bins], [b.share for b in bins]
            ax.plot(x, y, color=shade, lw=0.8, alpha=0.6, label=name, marker="o", ms=3)
            ax.scatter(x, y, s=10 + 120 * n / n.max(), color=shade, alpha=0.5, zorder=3)
        ax.set(xlabel="probability", ylabel="share that came true", xlim=(-0.02, 1.04), ylim=(-0.02, 1.04))
        ax.legend(frameon=False, fontsize=8, loc="upper left")
        return _svg(figure)


def cost_curve(points: list[CostPoint]) -> str:
    """Missed events over false alarms per device and day, as one factor scales the thresholds of all faults."""
    with mpl.rc_context(_STYLE):
        figure, ax = _figure(4.4, 3.4)
        x, y = [p.false_alarms_per_device_day for p in points], [p.missed for p in points]
        ax.plot(x, y, color="#3b4252", lw=1.4, marker="o", ms=3)
        at = dict(zip((p.factor for p in points), zip(x, y, strict=True), strict=True))
        ax.scatter(*at[1.0], s=70, color="#d55e00", zorder=4, label="chosen")
        named = {at[1.0]}
        for power in (2, -2, 4, -4, 6, -6):
            place = at[2.0**power]
            if place not in named:
                text = f"×{2**power}" if power > 0 else f"×1/{2**-power}"
                ax.annotate(text, place, xytext=(4, 4), textcoords="offset points", fontsize=7, color="#666")
                named.add(place)
        ax.set(xlabel="false alarms per device and day", ylabel=f"missed events, of {points[0].events}")
        ax.set_xlim(left=0)
        ax.set_ylim(0, None)
        ax.legend(frameon=False, fontsize=8)
        return _svg(figure)


def contributions(given: Float64, faults: list[str], channels: tuple[str, ...]) -> str:
    """What channels gave to the alarms of faults, [faults, channels]; those that gave most stand first."""
    chosen = np.argsort(-given.max(axis=0), kind="stable")[:MOST_CHANNELS]
    chosen = chosen[given[:, chosen].max(axis=0) > 0]
    with mpl.rc_context({**_STYLE, "axes.grid": False}):
        figure, ax = _figure(1.6 + 0.42 * len(chosen), 0.9 + 0.34 * len(faults))
        image = ax.imshow(given[:, chosen], cmap="Blues", vmin=0, aspect="auto")
        ax.set_xticks(range(len(chosen)), [_name(channels[c]) for c in chosen], rotation=60, ha="right")
        ax.set_yticks(range(len(faults)), list(map(_name, faults)))
        figure.colorbar(image, ax=ax, pad=0.02)
        return _svg(figure)


def curves(epochs: list[dict[str, Any]]) -> str:
    """Training loss over the epochs of each network."""
    with mpl.rc_context(_STYLE):
        figure, ax = _figure(7.2, 2.8)
        for name, label, color in (("device", "whole device", "#3b4252"), ("at_units", "single units", "#0072b2")):
            own = [e for e in epochs if e["network"] == name]
            if own:
                ax.plot([e["epoch"] for e in own], [e["train_loss"] for e in own], color=color, label=label)
        ax.set(xlabel="epoch", ylabel="loss per window (weighted)", ylim=(0, None))
        ax.legend(frameon=False)
        return _svg(figure)


def time_line(end_ms: Int64, label: Int64, verdict: Int64, classes: tuple[str, ...], span_ms: int) -> str:
    """Truth over verdict of one device, window by window; time outside the judged blocks is left out.

    Args:
        end_ms, label, verdict: of the device's windows, in order of time; no truth is drawn for a label of -1, [W].
        classes: names, [K].
        span_ms: time between two windows; a longer distance is a break, drawn as a line with the date behind it.
    """
    n_rows = min(-(-len(end_ms) // WINDOWS_A_ROW), MOST_ROWS)
    with mpl.rc_context({**_STYLE, "axes.grid": False, "axes.spines.left": False, "axes.spines.bottom": False}):
        figure = Figure(figsize=(11.0, 0.35 + 0.72 * n_rows))
        axes = figure.subplots(n_rows, 1, squeeze=False)[:, 0]
        figure.subplots_adjust(hspace=0.75)
        shades = ListedColormap([colour(c) for c in range(len(classes))] + ["#000000"])
        for row, ax in enumerate(axes):
            part = slice(row * WINDOWS_A_ROW, (row + 1) * WINDOWS_A_ROW)
            bands = np.full((2, WINDOWS_A_ROW), np.nan)
            n = len(end_ms[part])
            bands[0, :n], bands[1, :n] = verdict[part], np.where(label[part] >= 0, label[part], np.nan)
            ax.pcolormesh(bands, cmap=shades, vmin=-0.5, vmax=len(classes) + 0.5, rasterized=True)
            ax.axhline(1, color="white", lw=1.5)
            starts = np.flatnonzero(np.r_[True, np.diff(end_ms[part]) > span_ms])
            for at in starts[1:]:
                ax.axvline(at, color="white", lw=2.5)
            ticks = [int(at) for i, at in enumerate(starts) if i == 0 or at - starts[i - 1] > WINDOWS_A_ROW // 16]
            ax.set_xticks(ticks, [format_ms(int(end_ms[part][at]))[:10] for at in ticks], fontsize=7, ha="left")
            ax.set_yticks([0.5, 1.5], ["verdict", "truth"], fontsize=8)
            ax.tick_params(length=0)
        return _svg(figure)
