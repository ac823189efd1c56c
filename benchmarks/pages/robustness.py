"""Tables of ``faults.json``, ``durability.json``, ``babble.json`` and ``served.json``."""

from typing import Any

from benchmarks.pages.markdown import number, table

Result = dict[str, Any]
INJECTED = {
    "daemon_kills": "the daemon was killed (SIGKILL)",
    "broker_kills": "the broker was killed",
    "kills_of_both": "both were killed while verdicts were in the journal alone",
    "daemon_freezes": "the daemon was frozen (SIGSTOP)",
    "broker_freezes": "the broker was frozen",
    "disk_fills": "the journal's disk was full",
    "clock_ahead": "the gateway's clock was set a day ahead and back",
    "clock_behind_at_boot": "the gateway started two hours behind",
    "renames": "the host got another name",
    "wrong_for_a_while": "a device's clock was a day ahead for some samples",
    "absurd_stamps": "single samples were stamped far ahead",
    "malformed": "malformed messages were mixed in",
}
FOUND = {
    "lost": "verdicts lost",
    "extra": "verdicts that should not be there",
    "contradicting": "verdicts that contradict an earlier one or the undisturbed run",
    "alarms_differ": "devices whose last alarm differs",
    "muted": "devices left muted",
    "ended_alone": "times the daemon or the broker ended by itself",
    "owed_at_end": "verdicts and alarms not delivered at the end",
}


def injected(faults: Result) -> str:
    """What was done."""
    return table(["what happened", "times"], [[text, number(faults[key], 0)] for key, text in INJECTED.items()])


def found(faults: Result) -> str:
    """What came of it."""
    about = (
        f"{faults['messages']:,} messages, {faults['verdicts']:,} verdicts, {faults['redelivered']:,} delivered again."
    )
    return about + "\n\n" + table(["after the run", "count"], [[t, number(faults[k], 0)] for k, t in FOUND.items()])


def durability(of: Result) -> str:
    """What the journal costs."""
    rows = []
    for pending in (key for key in of if key.startswith("pending_")):
        for setting, one in of[pending].items():
            journal = "no journal" if setting == "off" else f'`journal.sync = "{setting}"`'
            rows.append([
                journal, number(one["messages_per_turn"], 0), number(one["median_messages_per_s"], 0),
                number(one["cpu_us_per_message"], 1), f"{one['cost_percent']:.1f} %",
            ])  # fmt: skip
    heads = ["", "messages in a turn", "messages/s (median)", "CPU per message, us", "slower than without"]
    return table(heads, rows)


def babble(of: Result) -> str:
    """What a babbling device costs the others."""
    rows = [
        [number(row["babble_per_s"], 0), number(row["rejected_per_s"], 0), number(row["p50_ms"], 1),
         number(row["p99_ms"], 1)]
        for row in of["rows"]
    ]  # fmt: skip
    return table(["messages/s in all", "of them rejected", "p50 of the others, ms", "p99, ms"], rows, words=0)


def served(of: Result) -> str:
    """Verdicts over MQTT in int8 beside those of the checkpoint."""
    rows = [
        [str(row["fold"]), *(number(row[key], 0) for key in ("windows", "missing", "changed")),
         *(number(row[key], 4) for key in ("macro_f1_offline", "macro_f1_served"))]
        for row in of["rows"]
    ]  # fmt: skip
    sums = [number(sum(row[key] for row in of["rows"]), 0) for key in ("windows", "missing", "changed")]
    together = [number(of[key], 4) for key in ("macro_f1_offline", "macro_f1_served")]
    heads = ["fold", "windows", "missing", "different", "macro-F1 offline, float32", "macro-F1 served, int8"]
    return table(heads, [*rows, ["all", *sums, *together]])
