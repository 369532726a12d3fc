"""Fully connected networks at fixed weights: outputs, derivatives by the weights, and products of these."""

from .network import ACTIVATIONS, Network

__all__ = ["ACTIVATIONS", "Network"]
