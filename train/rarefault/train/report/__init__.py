"""The report of a run: one self-contained HTML file."""

from rarefault.train.report.html import write_evaluation, write_report

__all__ = ["write_evaluation", "write_report"]
