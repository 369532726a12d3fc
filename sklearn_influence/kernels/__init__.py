"""Kernels of infinitely wide networks, as scikit-learn's Gaussian-process kernels; kernel matrices on any device."""

from .convolutional import ConvolutionalNTK
from .matrices import gram
from .ntk import NeuralTangentKernel

__all__ = ["ConvolutionalNTK", "NeuralTangentKernel", "gram"]
