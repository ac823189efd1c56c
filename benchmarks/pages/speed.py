"""Tables of ``speed.json``, ``front.json``, ``footprint.json`` and ``memory.json``."""

from typing import Any

from benchmarks.pages.markdown import commit, number, table

Result = dict[str, Any]
#: What is aimed at: key of the result, what it is, its unit, digits, whether more is better, and the value.
TARGETS = (
    ("ratio_naive", "messages per CPU-second, against by hand", "x", 1, True, 20.0),
    ("ratio_node_red", "the same, against Node-RED", "x", 1, True, 10.0),
    (
        "ingest_vs_paho",
        "receiving and journalling, against paho with an empty callback",
        "x",
        2,
        True,
        0.6,
    ),
    ("verdict_vs_ort", "a verdict at N >= 64, against ONNX Runtime alone", "x", 2, False, 1.3),
    (
        "shipped_vs_ort",
        "the same with trees, network and 44 channels (plant 31), N = 64",
        "x",
        2,
        False,
        1.3,
    ),
    ("cost_50000_vs_10", "a message with 50,000 devices, against 10", "x", 2, False, 1.5),
    ("p99_ms_half_load", "p99 latency at half load, 1,000 devices", " ms", 1, False, 20.0),
    ("p99_ms_90_load", "p99 latency at 90% of the highest load", " ms", 1, False, 50.0),
    ("rss_mb_1000", "peak memory, 1,000 devices, reference network in int8", " MB", 0, False, 150.0),
    ("rss_mb_50000", "peak memory, 50,000 devices", " MB", 0, False, 600.0),
    ("start_s", "start to `online`", " s", 2, False, 1.5),
)


def targets(speed: Result) -> str:
    """Figures that are aimed at."""
    rows = [
        [text, f"{speed[key]:.{digits}f}{unit}", f"{'at least' if more else 'at most'} {goal:g}{unit}"]
        for key, text, unit, digits, more, goal in TARGETS
        if key in speed
    ]
    return table(["figure", "measured", "goal"], rows)


def programs(speed: Result) -> str:
    """The daemon beside the hand-written ways."""
    rows = [
        [name, number(of["cpu_us"], 0), number(of["messages_per_cpu_s"], 0), number(of["memory_mb"], 0),
         number(of["start_s"], 2)]
        for name, of in speed["programs"].items()
    ]  # fmt: skip
    return table(["", "CPU per message, us", "messages per CPU-second", "peak memory, MB", "start, s"], rows)


def ingest(speed: Result) -> str:
    """Messages that make no window due."""
    rows = [
        [name, number(of["cpu_us"], 1), number(of["messages_per_cpu_s"], 0)] for name, of in speed["ingest"].items()
    ]
    return table(["", "CPU per message, us", "messages per CPU-second"], rows)


def strides(speed: Result) -> str:
    """By stride."""
    rows = [
        [stride, number(of["by_hand_us"], 0), number(of["ours_us"], 0), f"{of['ratio']:.0f}x"]
        for stride, of in speed["strides"].items()
    ]
    return table(["stride, bins", "by hand, us per message", "rarefault, us per message", "ratio"], rows, words=0)


def fleets(speed: Result) -> str:
    """By the number of devices."""
    rows = [
        [f"{int(devices):,}", number(of["cpu_us"], 0), number(of["memory_mb"], 0)]
        for devices, of in speed["fleets"].items()
    ]
    return table(["devices", "CPU per message, us", "peak memory, MB"], rows, words=0)


def latency(speed: Result) -> str:
    """From a message to its verdict."""
    rows = [
        [
            f"{name} of capacity",
            number(of["messages_per_s"], 0),
            *(number(of[key], 1) for key in ("p50_ms", "p99_ms", "p999_ms")),
        ]
        for name, of in speed["latency"].items()
    ]
    return table(["load", "messages/s", "p50, ms", "p99, ms", "p99.9, ms"], rows)


def verdict(speed: Result) -> str:
    """A verdict beside ONNX Runtime alone."""
    rows = [
        [precision, n, number(of["ort_us"], 0), number(of["ours_us"], 0), number(of["ratio"], 2)]
        for precision, found in speed["verdict"].items()
        for n, of in found.items()
    ]
    heads = ["precision", "N due at once", "ONNX Runtime alone, us", "the whole verdict, us", "ratio"]
    return table(heads, rows)


def scale_out(speed: Result) -> str:
    """Two daemons beside one."""
    of = speed["scale_out"]
    return table(
        ["daemons", "messages/s", "CPU per message, us"],
        [[n, number(of[f"{n}_messages_per_s"], 0), number(of[f"{n}_cpu_us"], 1)] for n in ("one", "two")],
    )


def about(of: Result) -> str:
    """Where a result was measured."""
    processor = f", {of['processor']}" if "processor" in of else ""
    commits = of.get("commits", {}).values() or [of[key] for key in ("commit",) if key in of]
    short = ", ".join(sorted({commit(name) for name in commits}))
    return f"Measured on: {of['machine']}{processor}" + (f"; commit {short}." if short else ".")


def presets(front: Result) -> str:
    """What the presets cost and score, alone and with trees."""
    by = {(row["preset"], row["trees"]): row for row in front["rows"]}
    rows = []
    for preset in dict.fromkeys(row["preset"] for row in front["rows"]):
        alone, both = by[preset, False], by[preset, True]
        rows.append([
            f"`{preset}`",
            number(alone["parameters"], 0),
            *(f"{row['float32_mb']:.2f} / {row['int8_mb']:.2f}" for row in (alone, both)),
            *(f"{row['float32_us']:.0f} / {row['int8_us']:.0f}" for row in (alone, both)),
            *(number(row["macro_f1"], 3) for row in (alone, both)),
        ])  # fmt: skip
    heads = ["preset", "parameters", "file, MB", "with trees", "us per verdict", "with trees", "macro-F1", "with trees"]
    return table(heads, rows)


def footprint(of: Result) -> str:
    """What the installation takes."""
    largest = ", ".join(f"{name} {mb:.0f}" for name, mb in of["largest_mb"].items())
    return table(
        ["figure", "measured"],
        [
            ["installed without extras", f"{of['installed_mb']:.0f} MB"],
            ["the largest of it, MB", largest],
            ["import of the daemon", f"{of['import_s']:.2f} s (onnxruntime alone: {of['onnxruntime_import_s']:.2f} s)"],
            ["`rarefault --version`", f"{of['help_s']:.2f} s"],
        ],
    )


def model_files(of: Result) -> str:
    """Size and cost of model files with the default configuration."""
    rows = [
        [name, f"{row['size_bytes'] / 1e6:.2f}", *(number(cost, 0) for cost in row["verdict_cost_us"].values())]
        for name, row in of["models"].items()
    ]
    return table(["model", "file, MB", "us per verdict, one at a time", "us per verdict, 64 at a time"], rows)


def memory(of: Result) -> str:
    """Memory over many messages."""
    rows = [[f"{int(messages):,}", number(mb, 1)] for messages, mb in of["rss_mb"].items()]
    return table(["messages", "resident memory, MB"], rows, words=0)
