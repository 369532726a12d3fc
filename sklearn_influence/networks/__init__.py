"""Fully connected networks at fixed weights: outputs, derivatives by the weights, and products of these."""

from .bending import Bending
from .network import ACTIVATIONS, Network
from .refine import corner_of, nearby_minimum
from .risk import NetworkRisk

__all__ = ["ACTIVATIONS", "Bending", "Network", "NetworkRisk", "corner_of", "nearby_minimum"]
