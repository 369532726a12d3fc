"""LinearisedClassifier and LinearisedRegressor: a network's first-order expansion about its initial weights, fitted."""

import warnings
from numbers import Real

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from ._backend import check_device
from ._validation import REPRESENTATIONS, check_choice, check_count, check_tolerance, check_weights
from .families import find_family, register_family
from .families.classes import check_class_weight
from .families.linearised import LinearisedFamily
from .fitted import FittedModel
from .linearised import NetworkRows
from .networks import ACTIVATIONS, Network
from .networks.initial import given_weights, hidden_sizes
from .own_models import PENALTY_SCALES, ByOutputsMixin, OwnModelMixin, check_strength

__all__ = ["LinearisedClassifier", "LinearisedRegressor"]

LOSSES = ("log_loss", "squared_error")


class _LinearisedNetwork(OwnModelMixin, BaseEstimator):
    """Where the network starts, the convex fit, and its outputs."""

    _of_edit = ("coef_", "dual_coef_", "network_", "n_features_in_", "feature_names_in_")

    def __sklearn_clone__(self):
        # A clone of a fitted network would have no weights; here they are a setting, as an array of numbers is.
        new = super().__sklearn_clone__()
        new.init = self.init
        return new

    def _start(self, n_features, n_outputs):
        """The network at its initial weights."""
        if self.init is None:
            sizes = [n_features, *hidden_sizes(self.hidden_layer_sizes), n_outputs]
            state = check_random_state(self.random_state)
            return Network.random(
                sizes, self.activation, sigma_w=self.sigma_w, sigma_b=self.sigma_b, random_state=state
            )
        weights, biases, activation = given_weights(self.init, self.activation)
        given = weights[0].shape[0], weights[-1].shape[1]
        if given != (n_features, n_outputs):
            raise ValueError(
                f"init is a network from {given[0]} features to {given[1]} output(s); these rows have {n_features} "
                f"features, and {type(self).__name__} needs {n_outputs} output(s) for their targets."
            )
        return Network(weights, biases, activation)

    def _fit(self, X, y, n_outputs, sample_weight, weight):
        """Find the optimum for checked rows; ``weight`` (n,) are the effective weights."""
        network = self._start(X.shape[1], n_outputs)
        chosen = self.representation
        if chosen == "auto":
            fewer = network.n_params <= X.shape[0] * n_outputs and self.penalty_scale == "sum"
            chosen = "primal" if fewer else "dual"
        self.__dict__.pop("_fitted", None)  # until this fit is done
        self.network_, self.representation_, self.weight_sum_ = network, chosen, float(weight.sum())
        self.coef_ = np.zeros(network.n_params)
        self.__dict__.pop("dual_coef_", None)
        if chosen == "dual":
            self.dual_coef_ = np.zeros((X.shape[0], n_outputs))
        family = find_family(self)
        fitted = FittedModel(family, family.read(self, X, y, sample_weight))
        options = fitted.resolved(self._check_options(), self.method)
        objective, info = family.engine.minimise_anew(
            fitted.start(options.representation, options.device),
            solver=fitted.exact_solver(options),
            tol=self.tol,
            max_iter=self.max_iter,
        )
        if not info.converged:
            warnings.warn(
                f"{type(self).__name__} did not converge in max_iter={self.max_iter} steps: the Newton decrement is "
                f"{info.decrement:.2g}. Raise max_iter, or alpha.",
                ConvergenceWarning,
                stacklevel=3,
            )
        self.n_iter_, self._fitted = info.n_iter, fitted
        family.write(self, objective.to_params(objective.params))
        family.write_rows(self, objective)
        return self

    def _outputs(self, X):
        """(m, q) of rows as the caller has them, in blocks within ``working_memory``."""
        check_is_fitted(self)
        rows = NetworkRows(self.network_, self._features(X))
        return rows.offsets + rows.dot(self.coef_[:, None])[:, :, 0]

    def _rows(self):
        return {"accept_sparse": "csr", "dtype": [np.float64, np.float32]}

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _check_parameters(self):
        """Refuse parameters that cannot be used."""
        hidden_sizes(self.hidden_layer_sizes)
        check_choice("activation", self.activation, tuple(ACTIVATIONS))
        check_strength(self.alpha, "linearised")
        for name, zero in (("sigma_w", False), ("sigma_b", True)):
            value = getattr(self, name)
            number = isinstance(value, Real) and not isinstance(value, (bool, np.bool_)) and np.isfinite(value)
            if not number or value < 0 or (value == 0 and not zero):
                raise ValueError(f"{name} must be a number {'>= 0' if zero else '> 0'}, got {value!r}.")
        check_choice("penalty_scale", self.penalty_scale, PENALTY_SCALES)
        check_choice("representation", self.representation, REPRESENTATIONS)
        if self.penalty_scale == "mean" and self.representation == "primal":
            raise ValueError(
                "penalty_scale='mean' and representation='primal' do not go together: a penalty that moves with the "
                "rows is known in the dual alone. Use representation='dual' or 'auto'."
            )
        check_tolerance("tol", self.tol)
        check_count("max_iter", self.max_iter)
        check_device(self.device)


