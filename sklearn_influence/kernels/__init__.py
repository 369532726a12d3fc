"""Tangent kernels of networks, infinitely wide (as scikit-learn's Gaussian-process kernels) or as they stand; kernel
matrices on any device."""

from .convolutional import ConvolutionalNTK
from .empirical import empirical_ntk
from .matrices import gram
from .ntk import NeuralTangentKernel

__all__ = ["ConvolutionalNTK", "NeuralTangentKernel", "empirical_ntk", "gram"]
