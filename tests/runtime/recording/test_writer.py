"""The files of a recording: rotated, compressed, bounded, and whole after a kill."""

import errno
import gzip
import json
import logging
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rarefault.runtime.daemon.config import RecordConfig
from rarefault.runtime.daemon.mqtt.inbox import Message
from rarefault.runtime.errors import UsageError
from rarefault.runtime.recording.lines import is_line, line_of
from rarefault.runtime.recording.writer import RecordingWriter
from rarefault.runtime.times import parse_time_ms

NOON = parse_time_ms("2024-03-01T12:00:00Z")
DAY_MS = 86_400_000
KB = 1 << 10


def line(number: int, size: int = 0) -> bytes:
    """One message."""
    payload = json.dumps({"n": number, "filler": os.urandom(size // 2).hex()}).encode()
    return line_of(Message("telemetry/p1", payload, NOON + number, False, 1, number, 1))


def writer(folder: Path, now_ms: int = NOON, **options: Any) -> RecordingWriter:
    """A writer with small files."""
    return RecordingWriter(folder, RecordConfig(**{"file_bytes": 64 * KB, "max_bytes": 512 * KB} | options), now_ms)


def finish(files: RecordingWriter) -> None:
    """Compress all that is complete, and close."""
    while files.busy:
        files.step()
    files.close()


def numbers(folder: Path) -> list[int]:
    """The numbers of all messages, in the order of the files and lines."""
    found = []
    for path in sorted(folder.glob("*.jsonl*")):
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            found += [json.loads(json.loads(text)["payload"])["n"] for text in file]
    return found


def names(folder: Path) -> list[str]:
    """Names of the files."""
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    "payload", [b"", b"23.5", b'{"a": "\xc3\xa9\\n"}', b"\xff\xfe\x00", b"a\nb\r\0", b"\xef\xbb\xbf{}"]
)
def test_a_line_is_one_line_and_holds_all(payload: bytes) -> None:
    """Whatever the bytes: text as text, anything else as base64, marked where it was retained."""
    text = line_of(Message("t/ü", payload, 5, True, 1, 9, 1, "sender"))
    assert text.endswith(b"\n")
    assert text.count(b"\n") == 1
    assert is_line(text[:-1])
    found = json.loads(text)
    assert (found["topic"], found["tst_ms"], found["qos"], found["retain"], found["sender"]) == (
        "t/ü",
        5,
        1,
        True,
        "sender",
    )
    binary = payload.startswith(b"\xff")
    assert ("payload" in found) != binary
    assert ("payload_base64" in found) == binary


def test_files_rotate_by_size_and_day_and_are_compressed(tmp_path: Path) -> None:
    """A complete file is there compressed, and only so; nothing is lost or twice."""
    files = writer(tmp_path)
    for number in range(90):
        files.write(line(number, 2 * KB), NOON)
        files.step()
    files.write(line(90), NOON + DAY_MS)
    while files.busy:
        files.step()
    files.look(NOON + 2 * DAY_MS)  # a day without messages: the file of the day before is complete, too
    finish(files)
    assert names(tmp_path) == [
        "2024-03-01-000001.jsonl.gz",
        "2024-03-01-000002.jsonl.gz",
        "2024-03-01-000003.jsonl.gz",
        "2024-03-02-000001.jsonl.gz",
    ]
    assert numbers(tmp_path) == list(range(91))
    assert files.files == 4
    assert files.size == sum(path.stat().st_size for path in tmp_path.iterdir())


def test_the_oldest_are_deleted_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """All files together stay within the limit; what is deleted is said."""
    (tmp_path / "notes.txt").write_text("not ours", "utf-8")
    files = writer(tmp_path, max_bytes=256 * KB)
    for number in range(400):
        files.write(line(number, 2 * KB), NOON)
        files.step()
        assert files.size <= 256 * KB
    finish(files)
    left = numbers(tmp_path)
    assert files.deleted > 3
    assert files.deleted_bytes > 100 * KB
    assert left == list(range(left[0], 400))
    assert left[0] > 0
    assert caplog.text.count("the oldest: the recording has reached record.max_bytes") == files.deleted
    assert (tmp_path / "notes.txt").exists()


@pytest.mark.parametrize("torn", [b'{"tst_ms":1,"topic":"t', b"\0" * 5000, b"\0\0\n\0\n", b'{"tst_ms":1}\n'])
def test_a_torn_end_is_cut_off_and_the_file_gone_on_with(
    tmp_path: Path, torn: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """As a kill or a power failure leaves it."""
    files = writer(tmp_path)
    files.write(line(0) + line(1), NOON)
    files.close()
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes() + torn)
    files = writer(tmp_path)
    files.write(line(2), NOON)
    files.close()
    assert numbers(tmp_path) == [0, 1, 2]
    assert names(tmp_path) == [path.name]
    assert (files.repaired, files.cut_bytes) == (1, len(torn))
    assert f"{len(torn)} byte(s) were cut off" in caplog.text


def test_what_a_kill_left_is_completed(tmp_path: Path) -> None:
    """In the midst of compression; with both forms there; with yesterday's file open; with a torn line alone."""
    files = writer(tmp_path)
    for number in range(50):
        files.write(line(number, 2 * KB), NOON)
    files.close()  # two files, the first one complete and not compressed
    first, second = sorted(tmp_path.iterdir())
    (tmp_path / "2024-03-01-000001.partial").write_bytes(b"half of it")
    (tmp_path / "2024-03-01-000003.jsonl").write_bytes(b'{"tst')
    files = writer(tmp_path, NOON + DAY_MS)
    files.write(line(50), NOON + DAY_MS)
    while files.busy:
        files.step()
    files.close()
    packed = tmp_path / f"{first.name}.gz"
    first.write_bytes(gzip.decompress(packed.read_bytes()))  # killed after the one and before the other
    finish(writer(tmp_path, NOON + DAY_MS))
    assert names(tmp_path) == [f"{first.name}.gz", f"{second.name}.gz", "2024-03-02-000001.jsonl"]
    assert numbers(tmp_path) == list(range(51))


def test_files_that_somebody_takes_away_are_gone_on_without(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The open one, one that waits for compression, and a compressed one: nothing is written into a deleted file."""
    files = writer(tmp_path)
    for number in range(40):
        files.write(line(number, 2 * KB), NOON)
    for path in tmp_path.iterdir():
        path.unlink()
    files.write(line(40), NOON)
    finish(files)
    assert numbers(tmp_path) == [40]
    assert "was deleted while it was written; going on with a new file" in caplog.text


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file of this process may grow beyond a size: as a full disk, with another word for it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_lines_that_do_not_fit_leave_nothing_behind(tmp_path: Path) -> None:
    """A write that ends in the midst is taken back; the same lines are written once, later."""
    files = writer(tmp_path)
    files.write(line(0), NOON)
    lines = b"".join(line(number, 2 * KB) for number in range(1, 10))
    with largest_file(5000):
        for _ in range(3):
            with pytest.raises(OSError, match="File too large"):
                files.write(lines, NOON)
    assert numbers(tmp_path) == [0]
    files.write(lines, NOON)
    files.close()
    assert numbers(tmp_path) == list(range(10))


def test_a_disk_without_room_for_compression_keeps_the_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It stays as it is, is read so, and is compressed at the next start."""
    caplog.set_level(logging.WARNING)
    files = writer(tmp_path, file_bytes=512 * KB, max_bytes=2048 * KB)
    for number in range(300):
        files.write(line(number, 2 * KB), NOON)
    with largest_file(4096):
        for _ in range(10):
            files.step()
    assert not files.busy
    assert "could not be compressed and stays as it is: File too large" in caplog.text
    files.close()
    assert len(names(tmp_path)) == 2
    assert numbers(tmp_path) == list(range(300))
    finish(writer(tmp_path, file_bytes=512 * KB, max_bytes=2048 * KB))
    assert names(tmp_path) == ["2024-03-01-000001.jsonl.gz", "2024-03-01-000002.jsonl"]
    assert numbers(tmp_path) == list(range(300))


def test_two_recorders_in_one_folder(tmp_path: Path) -> None:
    """The second one is refused; after the first has ended, it may."""
    first = writer(tmp_path)
    with pytest.raises(UsageError, match="another recorder writes to this folder"):
        writer(tmp_path)
    first.close()
    writer(tmp_path).close()


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    """The message names it."""
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(UsageError, match=r"--output .*file: the folder cannot be made or read"):
        writer(tmp_path / "file")


def test_a_real_full_disk(tmp_path: Path) -> None:
    """No room for a single byte more; with room again, all is written."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small disk can be mounted by root only")
    try:
        files = writer(folder)
        files.write(line(0), NOON)
        (folder / "filler").write_bytes(b"")
        fill = subprocess.run(["dd", "if=/dev/zero", f"of={folder / 'filler'}"], capture_output=True, check=False)
        assert b"No space left" in fill.stderr
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            files.write(b"".join(line(number, 4 * KB) for number in range(1, 9)), NOON)
        assert numbers(folder) == [0]
        (folder / "filler").unlink()
        files.write(b"".join(line(number, 4 * KB) for number in range(1, 9)), NOON)
        files.close()
        assert numbers(folder) == list(range(9))
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
