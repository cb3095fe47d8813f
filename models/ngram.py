"""An interpolated Kneser-Ney n-gram model over token ids: the mark the trained models must beat."""

import numpy as np

DISCOUNT = 0.75


class KneserNey:
    """One level per order: the n-grams seen, their counts, and each context's total and types."""

    def __init__(self, stream, order, vocabulary):
        self.vocabulary, self.levels = vocabulary, []
        keys, counts = np.unique(pack(stream, order, vocabulary), return_counts=True)
        for size in range(order, 0, -1):
            contexts, first = np.unique(keys // vocabulary, return_index=True)
            totals = np.add.reduceat(counts, first)
            types = np.diff(np.append(first, len(keys)))
            self.levels.append((size, keys, counts, contexts, totals, types))
            # A lower order counts the different tokens that came before, not occurrences.
            keys, counts = np.unique(keys % vocabulary ** (size - 1), return_counts=True)
        self.levels.reverse()

    def log_probabilities(self, stream):
        """ln p of every token of `stream` that has a full context before it."""
        order = self.levels[-1][0]
        full = pack(stream, order, self.vocabulary)
        p = np.full(len(full), 1.0 / self.vocabulary)
        for size, keys, counts, contexts, totals, types in self.levels:
            grams = full % self.vocabulary ** size
            count = lookup(keys, counts, grams)
            total = lookup(contexts, totals, grams // self.vocabulary)
            kinds = lookup(contexts, types, grams // self.vocabulary)
            seen = total > 0
            backed = (np.maximum(count - DISCOUNT, 0) + DISCOUNT * kinds * p)
            p = np.where(seen, backed / np.maximum(total, 1), p)
        return np.log(p)


def pack(stream, order, vocabulary):
    """Every run of `order` tokens as one integer, oldest token in the highest digit."""
    length = len(stream) - order + 1
    packed = np.zeros(length, np.int64)
    for offset in range(order):
        packed = packed * vocabulary + stream[offset:offset + length]
    return packed


def lookup(keys, values, wanted):
    """The values under the wanted keys, zero where a key is missing."""
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, values[at], 0)
