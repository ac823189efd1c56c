"""The glossary: every term that a page links to is there, once, and no word that was given up is."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GLOSSARY = ROOT / "docs" / "glossary.md"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
#: Words that the project used for something that has a usual name; they are no terms.
GIVEN_UP = {
    "again", "asked", "challenge", "codec", "costs", "dealing", "doubt", "durablekeeper", "events", "keeper", "learnt",
    "levels", "link", "material", "mend", "most", "none", "plausible", "rows", "said", "shares", "streams",
    "told", "untrained", "validation", "wanted",
}  # fmt: skip


def heads() -> list[str]:
    """The terms, in the glossary's order."""
    return re.findall(r"^### (.+)$", GLOSSARY.read_text(encoding="utf-8"), re.MULTILINE)


def anchors() -> set[str]:
    """What can be linked to: the terms in small letters with hyphens, and other names for them."""
    others = re.findall(r'<a id="([^"]+)"></a>', GLOSSARY.read_text(encoding="utf-8"))
    return {re.sub(r"[^a-z0-9-]", "", head.lower().replace(" ", "-")) for head in heads()} | set(others)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_the_glossary_meets_a_term(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    pattern = r"\]\(#([^)]+)\)" if page == GLOSSARY else r"\]\([^)\s]*glossary(?:\.md|/)#([^)]+)\)"
    assert set(re.findall(pattern, text)) - anchors() == set()


def test_terms_are_in_order_and_each_is_there_once() -> None:
    found = heads()
    assert len(found) > 100
    assert found == sorted(found, key=lambda head: head.lower().replace("-", " "))
    assert len({head.lower() for head in found}) == len(found)


def test_words_that_were_given_up_are_no_terms() -> None:
    assert {head.lower() for head in heads()} & GIVEN_UP == set()


def test_every_term_is_explained_in_one_to_three_sentences() -> None:
    """A glossary is looked into, not read."""
    for entry in GLOSSARY.read_text(encoding="utf-8").split("\n### ")[1:]:
        head, _, text = entry.partition("\n")
        plain = re.sub(r'<a id="[^"]+"></a>|`[^`]*`', "x", text).strip()
        assert 1 <= len(re.findall(r"[.:](?:\s|$)", plain)) <= 4, head
