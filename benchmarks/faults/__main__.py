"""Fault injection: whatever happens to the daemon and its broker, the verdicts are those of an undisturbed run.

A recording of telemetry is played through Mosquitto to the daemon while both are killed (SIGKILL) and frozen (SIGSTOP)
at random moments, the journal's disk fills up, and malformed messages are mixed in. The daemon's own clock is set a day
ahead and back while it runs, and is two hours behind when it starts; its host is given another name. In the recording
the devices' clocks step or are far ahead for a moment, samples come twice and out of order, and devices pause.
Afterwards the verdicts that arrived are compared with those of the same daemon over the same recording left in peace.

A killed broker loses what only its memory held, which no daemon can bring back. So the sender does what a device with a
store does: after a broker's death it sends again what the daemon has not kept. The broker saves its sessions at every
change; but to Mosquitto it is none that a message is on its way to a client that is there, until that confirms it. So
the consumer has read what was sent to it before the broker is killed.

Exit code 0: nothing lost, nothing contradicting, nothing that should not be there, no device left muted.
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.faults.recording import DEVICES, Recording, compare
from benchmarks.faults.run import KINDS, PER_FAULT, Run, can_rename, make_model, run_in_peace, say
from benchmarks.harness.machine import RESULTS, origin, write


def main() -> int:
    """Inject, compare, tell."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="5 kills of the daemon and 2 of the broker only")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the result here (default in full: results/faults.json)")
    args = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="rarefault-faults-") as name:
        folder = Path(name)
        model = make_model(folder)
        rng = random.Random(args.seed)
        schedule = make_schedule(rng, quick=args.quick)
        recording = Recording(model, len(schedule) * PER_FAULT, args.seed)
        say(f"{len(recording.messages)} messages of {DEVICES} devices; first in peace")
        peaceful = run_in_peace(folder / "peace", model, recording)
        say(f"{len(peaceful.verdicts)} verdicts; now with {len(schedule)} faults")
        disturbed = Run(folder / "faults", model, recording, rng)
        disturbed.play(schedule)
    problems = compare(peaceful.verdicts, disturbed.verdicts)
    problems |= {"differing_in_peace": sum(compare(recording.expected, peaceful.verdicts).values())}
    problems |= {"muted": len(disturbed.muted | peaceful.muted)}
    problems |= {"ended_alone": peaceful.ended_alone + disturbed.ended_alone}
    problems |= {"alarms_differ": sum(peaceful.alarms.get(d) != disturbed.alarms.get(d) for d in recording.devices)}
    result = {
        **disturbed.done,
        "messages": len(recording.messages),
        "disk_fills_felt": disturbed.disk_fills_felt,
        "clock_steps": disturbed.clock_steps,
        "absurd_stamps": recording.absurd_stamps,
        "wrong_for_a_while": recording.wrong_for_a_while,
        "malformed": disturbed.malformed,
        "sent_again": disturbed.sent_again,
        "verdicts": len(peaceful.verdicts),
        "redelivered": sum(len(v) - 1 for v in disturbed.verdicts.values()),
        **problems,
        "owed_at_end": disturbed.owed_at_end,
        "seconds": round(time.monotonic() - began, 1),
        "mode": "quick" if args.quick else "full",
        "seed": args.seed,
        **origin(),
    }
    width = max(map(len, result))
    print("\n".join(f"{key:<{width}}  {value}" for key, value in result.items()))
    write(args.json or (None if args.quick else RESULTS / "faults.json"), result)
    reached = disturbed.done["daemon_kills"] >= (5 if args.quick else 100)
    reached &= disturbed.done["broker_kills"] >= (2 if args.quick else 20)
    reached &= disturbed.done["renames"] >= (1 if args.quick else 3) or not can_rename()
    reached &= disturbed.clock_steps >= (3 if args.quick else 20)
    return 0 if reached and not any(problems.values()) else 1


def make_schedule(rng: random.Random, *, quick: bool) -> list[str]:
    """Kinds of faults in random order."""
    counts = (5, 2, 1, 1, 1, 1, 1, 1, 1) if quick else (110, 22, 8, 8, 3, 8, 8, 8, 4)
    schedule = [kind for kind, count in zip(KINDS, counts, strict=True) for _ in range(count)]
    rng.shuffle(schedule)
    return schedule


if __name__ == "__main__":
    sys.exit(main())
