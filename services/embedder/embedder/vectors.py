"""Arithmetic on rows of vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder.ports import Vectors

__all__ = ["mean_pooled", "unit_rows", "usable_rows"]

_SMALLEST_NORM = 1e-6
"""Below this a direction is rounding noise; real models give norms around 1 and more."""


def unit_rows(rows: NDArray[Any]) -> Vectors:
    """Scale every row to unit length, as float32; rows of no length or with NaN become NaN."""
    rows = np.asarray(rows, dtype=np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
    norms[~((norms > _SMALLEST_NORM) & np.isfinite(norms))] = np.nan
    return np.asarray(rows / norms)


def usable_rows(vectors: Vectors) -> NDArray[np.bool_]:
    """(texts,) bool: which rows are vectors at all."""
    return np.asarray(np.isfinite(vectors).all(axis=1))


def mean_pooled(hidden: NDArray[np.float32], mask: NDArray[np.int64]) -> NDArray[np.float32]:
    """The mean over each text's tokens: (batch, tokens, width) becomes (batch, width).

    Source: Reimers and Gurevych 2019, Sentence-BERT, section 3 (MEAN strategy).
    """
    weights = (mask / mask.sum(axis=1, keepdims=True)).astype(np.float32)
    return np.asarray(np.matmul(weights[:, None, :], hidden)[:, 0, :])
