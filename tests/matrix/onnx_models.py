"""ONNX models of the matrix: files that packages ship."""

from __future__ import annotations

from tests.matrix.entry import Entry

ENTRIES: tuple[Entry, ...] = ()
