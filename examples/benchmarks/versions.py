"""What a benchmark ran on, for its results."""

import platform

import numpy as np
import scipy
import sklearn

import sklearn_influence


def versions(*others):
    """Names and versions of Python, of what the package stands on, of itself, and of other modules."""
    modules = (np, scipy, sklearn, *others, sklearn_influence)
    return {"python": platform.python_version(), **{module.__name__: module.__version__ for module in modules}}
