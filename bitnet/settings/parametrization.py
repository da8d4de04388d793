"""How initial sizes and rates depend on the width: as they are set (standard), or by µP.

At the base width both are the same model. With m = base width ÷ width, µP (Tensor Programs V, arXiv 2203.03466,
table 3) sets

    parameter   initial deviation   Adam's rate   Muon's rate
    embedding   · 1                 · 1
    hidden      · √m                · m           · 1
    head        · m                 · m

For Adam, this head is the one with the output multiplier m at the full rate. Muon's update has a spectral norm of
√max(1, out ÷ in) (torch's ``original`` adjustment), which no width changes: the spectral condition (arXiv 2310.17813)
holds as it is. The decay of a step stays weight decay · rate without these factors (microsoft/mup).

BitLinear alters little of this. Its output is proportional to mean|w|, so that the deviation still matters where no
norm follows: queries and keys, and what a block adds to the residual. Values and the input of an FFN are normalised
again, and there the deviation decides only how soon updates flip a weight. Attention needs no factor: heads have one
size at all widths.
"""

import math
from dataclasses import dataclass
from typing import Literal

Kind = Literal["standard", "mup"]
BASE_WIDTH = 32  # the smallest width of the studies: a rate that is tuned there is the rate of both


@dataclass(frozen=True, kw_only=True)
class Factors:
    """Factors of one width; all 1 in the standard parametrization.

    Attributes:
        rate: on Adam's rate for the ternary matrices and the head.
        hidden_std, head_std: on the deviation of the initial weights.
    """

    rate: float = 1.0
    hidden_std: float = 1.0
    head_std: float = 1.0


def factors(kind: Kind, hidden_size: int, base_width: int) -> Factors:
    """The factors of one width."""
    if kind == "standard":
        return Factors()
    m = base_width / hidden_size
    return Factors(rate=m, hidden_std=math.sqrt(m), head_std=m)
