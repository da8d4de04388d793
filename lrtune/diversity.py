"""Output diversity: the entropy of a model's predicted tokens relative to that of the text."""

import math
from collections.abc import Iterable


def entropy(counts: Iterable[float]) -> float:
    """Entropy in nats of the distribution proportional to `counts`; 0 if all counts are zero."""
    positive = [count for count in counts if count > 0]
    total = math.fsum(positive)
    if not total:
        return 0.0
    return max(0.0, math.log(total) - math.fsum(count * math.log(count) for count in positive) / total)


def diversity(predicted: Iterable[float], reference: Iterable[float]) -> float:
    """Entropy of the argmax histogram ÷ entropy of the reference histogram.

    Args:
        predicted: count of each token as the model's most likely next token, over held-out contexts.
        reference: count of each token as the true next token in the same contexts.

    Returns:
        0 if the model always predicts one token, about 1 if its predictions are as diverse as the text; slightly
        above 1 is possible. 0 if the reference has entropy 0.
    """
    most = entropy(reference)
    return entropy(predicted) / most if most > 0 else 0.0
