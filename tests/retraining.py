"""The oracle: exact retraining by dense Newton iterations, independent of the package.

Nothing here imports ``sklearn_influence``. Every function rebuilds, from an *unfitted* scikit-learn
estimator and the data, the optimum that the estimator's own refit would reach with an infinitely tight
tolerance. Plain matrices, columns of ones and refactorisation at will: right first, fast second.

How the limit of float64 is reached: the columns are centred internally (so means of 1e4 cost no
digits), steps come from float64 factorisations, but the gradient that decides when to stop is
accumulated in ``np.longdouble`` and so is the iterate. That is iterative refinement on a nonlinear
system: the answer is good to the last digit of float64, or a few more, for as long as the condition
number stays below about 1e15. (Where longdouble is only float64, the last digits are lost.)

Parameters are flat, ``coef_.ravel()`` then ``intercept_.ravel()``; without an intercept only the
coefficients. Objective: ``sum_i s_i loss_i + 1/2 theta' P theta``.
"""

from dataclasses import dataclass

import numpy as np
from scipy import linalg
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV, RidgeClassifier, RidgeClassifierCV

LONG = np.longdouble
RIDGE_CLASSIFIERS = (RidgeClassifier, RidgeClassifierCV)


# ---------------------------------------------------------------------------------------------------
# What an estimator minimises
# ---------------------------------------------------------------------------------------------------
def effective_weights(estimator, y, sample_weight=None, keep=None):
    """Weights s of all rows: 0 for rows not kept, class weights counted on the kept ones."""
    n = len(y)
    s = np.ones(n) if sample_weight is None else np.array(sample_weight, dtype=float)
    if keep is not None:
        s = np.where(keep, s, 0.0)
    class_weight = getattr(estimator, "class_weight", None)
    if class_weight is None:
        return s
    if isinstance(class_weight, str):  # "balanced"
        labels, codes = np.unique(y, return_inverse=True)
        kept = np.ones(n) if keep is None else np.asarray(keep, dtype=float)
        counts = np.bincount(codes, weights=kept if isinstance(estimator, RIDGE_CLASSIFIERS) else s)
        return s * (counts.sum() / (len(labels) * counts))[codes]
    return s * np.array([class_weight.get(label, 1.0) for label in y])


def penalties(estimator):
    """Coefficient and intercept penalties r; Ridge's coefficient penalty may be one per target."""
    if isinstance(estimator, LogisticRegression):
        C = np.ravel(estimator.C_ if isinstance(estimator, LogisticRegressionCV) else estimator.C)[0]
        free = np.isinf(C) or getattr(estimator, "penalty", None) is None
        r = 0.0 if free else 1.0 / C
        if estimator.solver == "liblinear":
            return r, r / estimator.intercept_scaling**2
        return r, 0.0
    if hasattr(estimator, "alphas"):  # RidgeCV keeps the alpha that its search chose
        return estimator.alpha_, 0.0
    return getattr(estimator, "alpha", 0.0), 0.0


def output_shape(estimator, y):
    """Number of free outputs q, one column of parameters each."""
    if hasattr(estimator, "class_weight"):
        n_classes = len(np.unique(y))
        return 1 if n_classes == 2 else n_classes
    return 1 if np.ndim(y) == 1 else np.shape(y)[1]


# ---------------------------------------------------------------------------------------------------
# Public helpers of the tests
# ---------------------------------------------------------------------------------------------------
def retrain(estimator, X, y, sample_weight=None, keep=None, start=None, extended=False):
    """Parameters of the estimator refitted on the rows where `keep` is True.

    Parameters
    ----------
    estimator : of any family; a cross-validated one is fitted, for the alpha_ or C_ it chose
    start : flat parameters to start the Newton iterations from, or None for zeros
    extended : keep the extra digits of longdouble in the answer

    Returns
    -------
    params : ndarray of shape (n_params,)
    """
    X, y = np.asarray(X), np.asarray(y)
    s = effective_weights(estimator, y, sample_weight, keep)
    if isinstance(estimator, LogisticRegression):
        theta = logistic_problem(estimator, X, y, s).minimise(start)
    else:
        theta = _least_squares(estimator, X, y, s)
    return theta if extended else theta.astype(float)


