"""The commit-msg hook: refuse a subject of more than 72 characters. ``python .ci/subject_length.py MESSAGE_FILE``."""

import sys
from pathlib import Path

LONGEST = 72


def main(message: Path) -> int:
    """0 where the subject is short enough, else 1."""
    lines = [line for line in message.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    subject = next((line for line in lines if line.strip()), "")
    if len(subject) <= LONGEST:
        return 0
    print(f"The subject has {len(subject)} characters, at most {LONGEST} are allowed: {subject}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
