"""The order in which contenders are timed, and what is made of the samples.

Two recordings take turns, A B B A and again: a clock that rises or falls slowly touches both
alike. A ratio is taken within each round, and the median of the rounds is told.
"""

import statistics

ROUNDS = 12


def alternate(ours, peer, rounds=ROUNDS):
    """Samples of both, seconds of a launch: lists of pairs, one pair for each round."""
    samples = ([], [])
    for _ in range(rounds):
        first = ours.sample()
        second, third = peer.sample(), peer.sample()
        samples[0].append((first, ours.sample()))
        samples[1].append((second, third))
    return samples


def alone(ours, rounds=ROUNDS):
    """Samples where there is nobody to take turns with."""
    return [(ours.sample(), ours.sample()) for _ in range(rounds)]


def summary(pairs):
    """Median and quartiles of the samples, in seconds."""
    flat = [sample for pair in pairs for sample in pair]
    low, middle, high = statistics.quantiles(flat, n=4, method="inclusive")
    return {"time_s": middle, "quartiles_s": [low, high], "samples": len(flat)}


def ratio(ours, peer):
    """How many times as long as ours the peer takes: above 1, ours is faster."""
    return statistics.median(sum(b) / sum(a) for a, b in zip(ours, peer))
