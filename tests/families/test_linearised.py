"""Which family speaks for a linearised network, and how one is read and written."""

import copy

import numpy as np
import pytest
from linearised_contract import BINARY, TARGETS, THREE
from sklearn.base import clone

from sklearn_influence import LinearisedClassifier, LinearisedRegressor, families
from sklearn_influence.families.classes import signs
from sklearn_influence.solvers import Direct, Stochastic

SMALL = dict(hidden_layer_sizes=3, random_state=0)


def test_the_family_is_that_of_the_representation_it_has_or_will_have():
    auto = LinearisedClassifier(**SMALL)
    undecided = families.find_family(auto)
    primal, dual = (families.find_family(clone(auto).set_params(representation=way)) for way in ("primal", "dual"))
    assert len({type(family) for family in (undecided, primal, dual)}) == 3
    assert families.find_family(auto.fit(BINARY.X, BINARY.y)) is primal
    wide = LinearisedClassifier(50, random_state=0).fit(BINARY.X, BINARY.y)
    assert families.find_family(wide) is dual
    wide.set_params(representation="primal")  # for the next fit
    assert families.find_family(wide) is dual
    assert {"LinearisedClassifier", "LinearisedRegressor"} <= set(families.supported_names())
    for family in (undecided, primal, dual):
        with pytest.raises(ValueError, match="hides nothing"):
            family.check_noise()
        with pytest.raises(ValueError, match=r"solver='stochastic' is not available for .*linearised network"):
            family.check_solver(Stochastic())
        with pytest.raises(ValueError, match="class_weight must be finite numbers"):
            family.check(LinearisedClassifier(class_weight={0: np.nan}))
    with pytest.raises(ValueError, match=r"solver=Direct\(damping=0.1\) is not available for a linearised network in"):
        dual.check_solver(Direct(damping=0.1))
    primal.check_solver(Direct(damping=0.1))
    primal.check_sensitivity()
    with pytest.raises(ValueError, match=r"dual representation.*Fit it with representation='primal'"):
        dual.check_sensitivity()


@pytest.mark.parametrize("way", ["primal", "dual"])
def test_a_model_is_read_at_its_own_parameters(way):
    weight = np.linspace(0.5, 2, 44)
    for model, case in ((LinearisedClassifier(**SMALL), THREE), (LinearisedRegressor(**SMALL), TARGETS)):
        model = model.set_params(representation=way).fit(case.X, case.y, sample_weight=weight)
        family = families.find_family(model)
        objective = family.read(model, case.X, case.y, weight)
        np.testing.assert_allclose(objective.to_params(objective.params), model.coef_, rtol=1e-12)
        np.testing.assert_allclose(objective.outputs(), model._outputs(case.X), rtol=1e-10, atol=1e-12)
        assert np.linalg.norm(objective.gradient()) < 1e-8
        assert family.n_params(objective) == len(model.coef_) == model.network_.n_params
        names = family.param_names(model, objective, [f"x{i}" for i in range(case.X.shape[1])], range(44))
        assert len(names) == len(set(names)) == len(model.coef_)
        # the place of a name is that of the parameter
        layers = copy.deepcopy(model.network_).at(np.arange(len(names), dtype=float))
        assert names[int(layers.weights[0][2, 1])] == "coefs_[0][x2, 1]"
        assert names[int(layers.weights[1][1, 2])] == "coefs_[1][1, 2]"
        assert names[int(layers.biases[0][2])] == "intercepts_[0][2]"
        assert names[int(layers.biases[1][1])] == "intercepts_[1][1]"


def test_labels_become_signs():
    assert signs(np.array([1, 0]), 2).tolist() == [[1.0], [-1.0]]
    assert signs(np.array([2, 0]), 3).tolist() == [[-1.0, -1.0, 1.0], [1.0, -1.0, -1.0]]


@pytest.mark.parametrize("way", ["primal", "dual"])
def test_other_columns_are_another_start(way):
    """What a transformer that is refitted may lead to."""
    model = LinearisedClassifier(representation=way, **SMALL).fit(THREE.X, THREE.y)
    family, fresh, kept = families.find_family(model), copy.copy(model), copy.copy(model)
    family.reshape(kept, THREE.X[:30])
    assert kept.network_ is model.network_ and kept.coef_ is model.coef_
    family.reshape(fresh, THREE.X[:30, :3])
    there = clone(model).fit(THREE.X[:, :3], THREE.y)
    np.testing.assert_array_equal(fresh.network_.params, there.network_.params)
    assert fresh.coef_.shape == there.coef_.shape and not fresh.coef_.any()
    for moved in (kept, fresh):
        assert way == "primal" or (moved.dual_coef_.shape == (30, 3) and not moved.dual_coef_.any())
