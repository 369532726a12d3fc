"""Which training rows made a scikit-learn model say that, and what would it be without them?

Influence functions, leave-one-out and group removal, and unlearning with a certificate.
"""

TYPE_CHECKING = False  # typing's own takes its time
if TYPE_CHECKING:
    from . import certificates, diagnostics, families, kernels, losses, plotting, privacy, solvers
    from .families import register_family
    from .kernel_models import KernelLogisticRegression
    from .kernels import NeuralTangentKernel
    from .linearised_models import LinearisedClassifier, LinearisedRegressor
    from .report import audit
    from .wrapper import InfluenceEstimator

    __version__: str

__all__ = [
    "InfluenceEstimator",
    "KernelLogisticRegression",
    "LinearisedClassifier",
    "LinearisedRegressor",
    "NeuralTangentKernel",
    "__version__",
    "audit",
    "register_family",
]

# Imported when first asked for: scikit-learn takes a second, in which the command must answer an interrupt.
_HOMES = {
    "InfluenceEstimator": "wrapper",
    "KernelLogisticRegression": "kernel_models",
    "LinearisedClassifier": "linearised_models",
    "LinearisedRegressor": "linearised_models",
    "NeuralTangentKernel": "kernels",
    "audit": "report",
    "register_family": "families",
}
_MODULES = ("certificates", "diagnostics", "families", "kernels", "losses", "plotting", "privacy", "solvers")


def __getattr__(name):
    from importlib import import_module

    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name in _HOMES:
        value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    elif name == "__version__":
        value = _version()
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def _version():
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("sklearn-influence")
    except PackageNotFoundError:  # imported from a checkout that is not installed
        return "0.1.0.dev0"


def __dir__():
    return sorted({*globals(), *__all__, *_MODULES})
