"""Checks that a converted model gives Caffe's numbers; shares no code with what it checks."""

from verify.inputs import load_image
from verify.interpreter import Step, Trace, run
from verify.layers import known_types
from verify.parity import judge, verify_model, verify_models
from verify.report import Report, Row
from verify.report_html import write_html
from verify.report_text import format_report, verdict

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
