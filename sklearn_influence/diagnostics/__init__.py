"""Questions about a fitted model that take several of its answers, and the yardsticks its answers are held against."""

from .influential_set import most_influential_set
from .linearisability import linearisability
from .unlearning_audit import unlearning_audit
from .yardsticks import agreement, cross_validated_losses, sample_losses, unlearning_effect

__all__ = [
    "agreement",
    "cross_validated_losses",
    "linearisability",
    "most_influential_set",
    "sample_losses",
    "unlearning_audit",
    "unlearning_effect",
]
