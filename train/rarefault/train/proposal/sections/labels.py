"""The column of labels among the samples, where there is one."""

import polars as pl

from rarefault.runtime.telemetry.values import WORDS
from rarefault.train.history.named_reader import as_text
from rarefault.train.history.parsing.files import listed
from rarefault.train.history.parsing.normal import is_empty, means_normal
from rarefault.train.proposal.looking.groups import FEW_WORDS, Group, is_numeric
from rarefault.train.proposal.looking.words import LABEL, WEAK_LABEL, filled, rank
from rarefault.train.proposal.sections.devices import Named
from rarefault.train.proposal.sections.draft import Draft

#: Rows that a label lasts on average.
RUN = 3.0
#: Letters of a word that is none any more.
LONG_WORD = 60


def add_label(draft: Draft, group: Group, named: Named, *, has_log: bool) -> None:
    """Add the column of labels, where there is one.

    Args:
        draft: of the section; its times and devices are there.
        group: the tables.
        named: their devices.
        has_log: whether there is a log of events, so that a column of labels is one more.
    """
    own = {*named.columns, *draft.times}
    for name, column in group.columns.items():
        if name in own or column.dtype.is_temporal():
            continue
        found = _label_evidence(name, column)
        if not found:
            continue
        evidence, other = found
        if has_log:
            draft.questions.append(
                f"{name} looks like a label ({evidence}), but there is a log of events: set data.label_column = "
                f"{name!r} if it tells faults as well, or leave it"
            )
            return
        draft.add("label_column", name, evidence, other)
        words = _label_words(column)
        if not any(means_normal(word) or is_empty(word) for word in words):
            usual = as_text(column).value_counts(sort=True).to_series(0)[0]
            draft.add(
                "normal",
                [usual],
                f"none of the usual words for normal is among {listed(words, 6)}; {usual!r} is the commonest",
                f"normal = [...] with all of {listed(words, 6)} that mean no fault",
            )
        return


def _label_words(column: pl.Series) -> list[str]:
    return [str(word) for word in as_text(column).unique(maintain_order=True).to_list()]


def _label_evidence(name: str, column: pl.Series) -> tuple[str, str] | None:
    """Why a column is one of labels, and what else it may be; None where it is none."""
    there = filled(column)
    text = as_text(there)
    words = text.unique(maintain_order=True).to_list()
    usual = [word for word in words if means_normal(word) and not (is_numeric(there) and word == "0")]
    alone = len(words) == 1 and usual and rank(name, (*LABEL, *WEAK_LABEL)) is not None
    if not (1 < len(words) <= FEW_WORDS or alone) or len(there) < len(words) * RUN:
        return None
    number = is_numeric(there) and there.dtype != pl.Boolean
    runs = len(there) / (1 + int((text != text.shift(1)).sum()))
    evidence = f"{name} holds {listed(words, 5)}, {runs:.0f} rows in a row on average"
    measured = number and (runs < RUN or not text.str.contains(r"^\d+(\.0*)?$").all())
    if measured or any(len(word) > LONG_WORD for word in words):
        return None  # whatever its name
    if rank(name, LABEL) is not None:
        return evidence, "" if usual or runs >= RUN else "leave it out, if it is no label"
    if runs < RUN or number:
        return None
    if usual and not all(word.lower() in WORDS for word in words):  # what is on and off is a state
        weak = rank(name, WEAK_LABEL) is not None
        return f"{evidence}, and {usual[0]!r} means no fault", "" if weak else "leave it out, if it is a state"
    return None
