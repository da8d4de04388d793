"""What share of the text's variety a model's answers have."""

import math
from collections.abc import Iterable


def entropy(counts: Iterable[float]) -> float:
    """Entropy in nats of the distribution that `counts` are proportional to; 0 where all is zero."""
    positive = [count for count in counts if count > 0]
    total = math.fsum(positive)
    if not total:
        return 0.0
    return max(0.0, math.log(total) - math.fsum(count * math.log(count) for count in positive) / total)


def diversity(predicted: Iterable[float], reference: Iterable[float]) -> float:
    """Entropy of the argmax histogram ÷ entropy of the reference histogram.

    Args:
        predicted: how often each token was the model's most likely next token, over held-out contexts.
        reference: how often each token truly came next in the same contexts.

    Returns:
        0 when one token is always the answer, about 1 when the answers are as varied as the text; it can pass
        1 a little. 0 where the reference itself has no variety.
    """
    most = entropy(reference)
    return entropy(predicted) / most if most > 0 else 0.0


def effective_vocabulary(predicted: Iterable[float]) -> float:
    """exp(entropy) of the argmax histogram: the number of tokens that, used equally, are as varied."""
    return math.exp(entropy(predicted))
