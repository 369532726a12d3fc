"""Which training rows made a scikit-learn model say that, and what would it be without them?

Influence functions, leave-one-out and group removal, and unlearning with a certificate.
"""

from importlib.metadata import PackageNotFoundError, version

from . import certificates, diagnostics, families, losses, plotting, solvers
from .families import register_family
from .report import audit
from .wrapper import InfluenceEstimator

try:
    __version__ = version("sklearn-influence")
except PackageNotFoundError:  # imported from a checkout that is not installed
    __version__ = "0.1.0.dev0"

__all__ = ["InfluenceEstimator", "__version__", "audit", "register_family"]
