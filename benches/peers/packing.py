"""int4 matrices as checkpoints store them, of numbers 0 to 15 that mean themselves less 8.

Layouts by their own definitions: GPTQ keeps eight neighbouring columns of W in a word of
`qweight [k / 8, n]`, compressed-tensors in a word of `weight_packed [n, k / 8]`, the first column
in the lowest bits.
"""

import numpy as np


def words_by_row(q):
    """compressed-tensors: uint8 `[n, k]` to uint32 `[n, k / 8]`."""
    n, k = q.shape
    words = np.zeros((n, k // 8), np.uint32)
    for column in range(8):
        words |= q[:, column::8].astype(np.uint32) << np.uint32(4 * column)
    return words


def words_by_column(q):
    """GPTQ: uint8 `[n, k]` to uint32 `[k / 8, n]`."""
    return np.ascontiguousarray(words_by_row(q).T)


def bytes_by_row(q):
    """Two columns in a byte, the first in the high bits: uint8 `[n, k / 2]`."""
    return q[:, ::2] << 4 | q[:, 1::2]


def to_bf16(x):
    """f32 to bf16 as 16-bit words, to the nearest, ties to even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def from_bf16(words):
    return (np.ascontiguousarray(words).astype(np.uint32) << 16).view(np.float32)
