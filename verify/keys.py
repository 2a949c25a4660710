"""How blobs are told apart: a layer in place gives one name to several of them."""

from __future__ import annotations

from typing import TypeAlias

Key: TypeAlias = tuple[str, str]
"""Layer name and top name."""
