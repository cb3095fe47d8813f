"""What is measured: cases with their shapes, and the least that each must do.

Shapes of products are (K, N) of W `[N, K]`; M is the number of rows of the input. Floors count
every input once and every output once, in bytes, and multiplications and additions as two flops.
"""

from dataclasses import dataclass

BF16 = 2
GROUP = 128
PAGE = 64

DECODE_ROWS = (1, 2, 4, 8, 16, 32, 64)
PREFILL_ROWS = (128, 256, 512, 2048, 8192)
BATCHES = (1, 8, 32, 128)
CONTEXTS = (512, 1024, 4096, 8192, 32768, 131072)
LENGTHS = (512, 1024, 2048, 4096, 8192, 16384, 32768)


@dataclass(frozen=True)
class Model:
    """Widths of a decoder. Heads are (query, key/value, elements)."""

    name: str
    hidden: int
    heads: tuple
    inner: int
    vocab: int

    def matrices(self):
        """Name, K and N of a layer's matrices and of the head."""
        query, kv, dim = self.heads
        return (
            ("qkv", self.hidden, (query + 2 * kv) * dim),
            ("o", query * dim, self.hidden),
            ("gate_up", self.hidden, 2 * self.inner),
            ("down", self.inner, self.hidden),
            ("head", self.hidden, self.vocab),
        )


MODELS = (
    Model("llama-3.1-8b", 4096, (32, 8, 128), 14336, 128256),
    Model("qwen3-8b", 4096, (32, 8, 128), 12288, 151936),
    Model("qwen3-14b", 5120, (40, 8, 128), 17408, 151936),
    Model("qwen3-0.6b", 1024, (16, 8, 128), 3072, 151936),
)
# Of no model: a matrix that others are often measured by.
SQUARE = ("square", "8192", 8192, 8192)
# What the simulator runs in seconds.
TINY = Model("tiny", 256, (4, 2, 64), 128, 80)


@dataclass(frozen=True)
class Gemm:
    """`out[M, N] = x[M, K] W[N, K]^T`."""

    phase: str
    format: str
    model: str
    matrix: str
    k: int
    n: int
    rows: int

    @property
    def op(self):
        return f"gemm-{self.format}"

    @property
    def label(self):
        return f"{self.model} {self.matrix} {self.k}x{self.n} m{self.rows}"

    def shape(self):
        group = {"group": GROUP} if self.format == "int4" else {}
        return {"model": self.model, "matrix": self.matrix, "m": self.rows, "n": self.n,
                "k": self.k, **group}

    def weight_bytes(self):
        elements = self.n * self.k
        if self.format == "bf16":
            return BF16 * elements
        return elements // 2 + BF16 * elements // GROUP

    def bytes(self):
        return self.weight_bytes() + BF16 * self.rows * (self.k + self.n)

    def flops(self):
        return 2 * self.rows * self.n * self.k


@dataclass(frozen=True)
class Attention:
    """Causal attention of sequences that all end at position `context`. In decode each has one
    row, its last; in prefill one sequence has a row for each position."""

    phase: str
    model: str
    heads: tuple
    batch: int
    context: int

    @property
    def op(self):
        return f"attention-{self.phase}"

    @property
    def rows(self):
        """Rows of each sequence."""
        return 1 if self.phase == "decode" else self.context

    @property
    def pages(self):
        """Pages of each sequence."""
        return -(-self.context // PAGE)

    @property
    def label(self):
        heads = "{}/{}x{}".format(*self.heads)
        if self.phase == "decode":
            return f"{self.model} {heads} b{self.batch} of {self.context}"
        return f"{self.model} {heads} {self.context} tokens"

    def shape(self):
        query, kv, dim = self.heads
        return {"model": self.model, "query_heads": query, "kv_heads": kv, "head_dim": dim,
                "batch": self.batch, "rows": self.rows, "context": self.context}

    def bytes(self):
        query, kv, dim = self.heads
        rows = self.rows * query + self.context * kv
        return 2 * BF16 * dim * self.batch * rows

    def flops(self):
        query, _, dim = self.heads
        pairs = self.context
        if self.phase == "prefill":
            pairs = self.context * (self.context + 1) // 2
        return 4 * self.batch * query * dim * pairs


def floor_seconds(case, ceilings):
    """The least time of a case, at (bytes/s, flop/s); None where these are not known."""
    if ceilings is None:
        return None
    return max(case.bytes() / ceilings[0], case.flops() / ceilings[1])


@dataclass(frozen=True)
class Sizes:
    """Which rows, batches, contexts and lengths are measured, by phase."""

    decode_rows: tuple = DECODE_ROWS
    prefill_rows: tuple = PREFILL_ROWS
    batches: tuple = BATCHES
    contexts: tuple = CONTEXTS
    lengths: tuple = LENGTHS


# Lengths that end within a page.
TINY_SIZES = Sizes((1, 17), (33,), (3,), (100,), (70,))


def cases(models, sizes, square=False):
    """All cases, those of one matrix beside each other, so that its packing is done once."""
    found = []
    for weights in ("bf16", "int4"):
        matrices = [(m.name, *matrix) for m in models for matrix in m.matrices()]
        for name, matrix, k, n in matrices + ([SQUARE] if square else []):
            if weights == "int4" and k % GROUP:
                continue
            rows = [("decode", rows) for rows in sizes.decode_rows]
            if matrix != "head":  # Logits are the work of a few rows.
                rows += [("prefill", rows) for rows in sizes.prefill_rows]
            found += [Gemm(phase, weights, name, matrix, k, n, m) for phase, m in rows]
    seen = set()
    for model in models:
        if model.heads in seen:  # The same attention under another model's name.
            continue
        seen.add(model.heads)
        found += [
            Attention("decode", model.name, model.heads, batch, context)
            for batch in sizes.batches for context in sizes.contexts
        ]
        found += [Attention("prefill", model.name, model.heads, 1, n) for n in sizes.lengths]
    return found