def loo_params(estimator, X, y, sample_weight=None, rows=None, extended=False):
    """Retrained parameters without each of `rows` in turn, shape (k, n_params)."""
    n = len(y)
    start = None
    if isinstance(estimator, LogisticRegression):
        start = retrain(estimator, X, y, sample_weight, extended=True)
    without = []
    for row in range(n) if rows is None else rows:
        keep = np.ones(n, dtype=bool)
        keep[row] = False
        without.append(retrain(estimator, X, y, sample_weight, keep, start, extended))
    return np.array(without)


def outputs(params, X, n_outputs):
    """Raw outputs of flat parameters: shape (m,) for one output, else (m, n_outputs)."""
    params, X = np.asarray(params), np.asarray(X)
    n_coef = n_outputs * X.shape[1]
    raw = X @ params[:n_coef].reshape(n_outputs, -1).T
    if len(params) > n_coef:
        raw = raw + params[n_coef:]
    return raw[:, 0] if n_outputs == 1 else raw


def losses(y, raw, kind):
    """Loss of each row, shape (m,): kind "log" (y sorted into class codes) or "squared" (halved)."""
    y, raw = np.asarray(y), np.asarray(raw)
    if kind == "squared":
        errors = (y - raw) ** 2 / 2
        return errors if errors.ndim == 1 else errors.sum(axis=1)
    codes = np.unique(y, return_inverse=True)[1]
    if raw.ndim == 1:
        return np.logaddexp(0, np.where(codes == 1, -raw, raw))
    top = raw.max(axis=1)
    return np.log(np.exp(raw - top[:, None]).sum(axis=1)) + top - raw[np.arange(len(codes)), codes]


def gauge_free(change, n_outputs, n_features, penalised=True):
    """A change of flat softmax parameters without its shift common to all classes.

    The shift of a free intercept (and, unpenalised, of every coefficient) changes no probability, so
    which one a solver stops at is arbitrary. Works on rows too, and leaves one output alone.
    """
    change = np.array(change)
    if n_outputs == 1:
        return change
    n_coef = n_outputs * n_features
    if not penalised:
        coef = change[..., :n_coef].reshape(*change.shape[:-1], n_outputs, n_features)
        coef = coef - coef.mean(axis=-2, keepdims=True)
        change[..., :n_coef] = coef.reshape(*change.shape[:-1], n_coef)
    if change.shape[-1] > n_coef:
        intercept = change[..., n_coef:]
        change[..., n_coef:] = intercept - intercept.mean(axis=-1, keepdims=True)
    return change


def flat_params(fitted):
    """Flat parameters of a fitted scikit-learn estimator, without an intercept that it has not."""
    coef = np.ravel(fitted.coef_)
    return np.append(coef, np.ravel(fitted.intercept_)) if fitted.fit_intercept else coef


def one_step(estimator, X, y, sample_weight, keep, start):
    """Change by one dense Newton step on the kept rows from `start`: the definition of "newton" influence.

    Give `start` with its extended digits where the change is small.
    """
    s = effective_weights(estimator, y, sample_weight, keep)
    problem = logistic_problem(estimator, X, y, s)
    theta = problem.inward(start)
    moved = theta - problem.solve(problem.hessian(theta), problem.gradient(theta))
    return (problem.outward(moved) - problem.outward(theta)).astype(float)


