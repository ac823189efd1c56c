"""The records of decisions: numbered without a gap, listed, dated, and all that the code names are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "decisions"
RECORDS = sorted(FOLDER.glob("[0-9]*.md"))
#: These, and what links to them.
PAGES = [*sorted(FOLDER.glob("*.md")), *sorted((ROOT / "docs" / "results").glob("*.md")), ROOT / "docs" / "method.md"]
#: What each record says of itself.
STATUS = re.compile(r"^(Accepted|Superseded by \[\d{4}\]\([^)]+\)), \d{4}-\d{2}\.$", re.MULTILINE)


def test_they_are_numbered_without_a_gap() -> None:
    assert [record.name[:4] for record in RECORDS] == [f"{number:04d}" for number in range(1, len(RECORDS) + 1)]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name[:4])
def test_a_record_has_its_parts_and_stands_in_the_list(record: Path) -> None:
    text = record.read_text(encoding="utf-8")
    title = text.splitlines()[0]
    assert title.startswith(f"# {record.name[:4]} ")
    assert STATUS.search(text)
    for part in ("Context", "Decision", "Measured", "Consequences"):
        assert f"**{part}.**" in text, part
    assert f"| [{record.name[:4]}]({record.name}) | {title[7:]} | " in (FOLDER / "index.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 60, "a record is a page, not a report"


def test_records_that_the_code_names_are_there() -> None:
    """``(decision 0007)`` in a docstring or comment leads somewhere."""
    numbers = {record.name[:4] for record in RECORDS}
    named: dict[str, str] = {}
    for folder in ("runtime", "train", "export", "benchmarks"):
        for file in (ROOT / folder).rglob("*.py"):
            for number in re.findall(r"decisions? (\d{4})\b", file.read_text(encoding="utf-8")):
                named[number] = str(file.relative_to(ROOT))
    assert named
    assert {number: file for number, file in named.items() if number not in numbers} == {}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """Files, and headings where a link names one."""
    for target, heading in re.findall(r"\]\((?!https?:|#)([^)#\s]+)(?:#([^)]+))?\)", page.read_text(encoding="utf-8")):
        file = (page.parent / target).resolve()
        assert file.exists(), f"{page.name} links to {target}"
        if heading and file.suffix == ".md":
            text = file.read_text(encoding="utf-8")
            known = {slug(head) for head in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
            assert heading in known | set(re.findall(r'<a id="([^"]+)"></a>', text)), f"{page.name}: {target}#{heading}"


def slug(heading: str) -> str:
    """What the site makes of a heading."""
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip())
