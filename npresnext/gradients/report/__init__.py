"""A report on files of gradient norms: one page of HTML with pictures, tables, verdicts and provenance."""

from .page import write_report
from .runs import Run, read_run

__all__ = ["Run", "read_run", "write_report"]