# ---------------------------------------------------------------------------------------------------
# Squared loss
# ---------------------------------------------------------------------------------------------------
def _least_squares(estimator, X, y, s):
    """Weighted ridge with a free intercept; minimum norm in w, after centring, where rank falls."""
    q = output_shape(estimator, y)
    used = s > 0
    Y = plus_minus(y, q) if isinstance(estimator, RIDGE_CLASSIFIERS) else y.reshape(-1, q)
    X, Y, s = X[used].astype(LONG), Y[used].astype(LONG), s[used].astype(LONG)
    x_mean, y_mean = np.zeros(X.shape[1], LONG), np.zeros(q, LONG)
    if estimator.fit_intercept:
        x_mean, y_mean = s @ X / s.sum(), s @ Y / s.sum()
    root = np.sqrt(s)[:, None]
    A, B = root * (X - x_mean), root * (Y - y_mean)
    alphas = np.broadcast_to(np.asarray(penalties(estimator)[0], dtype=LONG), q)
    coef = np.array([_refined_lstsq(A, B[:, j], alphas[j]) for j in range(q)])
    return np.append(coef.ravel(), y_mean - coef @ x_mean) if estimator.fit_intercept else coef.ravel()


def plus_minus(y, n_outputs):
    """Labels as a ridge classifier's targets: +1 for the own class (the last of two), -1 for others, (n, n_outputs)."""
    labels = np.unique(y)
    return np.where(np.reshape(y, (-1, 1)) == labels[len(labels) - n_outputs :], 1.0, -1.0)


def _refined_lstsq(A, b, alpha):
    """Minimum-norm least squares by SVD, three times refined with residuals in longdouble."""
    n_features = A.shape[1]
    if alpha > 0:
        A = np.vstack([A, np.sqrt(alpha) * np.eye(n_features, dtype=LONG)])
        b = np.append(b, np.zeros(n_features, LONG))
    u, d, vt = linalg.svd(A.astype(float), full_matrices=False)
    rank = np.sum(d > d[0] * max(A.shape) * np.finfo(float).eps)
    u, d, vt = u[:, :rank], d[:rank], vt[:rank]
    w = np.zeros(n_features, LONG)
    for _ in range(4):
        # Normal-equation residual: it converges on ill-conditioned, inconsistent systems as well.
        gradient = A.T @ (b - A @ w)
        w = w + vt.T @ ((vt @ gradient.astype(float)) / d**2)
    return w


# ---------------------------------------------------------------------------------------------------
# Log loss
# ---------------------------------------------------------------------------------------------------
def logistic_problem(estimator, X, y, s):
    """The weighted, penalised log loss of a LogisticRegression, in centred coordinates."""
    used = s > 0
    labels, codes = np.unique(y, return_inverse=True)
    q = output_shape(estimator, y)
    targets = np.eye(len(labels))[codes[used]]
    X, s = X[used].astype(LONG), s[used].astype(LONG)
    r, r_intercept = penalties(estimator)
    p = X.shape[1]
    P = r * np.eye(p, dtype=LONG)
    mean = None
    if estimator.fit_intercept:
        # Original intercept = inner intercept - mean'w, so a penalised one becomes a full matrix.
        mean = s @ X / s.sum()
        X = np.column_stack([X - mean, np.ones(len(X), LONG)])
        back = np.append(-mean, LONG(1))
        P = np.pad(P, (0, 1)) + r_intercept * np.outer(back, back)
    return LogisticProblem(X, targets[:, -q:], s, P, mean)


