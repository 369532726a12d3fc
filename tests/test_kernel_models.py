"""KernelLogisticRegression against scikit-learn, its own optimality conditions and scikit-learn's checks."""

import warnings

import cases
import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_influence import InfluenceEstimator, _backend, kernel_models
from sklearn_influence.kernel_models import KernelLogisticRegression

WEIGHED = "check_class_weight_classifiers"


def _expected_failures(model):
    """What cannot hold without an intercept, or on matrices that are no kernel's; the tests below show it."""
    failures = {WEIGHED: "without an intercept the weight of a class does not reach rows far from all of its own"}
    if model.kernel == "precomputed":
        failures["check_positive_only_tag_during_fit"] = "the check subtracts the mean: the matrix is indefinite"
        failures["check_decision_proba_consistency"] = "the check passes rows in place of their kernel matrix"
    return failures


@parametrize_with_checks(
    [KernelLogisticRegression(), KernelLogisticRegression(kernel="precomputed")],
    expected_failed_checks=_expected_failures,
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_the_expected_failure_is_that_of_every_model_without_an_intercept():
    check = getattr(estimator_checks, WEIGHED)
    check("KernelLogisticRegression", KernelLogisticRegression(gamma=1e-3))  # whose kernel reaches all rows
    for model in (LogisticRegression(fit_intercept=False), KernelLogisticRegression(kernel="linear")):
        with pytest.raises(AssertionError):
            check(type(model).__name__, model)


CASES = {"binary": cases.tiny_classification, "softmax": lambda: cases.tiny_classification(n_classes=3)}


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 0.5, 1: 3.0}])
def test_a_linear_kernel_is_logistic_regression(kind, class_weight):
    case = CASES[kind]()
    weight = np.random.default_rng(0).uniform(0.5, 2, len(case.y))
    common = {"class_weight": class_weight}
    ours = KernelLogisticRegression(0.5, kernel="linear", **common).fit(case.X, case.y, weight)
    theirs = LogisticRegression(C=2.0, fit_intercept=False, solver="newton-cg", tol=1e-12, **common)
    theirs.fit(case.X, case.y, weight)
    np.testing.assert_allclose(ours.decision_function(case.X_test), theirs.decision_function(case.X_test), atol=1e-6)
    np.testing.assert_allclose(ours.predict_proba(case.X_test), theirs.predict_proba(case.X_test), atol=1e-6)
    np.testing.assert_array_equal(ours.predict(case.X_test), theirs.predict(case.X_test))
    np.testing.assert_allclose(np.exp(ours.predict_log_proba(case.X_test)), ours.predict_proba(case.X_test))
    shape = (len(case.y),) if kind == "binary" else (len(case.y), 3)
    assert ours.dual_coef_.shape == shape and ours.n_iter_ > 1


def test_every_kernel_is_at_its_optimum():
    """alpha c = s (y - p), whatever the kernel."""
    X, y = load_iris(return_X_y=True)
    X, y = X[::3], y[::3]
    scaled = RBF(0.5) * ConstantKernel(3.0)
    kernels = [("rbf", {"gamma": 0.7}), ("poly", {"degree": 2, "coef0": 0.5}), ("laplacian", {}), ("chi2", {})]
    kernels += [("cosine", {}), (scaled, {}), (scaled + WhiteKernel(5.0), {}), (_product, {"kernel_params": {"c": 2}})]
    for kernel, options in kernels:
        model = KernelLogisticRegression(0.3, kernel=kernel, **options).fit(X, y, sample_weight=2.0)
        residual = 2.0 * (np.eye(3)[y] - model.predict_proba(X)) - 0.3 * model.dual_coef_
        assert np.abs(residual).max() < 1e-7, kernel
    clean, noisy = (KernelLogisticRegression(kernel=k).fit(X, y) for k in (scaled, scaled + WhiteKernel(5.0)))
    np.testing.assert_allclose(noisy.dual_coef_, clean.dual_coef_, atol=1e-12)


def _product(x, z, c=1):
    return c * (x @ z)


