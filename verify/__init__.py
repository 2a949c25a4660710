"""Checks that a converted model gives Caffe's numbers; shares no code with what it checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prototxt.by_need import names_by_need

if TYPE_CHECKING:
    from verify.inputs import load_image
    from verify.interpreter import run
    from verify.interpreter.steps import Step, Trace
    from verify.layers import known_types
    from verify.parity import judge, verify_model, verify_models
    from verify.report.page import write_html
    from verify.report.records import Report, Row
    from verify.report.text import format_report, verdict

__all__ = [
    "Report",
    "Row",
    "Step",
    "Trace",
    "format_report",
    "judge",
    "known_types",
    "load_image",
    "run",
    "verdict",
    "verify_model",
    "verify_models",
    "write_html",
]

__getattr__ = names_by_need(
    __name__,
    {
        "verify.inputs": ("load_image",),
        "verify.interpreter": ("run",),
        "verify.layers": ("known_types",),
        "verify.parity": ("judge", "verify_model", "verify_models"),
        "verify.report.page": ("write_html",),
        "verify.report.records": ("Report", "Row"),
        "verify.report.text": ("format_report", "verdict"),
        "verify.interpreter.steps": ("Step", "Trace"),
    },
)
