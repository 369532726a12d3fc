"""KernelLogisticRegression: log loss in the span of the rows, fitted to its optimum."""

import warnings
from numbers import Real

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process.kernels import Kernel
from sklearn.utils.validation import check_is_fitted, validate_data

from ._backend import check_device, on_device, to_numpy
from ._parallel import block_size, blocks
from ._validation import check_choice, check_count, check_tolerance
from .alpha.gram import Gram, check_symmetric
from .alpha.newton import minimise
from .families import find_family, register_family
from .families.classes import check_class_weight
from .families.kernel import kernel_parameters
from .families.kernel_logistic import KernelLogisticFamily
from .kernels import NeuralTangentKernel, gram
from .losses import Logistic, Softmax
from .own_models import PENALTY_SCALES, ByOutputsMixin, OwnModelMixin, check_strength

__all__ = ["KernelLogisticRegression"]


class KernelLogisticRegression(ByOutputsMixin, OwnModelMixin, ClassifierMixin, BaseEstimator):
    r"""Logistic regression in the span of the rows: any kernel, two classes or more, no intercept.

    Minimises ``sum_i s_i logloss(y_i, f_i) + alpha/2 sum_o c_o'K c_o`` over the coefficients c, with outputs
    ``f = K c`` and s the sample weights times the class weights. One output for two classes; with more one for each,
    and a softmax. With ``kernel="linear"`` it is ``LogisticRegression(C=1/alpha, fit_intercept=False)``.

    Parameters
    ----------
    alpha : float, default=1.0
        Strength of the penalty, > 0. Larger is smoother. It is weighed against the sum of the losses, so that twice the
        rows halve its share, whatever ``penalty_scale``.
    kernel : str, callable or kernel object, default="rbf"
        A name of ``sklearn.metrics.pairwise.pairwise_kernels``; "precomputed": X is the kernel matrix, (n, n) in
        ``fit`` and (m, n) after it; a function of two rows that gives a number; or a kernel of
        ``sklearn.gaussian_process.kernels``, taken as it is (its parameters are not fitted, and a WhiteKernel adds
        nothing). It must be positive semi-definite.
    gamma : float, default=None
        Of the rbf, laplacian, polynomial, sigmoid and chi2 kernels; None is the kernel's own default.
    degree : float, default=3
        Of the polynomial kernel.
    coef0 : float, default=1
        Of the polynomial and sigmoid kernels.
    kernel_params : dict, default=None
        Keyword arguments of a callable kernel.
    class_weight : dict, "balanced" or None, default=None
        Factors of the rows' weights by class. "balanced" counts each class by the weights of its rows.
    penalty_scale : {"sum", "mean"}, default="sum"
        What happens to alpha when rows leave the model. "sum": it stays, as in scikit-learn's estimators. "mean": it
        shrinks with the retained share of the weights, as where the mean of the losses is penalised. ``fit`` is the
        same with both.
    tol : float, default=1e-10
        Converged when the Newton decrement is at most ``tol`` times that of the first step, or is rounding.
    max_iter : int, default=100
        Newton steps at most.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Where the kernel matrix lies and is worked with.

    Attributes
    ----------
    dual_coef_ : ndarray of shape (n_samples,), or (n_samples, n_classes) with more than two classes
        c.
    X_fit_ : ndarray or sparse matrix of shape (n_samples, n_features)
        The rows of ``fit``, or its kernel matrix.
    classes_ : ndarray of shape (n_classes,)
    n_iter_ : int
        Newton steps.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Warns
    -----
    ConvergenceWarning
        Out of iterations.

    Notes
    -----
    Cost: the kernel matrix, n**2 memory, and some tens of products of it with (n, n_outputs), more at a small alpha;
    for small problems with few classes a factor of it at each step. A float32 kernel matrix is worked with in float64
    on the CPU.

    Source: "Extending Kernel Trick to Influence Functions", Eq. 12, whose Newton step fits here and removes rows later.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_influence.kernel_models import KernelLogisticRegression
    >>> X, y = load_digits(return_X_y=True)
    >>> model = KernelLogisticRegression(alpha=0.1).fit(X[:500] / 16, y[:500])
    >>> model.dual_coef_.shape
    (500, 10)
    >>> bool(model.score(X[500:] / 16, y[500:]) > 0.85)
    True
    """

    def __init__(
        self,
        alpha=1.0,
        *,
        kernel="rbf",
        gamma=None,
        degree=3,
        coef0=1,
        kernel_params=None,
        class_weight=None,
        penalty_scale="sum",
        tol=1e-10,
        max_iter=100,
        device="auto",
    ):
        self.alpha = alpha
        self.kernel = kernel
        self.gamma = gamma
        self.degree = degree
        self.coef0 = coef0
        self.kernel_params = kernel_params
        self.class_weight = class_weight
        self.penalty_scale = penalty_scale
        self.tol = tol
        self.max_iter = max_iter
        self.device = device

    def fit(self, X, y, sample_weight=None):
        """Find the optimum.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or (n_samples, n_samples) if precomputed
        y : array-like of shape (n_samples,)
            Labels of at least two classes.
        sample_weight : array-like of shape (n_samples,), or float, default=None
            At least 0; a row of weight 0 has the coefficient 0.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For values that cannot be used, fewer than two classes, one without weight, a matrix that does not fit in
            memory, and a kernel that is not positive semi-definite.
        """
        self._check_parameters()
        X, y = validate_data(self, X, y, **self._rows())
        codes, sample_weight, weight = self._read_labels(y, sample_weight)
        n, n_classes = X.shape[0], len(self.classes_)
        device = check_device(self.device, n * n)
        if self._precomputed:
            check_symmetric(X)
        K = self._check_kernel(Gram(self.kernel, X, device, **kernel_parameters(self)).matrix)
        loss, n_outputs = (Logistic(), 1) if n_classes == 2 else (Softmax(), n_classes)
        alpha, _, info = minimise(
            K, codes, loss, weight, float(self.alpha), n_outputs=n_outputs, tol=self.tol, max_iter=self.max_iter
        )
        if not info.converged:
            warnings.warn(
                f"KernelLogisticRegression did not converge in max_iter={self.max_iter} steps: the Newton decrement is "
                f"{info.decrement:.2g}. Raise max_iter, or alpha.",
                ConvergenceWarning,
                stacklevel=2,
            )
        self.X_fit_, self.dual_coef_ = X, alpha[:, 0] if n_outputs == 1 else alpha
        self.n_iter_, self.weight_sum_ = info.n_iter, float(weight.sum())
        family = find_family(self)
        self._remember(family, family.read(self, X, y, sample_weight))
        return self

    def decision_function(self, X):
        """Raw outputs.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (m, n_features), or (m, n_samples) if precomputed

        Returns
        -------
        ndarray of shape (m,), or (m, n_classes) with more than two classes
            Log odds of the second class; with more classes, log probabilities less one number a row.

        Notes
        -----
        Cost: products of the kernel's rows (m, n) with the coefficients, in blocks within ``working_memory``.
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, **self._rows())
        device = check_device(self.device, X.shape[0] * self.X_fit_.shape[0])
        out = np.empty((X.shape[0], *self.dual_coef_.shape[1:]))
        coef = on_device(self.dual_coef_, device)
        for part in blocks(X.shape[0], block_size(16 * self.X_fit_.shape[0])):
            K = gram(self.kernel, X[part], self.X_fit_, device=device, **kernel_parameters(self))
            out[part] = to_numpy(K @ coef)
        return out

    representation = "dual"
    _of_edit = ("dual_coef_", "X_fit_", "n_features_in_", "feature_names_in_")

    def _take_up_rows(self, objective):
        self.X_fit_, self.n_features_in_ = objective.gram.X, objective.gram.X.shape[1]
        super()._take_up_rows(objective)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = self._precomputed
        tags.input_tags.sparse = self._rows()["accept_sparse"] is not False
        return tags

    @property
    def _precomputed(self):
        return isinstance(self.kernel, str) and self.kernel == "precomputed"

    def _rows(self):
        """What rows the kernel takes: sparse ones where scikit-learn's kernel does."""
        own = isinstance(self.kernel, NeuralTangentKernel)
        dense = self._precomputed or (isinstance(self.kernel, Kernel) and not own)
        return {"accept_sparse": False if dense else "csr", "dtype": [np.float64, np.float32]}

    def _check_parameters(self):
        """Refuse parameters that cannot be used."""
        check_strength(self.alpha, "kernel")
        if self.gamma is not None and (not isinstance(self.gamma, Real) or not 0 < self.gamma < np.inf):
            raise ValueError(f"gamma must be a number > 0, or None for the kernel's own default, got {self.gamma!r}.")
        check_choice("penalty_scale", self.penalty_scale, PENALTY_SCALES)
        check_tolerance("tol", self.tol)
        check_count("max_iter", self.max_iter)
        check_class_weight(self.class_weight)
        if self.kernel_params is not None and (isinstance(self.kernel, (str, Kernel)) or not callable(self.kernel)):
            raise ValueError(
                f"kernel_params are the arguments of a callable kernel, got {self.kernel_params!r} with "
                f"kernel={self.kernel!r:.80}; the others take gamma, degree and coef0, or none."
            )
        check_device(self.device)

    def _check_kernel(self, K):
        """A kernel matrix of finite numbers."""
        if isinstance(K, np.ndarray) and not np.isfinite(max(K.max(), -K.min())):
            raise ValueError(f"kernel={self.kernel!r:.80} gave NaN or infinity for some rows; see its parameters.")
        return K


register_family(KernelLogisticRegression, KernelLogisticFamily())
