"""What kernel families share: names, what cannot be asked, and KernelRidge as scikit-learn has it after edits."""

import cases
import numpy as np
import pandas as pd
import pytest
from kernel_contract import FAMILIES, LINE, TARGETS, close, fitted, without
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_influence import InfluenceEstimator, _backend


def test_a_linear_kernel_is_ridge():
    """In the outputs and the losses; of the parameters w = X'c."""
    for case, alpha in ((cases.weighted(LINE), 2.0), (TARGETS, np.array([0.1, 2.0, 50.0]))):
        weight = case.sample_weight
        linear = InfluenceEstimator(Ridge(alpha, fit_intercept=False)).fit(case.X, case.y, weight)
        model = InfluenceEstimator(KernelRidge(alpha)).fit(case.X, case.y, weight)
        changed = dict(indices=[3, 17], X_new=case.X_test[:2], y_new=case.y_test[:2])
        for asked in (dict(indices=[3, 17, 8]), dict(groups=np.arange(44) % 3), changed):
            args = (case.X_test, case.y_test)
            close(model.influence_on_loss(*args, **asked), linear.influence_on_loss(*args, **asked), 1e-9)
            w = model.influence_on_params(**asked).reshape(-1, 44, linear.estimator_.coef_.size // 5)
            if "X_new" not in asked:
                w = np.einsum("knq,nd->kqd", w, case.X).reshape(len(w), -1)
                truth = linear.influence_on_params(**asked)
                close(w, truth, 1e-8)
        close(model.leverages(), linear.leverages(), 1e-9)
        close(model.self_influence(), linear.self_influence(), 1e-9)


def test_names_of_parameters_follow_the_rows():
    assert fitted("ridge rbf").param_names_[[0, 43]].tolist() == ["dual_coef[0]", "dual_coef[43]"]
    assert fitted("ridge targets").param_names_[[1, 3]].tolist() == ["dual_coef[0, 1]", "dual_coef[1, 0]"]
    names = fitted("gp normalised targets").param_names_
    assert names[-4:].tolist() == ["dual_coef[43, 2]", "offset[0]", "offset[1]", "offset[2]"]
    assert fitted("gp noise").param_names_[-1] == "offset"
    assert fitted("softmax csr").param_names_[0] == "dual_coef[0, class x]"
    model = FAMILIES["ridge rbf"].fit().unlearn([0, 2])
    assert model.param_names_[:2].tolist() == ["dual_coef[1]", "dual_coef[3]"]


REFUSED = {
    "primal": (dict(representation="primal"), "representation='primal' is not available for kernel models"),
    "stochastic": (dict(solver="stochastic", method="first_order"), "solver='stochastic' is not available.*'cg'"),
    "diagonal": (dict(solver="diagonal", method="first_order"), "solver='diagonal' is not available"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_options_that_kernel_models_have_not(what):
    options, words = REFUSED[what]
    with pytest.raises(ValueError, match=words):
        FAMILIES["ridge rbf"].fit(**options).influence_on_params([1])


@pytest.mark.parametrize("name", ["ridge rbf", "gp", "binary itself"])
def test_questions_that_kernel_models_do_not_answer(name):
    family, model = FAMILIES[name], fitted(name)
    with pytest.raises(ValueError, match=r"kernel says its values.*influence_on_loss\(X_new=...\)"):
        model.input_sensitivity(family.test_rows(), family.case.y_test)
    with pytest.raises(ValueError, match="hides nothing: there is no release of it by epsilon and delta"):
        family.fit().unlearn([1], epsilon=1.0, delta=1e-5)
    with pytest.raises(ValueError, match="refit_transformers=True needs transformers"):
        family.fit().unlearn([1], refit_transformers=True)


def test_bad_values_are_refused_before_any_work(monkeypatch):
    X, y = TARGETS.X, TARGETS.y
    with pytest.raises(ValueError, match="alpha must be above 0 for every target"):
        InfluenceEstimator(KernelRidge(np.array([1.0, 0.0, 1.0]), kernel="rbf")).fit(X, y)
    model = fitted("ridge targets")
    with pytest.raises(ValueError, match="y has 1 targets, but the model was fitted on 3"):
        model.influence_on_loss(X, y[:, 0])
    with pytest.raises(ValueError, match=r"B must have shape \(132,\) or \(132, k\), got \(131,\)"):
        model.curvature_solve(np.ones(131))
    fresh = InfluenceEstimator(KernelRidge(kernel="rbf")).fit(X, y)
    monkeypatch.setattr(_backend, "physical_memory", lambda: 10_000)
    with pytest.raises(ValueError, match="The kernel matrix of 44 rows"):
        fresh.influence_on_params([1])


def test_a_white_kernel_adds_nothing_to_kernel_ridge():
    noisy, clean = (
        InfluenceEstimator(KernelRidge(0.3, kernel=kernel)).fit(LINE.X, LINE.y)
        for kernel in (RBF(1.5) + WhiteKernel(5.0), RBF(1.5))
    )
    close(noisy.influence_on_loss(LINE.X_test, LINE.y_test), clean.influence_on_loss(LINE.X_test, LINE.y_test), 1e-12)


def test_the_written_estimator_is_scikit_learns():
    """Frames in, whole pipelines, searches: the edited estimator is what fit would have left."""
    X, y = pd.DataFrame(LINE.X, columns=list("abcde")), LINE.y
    pipe = make_pipeline(StandardScaler(), KernelRidge(0.3, kernel="rbf"))
    search = GridSearchCV(pipe, {"kernelridge__alpha": [0.1, 1.0]}, cv=3)
    model = InfluenceEstimator(search).fit(X, y).unlearn([3, 8], refit_transformers=False)
    assert any("best_params_" in text for text in model.certificate_.remembers)
    inner = model.estimator_.best_estimator_
    keep = without(FAMILIES["ridge rbf"], [3, 8])
    rows = inner[0].transform(X)[keep]
    refit = KernelRidge(inner[-1].alpha, kernel="rbf").fit(rows, y[keep])
    close(inner[-1].dual_coef_, refit.dual_coef_, 1e-10)
    np.testing.assert_array_equal(inner[-1].X_fit_, refit.X_fit_)
    whole = InfluenceEstimator(pipe).fit(X, y).unlearn([3, 8], refit_transformers=True)
    close(whole.predict(X), pipe.fit(X.iloc[keep], y[keep]).predict(X), 1e-10)