class LinearisedClassifier(ByOutputsMixin, ClassifierMixin, _LinearisedNetwork):
    r"""A network's expansion to first order about its initial weights, as a convex classifier.

    The outputs are ``f(x) = f0(x) + J(x) theta``: f0 those of a fully connected network at its initial weights, J its
    derivative by all weights and biases there, and theta the way from them. Minimises
    ``sum_i s_i loss(y_i, f(x_i)) + alpha/2 |theta|**2``, s the sample weights times the class weights. One output for
    two classes, with more one for each.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int, default=(100,)
        Units of the hidden layers, the one next to the inputs first.
    activation : {"relu", "tanh", "logistic", "identity"}, default="relu"
        Of the hidden layers.
    alpha : float, default=1.0
        Strength of the penalty on the way from the initial weights, > 0. It is weighed against the sum of the losses,
        so that twice the rows halve its share, whatever ``penalty_scale``. A large one leaves the outputs near those at
        the initial weights, which are noise where these are random.
    loss : {"log_loss", "squared_error"}, default="log_loss"
        "squared_error": half the squared distance from targets of +1 and -1, without probabilities, as RidgeClassifier.
    init : MLPClassifier, MLPRegressor, (coefs, intercepts) or None, default=None
        The initial weights. None: standard normal ones, in the parametrisation of the neural tangent kernel:
        ``z = sigma_w / sqrt(n_in) h W + sigma_b b``. A fitted network of scikit-learn: its own weights, sizes and
        activation, so that what is fitted is the step from them. Lists of arrays, as the attributes ``coefs_`` and
        ``intercepts_`` of such a network are: with the activation above. The weights are copied; a clone keeps them.
    sigma_w : float, default=sqrt(2)
        Of random initial weights, > 0: with relu, sqrt(2) keeps the size of what passes through.
    sigma_b : float, default=0.1
        Of random initial biases, >= 0; with 0 biases are no part of the model.
    class_weight : dict, "balanced" or None, default=None
        Factors of the rows' weights by class. "balanced" counts each class by the weights of its rows.
    penalty_scale : {"sum", "mean"}, default="sum"
        What happens to alpha when rows leave the model. "sum": it stays, as in scikit-learn's estimators. "mean": it
        shrinks with the retained share of the weights, as where the mean of the losses is penalised. ``fit`` is the
        same with both.
    representation : {"auto", "primal", "dual"}, default="auto"
        Whether theta itself is sought, of p weights and biases, or a coefficient for each row and output: the same
        model. "auto": the fewer unknowns. "mean" needs the dual.
    tol : float, default=1e-12
        Converged when the Newton decrement is at most ``tol`` times that of the longest step, or is rounding.
    max_iter : int, default=100
        Newton steps at most.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Where the dual's kernel matrix lies and is worked with.
    random_state : int, RandomState instance or None, default=None
        Of the initial weights. An int draws the same ones in every fit to as many features; None draws others, while
        ``unlearn``, ``update`` and ``extend`` keep those that the model has.

    Attributes
    ----------
    network_ : networks.Network
        At the initial weights.
    coef_ : ndarray of shape (p,)
        theta: of each layer's weights, then of each layer's biases.
    dual_coef_ : ndarray of shape (n_samples, n_outputs)
        Fitted in the dual: a, with ``theta = J'a``.
    representation_ : {"primal", "dual"}
        What it was fitted in.
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
    It answers all questions of :class:`~sklearn_influence.InfluenceEstimator` itself, and works inside one.

    Cost: primal, J'WJ of (p, p) at each step, and its factor. Dual, the tangent kernel (n q, n q) layer by layer, never
    J itself, and products with it; see :class:`~sklearn_influence.KernelLogisticRegression`. A prediction costs two
    passes through the network.

    Source: "Extending Kernel Trick to Influence Functions" (Sun et al.), section 4: linearised networks.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_influence import LinearisedClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> X, y = X[:600] / 16, y[:600]
    >>> model = LinearisedClassifier((256,), alpha=0.03, random_state=0).fit(X[:150], y[:150])
    >>> model.representation_, model.coef_.shape, model.dual_coef_.shape
    ('dual', (19210,), (150, 10))
    >>> bool(model.score(X[150:], y[150:]) > 0.8)
    True
    >>> model.unlearn([3, 14, 15]).certificate_.valid
    True
    """

    def __init__(
        self,
        hidden_layer_sizes=(100,),
        activation="relu",
        *,
        alpha=1.0,
        loss="log_loss",
        init=None,
        sigma_w=2**0.5,
        sigma_b=0.1,
        class_weight=None,
        penalty_scale="sum",
        representation="auto",
        tol=1e-12,
        max_iter=100,
        device="auto",
        random_state=None,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.alpha = alpha
        self.loss = loss
        self.init = init
        self.sigma_w = sigma_w
        self.sigma_b = sigma_b
        self.class_weight = class_weight
        self.penalty_scale = penalty_scale
        self.representation = representation
        self.tol = tol
        self.max_iter = max_iter
        self.device = device
        self.random_state = random_state

    def fit(self, X, y, sample_weight=None):
        """Find the optimum.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            Labels of at least two classes.
        sample_weight : array-like of shape (n_samples,), or float, default=None
            At least 0.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For values that cannot be used, fewer than two classes, one without weight, initial weights of other sizes
            than the rows and classes need, and a kernel matrix that does not fit in memory.
        """
        self._check_parameters()
        check_choice("loss", self.loss, LOSSES)
        check_class_weight(self.class_weight)
        X, y = validate_data(self, X, y, **self._rows())
        _, sample_weight, weight = self._read_labels(y, sample_weight)
        n_outputs = 1 if len(self.classes_) == 2 else len(self.classes_)
        return self._fit(X, y, n_outputs, sample_weight, weight)

    def decision_function(self, X):
        """Raw outputs.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (m, n_features)

        Returns
        -------
        ndarray of shape (m,), or (m, n_classes) with more than two classes
            Log odds of the second class; with more classes, log probabilities less one number a row. With squared
            loss: nearer to +1 for the class, to -1 for another.
        """
        outputs = self._outputs(X)
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs

    @available_if(lambda self: _has_probabilities(self, "predict_proba"))
    def predict_proba(self, X):
        """Probabilities of the classes, (m, n_classes), in the order of ``classes_``; with ``loss="log_loss"``."""
        return super().predict_proba(X)

    @available_if(lambda self: _has_probabilities(self, "predict_log_proba"))
    def predict_log_proba(self, X):
        """Logarithms of the probabilities, (m, n_classes), right where those are next to nothing."""
        return super().predict_log_proba(X)


class LinearisedRegressor(RegressorMixin, _LinearisedNetwork):
    r"""A network's expansion to first order about its initial weights, as ridge regression.

    The outputs are ``f(x) = f0(x) + J(x) theta``: f0 those of a fully connected network at its initial weights, J its
    derivative by all weights and biases there, and theta the way from them. Minimises
    ``1/2 sum_i s_i |y_i - f(x_i)|**2 + alpha/2 |theta|**2``, one output for each target. Biases are penalised
    too: centre and scale y.

    Parameters
    ----------
    hidden_layer_sizes, activation, alpha, init, sigma_w, sigma_b, penalty_scale, representation, tol, max_iter
        As of :class:`LinearisedClassifier`.
    device, random_state
        As of :class:`LinearisedClassifier`.

    Attributes
    ----------
    network_ : networks.Network
        At the initial weights.
    coef_ : ndarray of shape (p,)
        theta: of each layer's weights, then of each layer's biases.
    dual_coef_ : ndarray of shape (n_samples, n_targets)
        Fitted in the dual: a, with ``theta = J'a``.
    representation_ : {"primal", "dual"}
        What it was fitted in.
    n_iter_ : int
        Newton steps: 1.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Notes
    -----
    It answers all questions of :class:`~sklearn_influence.InfluenceEstimator` itself, and works inside one. Newton's
    step is exact for squared loss: influences and unlearning are those of a refit.

    Source: "Extending Kernel Trick to Influence Functions" (Sun et al.), section 4: linearised networks.

    Examples
    --------
    What would a trained network's best step to first order be, and which rows does it hang on?

    >>> import numpy as np
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.neural_network import MLPRegressor
    >>> from sklearn.preprocessing import scale
    >>> from sklearn_influence import LinearisedRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> X, y = scale(X), scale(y)
    >>> sizes = dict(hidden_layer_sizes=(8,), activation="tanh", random_state=0)
    >>> network = MLPRegressor(alpha=1.0, solver="lbfgs", max_iter=2000, **sizes).fit(X, y)
    >>> model = LinearisedRegressor(init=network, alpha=10.0).fit(X, y)
    >>> model.coef_.shape, model.influence_on_output(X[:3], indices=[5, 7]).shape
    ((97,), (3, 2))
    """

    def __init__(
        self,
        hidden_layer_sizes=(100,),
        activation="relu",
        *,
        alpha=1.0,
        init=None,
        sigma_w=2**0.5,
        sigma_b=0.1,
        penalty_scale="sum",
        representation="auto",
        tol=1e-12,
        max_iter=100,
        device="auto",
        random_state=None,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.alpha = alpha
        self.init = init
        self.sigma_w = sigma_w
        self.sigma_b = sigma_b
        self.penalty_scale = penalty_scale
        self.representation = representation
        self.tol = tol
        self.max_iter = max_iter
        self.device = device
        self.random_state = random_state

    def fit(self, X, y, sample_weight=None):
        """Find the optimum.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
        sample_weight : array-like of shape (n_samples,), or float, default=None
            At least 0.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For values that cannot be used, initial weights of other sizes than the rows and targets need, and a kernel
            matrix that does not fit in memory.
        """
        self._check_parameters()
        X, y = validate_data(self, X, y, multi_output=True, y_numeric=True, **self._rows())
        weight = check_weights(sample_weight, X.shape[0])
        return self._fit(X, y, 1 if y.ndim == 1 else y.shape[1], weight, weight)

    def predict(self, X):
        """Outputs of rows X (m, n_features): (m,), or (m, n_targets) of several targets."""
        outputs = self._outputs(X)
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _has_probabilities(model, name):
    if model.loss != "log_loss":
        raise AttributeError(f"{name} needs loss='log_loss'; {type(model).__name__}(loss={model.loss!r}) has none.")
    return True


register_family((LinearisedClassifier, LinearisedRegressor), LinearisedFamily())
