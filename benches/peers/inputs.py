"""The values that all contenders of a case are given. Each puts them into its own layout."""

import numpy as np

from packing import to_bf16
from shapes import GROUP, PAGE


class Weights:
    """A matrix W `[n, k]` of random numbers, in bf16, or in 4 bits with a scale for each 128
    columns: W = (q - 8) * scale."""

    def __init__(self, device, format, n, k, seed=1):
        self.format, self.n, self.k = format, n, k
        self._made = {}
        # Of a size that gives outputs near 1.
        spread = k**-0.5
        if format == "bf16":
            self.values = device.bf16((n, k), seed, spread)
            return
        random = np.random.default_rng(seed)
        self.q = random.integers(0, 16, (n, k), np.uint8)
        scales = random.uniform(0.1, 0.3, (n, k // GROUP)) * spread
        self.scale_words = to_bf16(scales)
        self.q_at, self.scales = device.upload(self.q), device.upload_bf16(self.scale_words)

    def made(self, key, make):
        """What `make` gave when it was first asked for: packing is done once for all M."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def copies(self, device, key, make, count):
        """`count` arrays of equal values at different addresses."""
        held = self.made((key, "copies"), lambda: [make()])
        while len(held) < count:
            held.append(device.clone(held[0]))
        return held[:count]

    def f64(self, device, rows):
        """Some rows in float64."""
        if self.format == "bf16":
            return device.f64(self.values, rows)
        scales = device.f64(self.scales, rows)
        groups = device.f64(self.q_at, rows).reshape(len(rows), -1, GROUP) - 8
        return (groups * scales[..., None]).reshape(len(rows), self.k)


class GemmInputs:
    """x `[m, k]` of a case, and its weights."""

    def __init__(self, device, case, weights):
        self.case, self.weights = case, weights
        self.x = device.bf16((case.rows, case.k), 2)


class AttentionInputs:
    """Queries `[batch * rows, query, d]`; keys and values in pages `[pages, 64, kv, d]`; and the
    page tables `[batch, pages of each]`, uint32 of numpy.

    A sequence's pages lie among those of the others, as they do when all grow together. What is
    behind the last position of a page is there, and must not be seen.
    """

    def __init__(self, device, case):
        self.case = case
        query, kv, dim = case.heads
        pages = np.arange(case.batch * case.pages, dtype=np.uint32)
        self.tables = np.ascontiguousarray(pages.reshape(case.pages, case.batch).T)
        self.q = device.bf16((case.batch * case.rows, query, dim), 3)
        pool = (len(pages), PAGE, kv, dim)
        self.k, self.v = device.bf16(pool, 4), device.bf16(pool, 5)

    def sequence(self, device, pool, index):
        """Keys or values of a sequence in float64, `[context, kv, d]`."""
        _, kv, dim = self.case.heads
        pages = device.f64(pool, [int(page) for page in self.tables[index]])
        return pages.reshape(-1, kv, dim)[: self.case.context]


class Maker:
    """Makes inputs, and keeps the weights of the last matrix for the next case."""

    def __init__(self, device):
        self.device = device
        self.key = self.weights = None

    def make(self, case):
        if case.op.startswith("attention"):
            self.key = self.weights = None
            return AttentionInputs(self.device, case)
        key = (case.format, case.n, case.k)
        if key != self.key:
            self.key = self.weights = None  # Before the next take memory.
            self.weights = Weights(self.device, *key)
            self.key = key
        return GemmInputs(self.device, case, self.weights)


