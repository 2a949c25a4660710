"""Parity as an assertion, for tests in any framework; pytest has it as a fixture besides (`pytest_resnet_convert`).

from resnet_convert.testing import assert_caffe_parity

assert_caffe_parity("deploy.prototxt", "model.caffemodel", "model.onnx")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from converter.options import File
from prototxt.errors import CaffeModelError

if TYPE_CHECKING:
    from verify import Report


def assert_caffe_parity(
    net: File, weights: File | None = None, model: File | None = None, *, verbose: bool = False, **options: Any
) -> Report:
    """Fail unless a converted model gives, blob by blob, what Caffe computes.

    Args:
        net: the .prototxt; or a .caffemodel, whose own net then counts, with no `weights`.
        weights: the .caffemodel or .caffemodel.h5.
        model: an .onnx file, or a folder that `--to torch` wrote, whose model.py is executed.
        verbose: show every blob of a comparison that fails, not only the worst.
        options: as `resnet_convert.verify` takes them: `seed`, `image`, `feeds`, `input_shapes`, `mean`, `report` …

    Returns:
        what was found: every blob with its largest absolute error and its bound.

    Raises:
        AssertionError: blobs leave their bounds; its text is the table of them and names the first.
        CaffeModelError: a file that cannot be read, a model that is not this net's.
    """
    __tracebackhide__ = True
    if model is None:
        raise TypeError("no model to compare: assert_caffe_parity(net, weights, model), or (net, model=…)")
    from resnet_convert.verification import verify
    from verify import format_report

    try:
        report = verify(net, weights, model, **options)
    except CaffeModelError as error:
        raise error.with_traceback(None) from None  # who named the files does not want to see who read them
    if not report.ok:
        raise AssertionError(f"{report.model} does not give Caffe's numbers\n{format_report(report, verbose=verbose)}")
    return report
