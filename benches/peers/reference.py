"""What the results should be, in float64, and how far from it they are.

The functions work on arrays of numpy and of torch alike: `device.xp` is one module or the other,
and `device.f64` gives a whole array or some of its rows in float64. Where a result has many rows,
a sample of them is checked that holds the first and the last.
"""

# Rows of the output that are compared.
SAMPLE = 48
# Rows of W that are in float64 at a time: 16,384 of 14,336 columns are 1.9 GB.
BLOCK = 16384
# Largest distance of a row that is right. bf16 operands and results give 1e-3 to 5e-3.
TOLERANCE = 1e-2


def sample(count, most=SAMPLE):
    """At most so many indices, spread evenly from the first to the last."""
    if count <= most:
        return list(range(count))
    return [i * (count - 1) // (most - 1) for i in range(most)]


def worst_row(found, expected, xp):
    """The largest |found - expected| / |expected| of a row; NaN if any number is NaN. A norm over
    all rows would hide one that is wrong among thousands."""
    found = found.reshape(expected.shape)
    distance = xp.sqrt(((found - expected) ** 2).sum(-1))
    size = xp.sqrt((expected ** 2).sum(-1))
    return float((distance / size).max())


def is_right(error):
    """NaN is not."""
    return error <= TOLERANCE


def gemm(device, inputs, rows):
    """Some rows of x W^T."""
    x = device.f64(inputs.x, rows)
    parts = []
    for first in range(0, inputs.case.n, BLOCK):
        block = range(first, min(first + BLOCK, inputs.case.n))
        parts.append(x @ inputs.weights.f64(device, block).T)
    return device.xp.concatenate(parts, 1)


def attend(device, q, k, v, last):
    """Rows q `[r, query, d]` over k and v `[t, kv, d]`; row i sees positions 0 to `last[i]`."""
    xp = device.xp
    rows, query, dim = q.shape
    tokens, kv, _ = k.shape
    q = q.reshape(rows, kv, query // kv, dim)
    scores = xp.einsum("rhgd,thd->rhgt", q, k) * dim**-0.5
    hidden = device.indices(range(tokens))[None, :] > device.indices(last)[:, None]
    # A finite number, whose exponential is zero beside any score that is seen.
    scores = xp.where(hidden[:, None, None, :], -1e30, scores)
    weights = xp.exp(scores - xp.amax(scores, -1)[..., None])
    weights = weights / weights.sum(-1)[..., None]
    return xp.einsum("rhgt,thd->rhgd", weights, v).reshape(rows, query, dim)


def attention(device, inputs, rows):
    """Some rows of the output, which are numbered over all sequences."""
    case, parts = inputs.case, []
    for sequence in sorted({row // case.rows for row in rows}):
        own = [row for row in rows if row // case.rows == sequence]
        last = [case.context - case.rows + row % case.rows for row in own]
        k, v = (inputs.sequence(device, pool, sequence) for pool in (inputs.k, inputs.v))
        parts.append(attend(device, device.f64(inputs.q, own), k, v, last))
    return device.xp.concatenate(parts, 0)


def expected(device, inputs):
    """The rows that are compared, and what they should be."""
    case = inputs.case
    if case.op.startswith("gemm"):
        rows = sample(case.rows)
        return rows, gemm(device, inputs, rows)
    # Few rows of a long prompt suffice; each looks at all that is before it.
    rows = sample(case.batch * case.rows, 16)
    return rows, attention(device, inputs, rows)