def test_precomputed_sparse_frames_and_labels():
    case = CASES["softmax"]()
    names = np.array(["ash", "fir", "oak"])
    model = KernelLogisticRegression(gamma=0.2).fit(case.X, names[case.y])
    assert set(model.predict(case.X_test)) <= set(names) and model.classes_.tolist() == names.tolist()
    given = KernelLogisticRegression(kernel="precomputed").fit(rbf_kernel(case.X, gamma=0.2), case.y)
    np.testing.assert_allclose(given.dual_coef_, model.dual_coef_, atol=1e-10)
    K_test = rbf_kernel(case.X_test, case.X, gamma=0.2)
    np.testing.assert_allclose(given.decision_function(K_test), model.decision_function(case.X_test), atol=1e-9)
    thin = KernelLogisticRegression(gamma=0.2).fit(sparse.coo_array(case.X), case.y)
    np.testing.assert_allclose(thin.dual_coef_, model.dual_coef_, atol=1e-10)
    assert sparse.issparse(thin.X_fit_)
    np.testing.assert_allclose(
        thin.decision_function(sparse.csr_array(case.X_test)), model.decision_function(case.X_test), atol=1e-9
    )
    single = KernelLogisticRegression(gamma=0.2).fit(case.X.astype(np.float32), case.y)
    np.testing.assert_allclose(single.dual_coef_, model.dual_coef_, atol=1e-5)
    assert single.dual_coef_.dtype == np.float64


def test_weights_count_as_rows():
    case = CASES["binary"]()
    weight = np.arange(len(case.y)) % 3
    rows = np.repeat(np.arange(len(case.y)), weight)
    for class_weight in (None, "balanced"):
        model = KernelLogisticRegression(class_weight=class_weight)
        weighed = clone(model).fit(case.X, case.y, sample_weight=weight)
        repeated = clone(model).fit(case.X[rows], case.y[rows])
        np.testing.assert_allclose(
            weighed.decision_function(case.X_test), repeated.decision_function(case.X_test), atol=1e-9
        )
        assert not weighed.dual_coef_[weight == 0].any()
    balanced = KernelLogisticRegression(class_weight="balanced").fit(case.X, case.y)
    same = KernelLogisticRegression().fit(case.X, case.y, compute_sample_weight("balanced", case.y))
    np.testing.assert_allclose(balanced.dual_coef_, same.dual_coef_, atol=1e-10)


def test_searches_and_pipelines():
    case = CASES["softmax"]()
    pipe = make_pipeline(StandardScaler(), KernelLogisticRegression())
    search = GridSearchCV(pipe, {"kernellogisticregression__alpha": [0.1, 10.0]}, cv=2).fit(case.X, case.y)
    assert search.score(case.X_test, case.y_test) > 0.5
    K = rbf_kernel(case.X)
    GridSearchCV(KernelLogisticRegression(kernel="precomputed"), {"alpha": [0.1]}, cv=2).fit(K, case.y)
    sums, means = (KernelLogisticRegression(penalty_scale=scale).fit(case.X, case.y) for scale in ("sum", "mean"))
    np.testing.assert_array_equal(sums.dual_coef_, means.dual_coef_)  # until rows leave


def test_blocks_of_test_rows(monkeypatch):
    case = CASES["softmax"]()
    model = KernelLogisticRegression().fit(case.X, case.y)
    whole = model.decision_function(case.X_test)
    monkeypatch.setattr(kernel_models, "block_size", lambda *args: 7)
    np.testing.assert_allclose(model.decision_function(case.X_test), whole, atol=1e-13)


