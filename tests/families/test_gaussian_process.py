"""GaussianProcessRegressor: noise of every kind, units of y, and what scikit-learn reads after an edit."""

import cases
import numpy as np
import pytest
from kernel_contract import FAMILIES, GP, LINE, SMOOTH, Family, close, fitted_kernel, without
from sklearn.gaussian_process.kernels import RBF, WhiteKernel

from sklearn_influence import InfluenceEstimator

NAMES = [name for name in FAMILIES if name.startswith("gp")]
ATTRIBUTES = ("X_train_", "y_train_", "alpha_", "L_", "_y_train_mean", "_y_train_std", "log_marginal_likelihood_value_")


@pytest.mark.parametrize("name", NAMES)
def test_edited_models_hold_what_fit_would_have_left(name):
    family, gone = FAMILIES[name], [17, 3, 30]
    model, keep = family.fit().unlearn(gone), without(family, gone)
    refit = family.refit(keep)
    for attribute in ATTRIBUTES:
        ours, theirs = getattr(model.estimator_, attribute), getattr(refit, attribute)
        assert np.shape(ours) == np.shape(theirs), attribute
        close(ours, theirs, 1e-9)
    X = family.case.X_test
    for options in (dict(return_std=True), dict(return_cov=True)):
        ours, theirs = model.estimator_.predict(X, **options), refit.predict(X, **options)
        close(ours[0], theirs[0], 1e-9)
        close(ours[1], theirs[1], 1e-9)
    close(np.asarray(model.estimator_.alpha) * np.ones(len(keep)), np.asarray(refit.alpha) * np.ones(len(keep)), 1e-10)
    close(model.estimator_.log_marginal_likelihood(), refit.log_marginal_likelihood(), 1e-9)


def test_parameters_are_in_the_units_of_y():
    family = FAMILIES["gp noise"]
    model = family.fit()
    estimator = model.estimator_
    outputs = estimator.kernel_(family.case.X_test, family.case.X) @ model.params_[:-1] + model.params_[-1]
    close(outputs, estimator.predict(family.case.X_test), 1e-10)


def test_optimised_kernels_are_named_and_stay():
    family = FAMILIES["gp optimised"]
    model = family.fit()
    before = model.estimator_.kernel_.theta.copy()
    model.unlearn([4])
    np.testing.assert_array_equal(model.estimator_.kernel_.theta, before)
    close(before, fitted_kernel(family).theta, 1e-8)
    assert any("kernel_ of GaussianProcessRegressor" in text for text in model.certificate_.remembers)
    assert FAMILIES["gp"].fit().unlearn([4]).certificate_.remembers == []


def test_constant_targets_have_no_spread():
    y = np.append(np.full(43, 2.0), 5.0)
    family = Family(GP(SMOOTH, alpha=0.1, optimizer=None, normalize_y=True), cases.replace(LINE, y=y))
    model = family.fit().unlearn([43])  # what is left is constant, and scaled by 1
    refit = family.refit(without(family, [43]))
    close(model.predict(LINE.X_test), refit.predict(LINE.X_test), 1e-10)
    assert model.estimator_._y_train_std == 1.0


def test_what_is_refused():
    with pytest.raises(ValueError, match="needs alpha > 0, got 0"):
        InfluenceEstimator(GP(SMOOTH, alpha=0.0, optimizer=None)).fit(LINE.X, LINE.y)
    model = FAMILIES["gp noise"].fit()
    before = model.params_
    with pytest.raises(ValueError, match=r"extend needs the noise of the new rows.*one alpha for each row"):
        model.extend(LINE.X_test, LINE.y_test)
    np.testing.assert_array_equal(model.params_, before)
    with pytest.raises((TypeError, ValueError), match="sample_weight"):
        InfluenceEstimator(GP(SMOOTH)).fit(LINE.X, LINE.y, sample_weight=np.ones(44))


def test_white_noise_is_a_penalty_like_alpha():
    white = Family(GP(RBF(1.5) + WhiteKernel(0.4), alpha=0.1, optimizer=None), LINE).fit()
    alpha = Family(GP(RBF(1.5), alpha=0.5, optimizer=None), LINE).fit()
    close(white.influence_on_params(), alpha.influence_on_params(), 1e-10)
    each = Family(GP(RBF(1.5), alpha=np.full(44, 0.5), optimizer=None), LINE).fit()
    close(each.influence_on_params(), alpha.influence_on_params(), 1e-10)
