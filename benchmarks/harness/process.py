"""What the kernel says of a process."""

import os
from pathlib import Path


def cpu_s(pid: int) -> float:
    """Processor time that it has used, all threads, seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int, name: str = "VmHWM") -> float:
    """``VmHWM``, the peak of its resident memory, or ``VmRSS``, what is resident now; MB."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name}:")) * 1024 / 1e6