def test_out_of_iterations_is_said():
    case = CASES["softmax"]()
    with pytest.warns(ConvergenceWarning, match=r"max_iter=2 steps: the Newton decrement is .* Raise max_iter"):
        KernelLogisticRegression(1e-3, max_iter=2).fit(case.X, case.y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        KernelLogisticRegression(1e-3, tol=1e-16).fit(case.X, case.y)


BAD = {
    "alpha": ({"alpha": 0}, r"alpha must be a number > 0, got 0; a kernel model needs a penalty"),
    "alphas": ({"alpha": np.ones(2)}, r"alpha must be a number > 0, got array"),
    "flag": ({"alpha": True}, r"alpha must be a number > 0, got True"),
    "scale": ({"penalty_scale": "max"}, r"penalty_scale must be one of 'sum', 'mean', got 'max'"),
    "tol": ({"tol": 0}, r"tol must be a number between 0 and 1, got 0"),
    "steps": ({"max_iter": 0}, r"max_iter must be an integer >= 1, got 0"),
    "device": ({"device": "tpu"}, r"device must be one of 'auto', 'cpu', 'cuda', got 'tpu'"),
    "weights": ({"class_weight": {0: -1.0}}, r"class_weight must be finite numbers >= 0"),
    "params": ({"kernel_params": {"c": 2}}, r"kernel_params are the arguments of a callable kernel"),
    "name": ({"kernel": "rfb"}, r"'rfb'"),
    "nan": ({"kernel": lambda x, z: np.nan}, r"gave NaN or infinity"),
    "negative": ({"kernel": lambda x, z: -np.exp(-((x - z) @ (x - z)))}, r"positive semi-definite"),
    "shape": ({"kernel": "precomputed"}, r"must be a matrix of \d+ rows and columns in fit, got \(\d+, \d+\)"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_parameters_are_refused(name):
    params, words = BAD[name]
    case = CASES["binary"]()
    with pytest.raises(ValueError, match=words):
        KernelLogisticRegression(**{"alpha": 1e-3, **params}).fit(case.X, case.y)


def test_bad_rows_are_refused(monkeypatch):
    case = CASES["binary"]()
    model = KernelLogisticRegression()
    with pytest.raises(ValueError, match="at least 2 classes; got 1 class, 7"):
        model.fit(case.X, np.full(len(case.y), 7))
    with pytest.raises(ValueError, match="Every row of class 1 has weight 0"):
        model.fit(case.X, case.y, sample_weight=1.0 - case.y)
    with pytest.raises(ValueError, match="sample_weight must be >= 0"):
        model.fit(case.X, case.y, sample_weight=-np.ones(len(case.y)))
    with pytest.raises(TypeError, match="dense data is required"):
        KernelLogisticRegression(kernel=RBF()).fit(sparse.csr_array(case.X), case.y)
    with pytest.raises(ValueError, match="precomputed kernel must be symmetric"):
        KernelLogisticRegression(kernel="precomputed").fit(np.triu(rbf_kernel(case.X)), case.y)
    monkeypatch.setattr(_backend, "physical_memory", lambda: 100)
    with pytest.raises(ValueError, match=r"The kernel matrix of \d+ rows needs .* Use fewer rows"):
        model.fit(case.X, case.y)


@pytest.mark.parametrize("wrap", [lambda model: model, InfluenceEstimator], ids=["alone", "wrapped"])
def test_to_look_at_a_model_computes_nothing(wrap):
    X, y = load_iris(return_X_y=True)
    model = wrap(KernelLogisticRegression()).fit(X, y)
    assert "KernelLogisticRegression" in model._repr_html_() and "params_" in dir(model) and repr(model)
    assert not model._fitted._cache


@pytest.mark.parametrize(
    "model",
    [
        KernelLogisticRegression(kernel="precomputed"),
        InfluenceEstimator(KernelLogisticRegression(kernel="precomputed")),
        InfluenceEstimator(KernelRidge(kernel="precomputed")),
    ],
    ids=["alone", "wrapped", "ridge"],
)
def test_named_columns_of_a_precomputed_kernel_leave_with_their_rows(model):
    pandas = pytest.importorskip("pandas")
    X, y = load_iris(return_X_y=True)
    X, y = X[40:60], y[40:60]
    names = [f"row{i}" for i in range(20)]
    K = pandas.DataFrame(rbf_kernel(X), columns=names)
    model = clone(model).fit(K, y).unlearn([3, 12]).update([5], y_new=y[[5]])
    kept = np.delete(names, [3, 12])
    assert list(model.feature_names_in_) == list(kept) and model.n_features_in_ == 18
    refit = clone(model).fit(K.loc[np.delete(np.arange(20), [3, 12]), kept], np.delete(y, [3, 12]))
    np.testing.assert_allclose(model.params_, refit.params_, atol=1e-9)
    np.testing.assert_allclose(model.predict(K[kept]), refit.predict(K[kept]), atol=1e-12)


def test_a_refused_fit_leaves_no_model():
    model = KernelLogisticRegression(kernel="precomputed")
    with pytest.raises(ValueError, match="symmetric"):
        model.fit(np.array([[1.0, 2.0], [3.0, 1.0]]), [0, 1])
    assert not hasattr(model, "X_fit_")
