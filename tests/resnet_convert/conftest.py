"""What several tests here share."""

from __future__ import annotations

from tests.resnet_convert.into_nets import made

__all__ = ["made"]
