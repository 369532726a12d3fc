"""Questions about a fitted model that take several of its answers, and the yardsticks its answers are held against."""

from .yardsticks import agreement, cross_validated_losses, sample_losses, unlearning_effect

__all__ = ["agreement", "cross_validated_losses", "sample_losses", "unlearning_effect"]