@dataclass(frozen=True)
class LogisticProblem:
    """Design with a column of ones (n, d), targets (n, q), weights (n,), penalty (d, d), column means.

    An iterate is a (q, d) longdouble matrix, one row per output.
    """

    X: np.ndarray
    targets: np.ndarray
    s: np.ndarray
    P: np.ndarray
    mean: np.ndarray | None

    def inward(self, params):
        """Flat parameters of the user's coordinates -> iterate."""
        q, d = self.targets.shape[1], self.X.shape[1]
        if params is None:
            return np.zeros((q, d), LONG)
        params = np.asarray(params, LONG)
        if self.mean is None:
            return params.reshape(q, d)
        coef, intercept = params[: q * (d - 1)].reshape(q, d - 1), params[q * (d - 1) :]
        return np.column_stack([coef, intercept + coef @ self.mean])

    def outward(self, theta):
        """Iterate -> flat parameters of the user's coordinates."""
        if self.mean is None:
            return theta.ravel()
        coef = theta[:, :-1]
        return np.append(coef.ravel(), theta[:, -1] - coef @ self.mean)

    def probabilities(self, theta, dtype=LONG):
        raw = self.X.astype(dtype) @ theta.astype(dtype).T
        if raw.shape[1] == 1:
            small = np.exp(-np.abs(raw))
            return np.where(raw >= 0, 1, small) / (1 + small)
        raw = np.exp(raw - raw.max(axis=1, keepdims=True))
        return raw / raw.sum(axis=1, keepdims=True)

    def value(self, theta):
        raw = self.X @ theta.T
        if raw.shape[1] == 1:
            rows = np.logaddexp(LONG(0), np.where(self.targets == 1, -raw, raw))[:, 0]
        else:
            top = raw.max(axis=1)
            rows = np.log(np.exp(raw - top[:, None]).sum(axis=1)) + top - (raw * self.targets).sum(axis=1)
        return self.s @ rows + np.sum((theta @ self.P) * theta) / 2

    def gradient(self, theta):
        residual = self.s[:, None] * (self.probabilities(theta) - self.targets)
        return residual.T @ self.X + theta @ self.P

    def hessian(self, theta):
        """Dense (q d, q d) float64 Hessian, output by output, softmax's gauge included."""
        X, s, prob = self.X.astype(float), self.s.astype(float), self.probabilities(theta, float)
        q, d = self.targets.shape[1], X.shape[1]
        H = np.zeros((q, d, q, d))
        for j in range(q):
            for k in range(j + 1):
                own = prob[:, j] if j == k else 0.0
                block = X.T @ ((s * (own - prob[:, j] * prob[:, k]))[:, None] * X)
                H[j, :, k] = block
                H[k, :, j] = block.T
            H[j, :, j] += self.P.astype(float)
        return H.reshape(q * d, q * d)

    def solve(self, H, gradient):
        return self.factor(H)(gradient)

    def factor(self, H):
        """H^-1, the gauge removed by a rank-one term that cannot change the answer's probabilities."""
        q, d = self.targets.shape[1], self.X.shape[1]
        if q > 1:
            H = H.reshape(q, d, q, d).copy()
            for free in np.flatnonzero(np.diag(self.P) == 0):
                # The gradient is orthogonal to the common shift, so its coefficient is arbitrary.
                H[:, free, :, free] += np.trace(H[:, free, :, free]) / q**2
            H = H.reshape(q * d, q * d)
        scale = 1 / np.sqrt(np.diag(H))
        factor = linalg.cho_factor(H * scale * scale[:, None])

        def solve(gradient):
            flat = gradient.ravel().astype(float)
            return (scale * linalg.cho_solve(factor, scale * flat)).reshape(q, d)

        return solve

    def minimise(self, start=None, max_iter=200):
        """Damped Newton, then refinement until the step stops shrinking; flat parameters."""
        theta = self.inward(start)
        solve = None
        for _ in range(max_iter):
            gradient = self.gradient(theta)
            if solve is None:
                solve, last, rate = self.factor(self.hessian(theta)), np.inf, 1.0
                made_at = None
            step = solve(gradient)
            decrement = float(np.sqrt(max(np.sum(gradient * step), 0)))
            made_at = decrement if made_at is None else made_at
            if decrement > 1e-3:
                # Far away: a full Newton iteration with backtracking, and a new factor next time.
                theta, solve = self._backtrack(theta, step, decrement), None
            elif decrement <= last / 5:
                # Near: the factor serves for as long as each step is at most a fifth of the last.
                theta, last, rate = theta - step, decrement, min(rate, decrement / last or 1.0)
            elif made_at <= 1e-8 or (0 < rate < 1e-3 and decrement < 1e-9):
                return self.outward(theta)  # such a good factor stalls at nothing but rounding
            else:
                solve = None
        raise AssertionError("the oracle did not converge")

    def _backtrack(self, theta, step, decrement):
        value, size = self.value(theta), 1.0
        while size > 1e-10:
            shorter = theta - size * step
            if self.value(shorter) <= value - 1e-4 * size * decrement**2:
                return shorter
            size /= 2
        return theta - step
