"""What of a fitted multilayer perceptron is read, and what is refused."""

import networks_oracle as oracle
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor

from sklearn_influence import InfluenceEstimator
from sklearn_influence.families import find_family
from sklearn_influence.families.network import penalty_strength

PROBLEMS = oracle.problems()


def read(name, blocks=None, weight=None, **changed):
    estimator, X, y = PROBLEMS[name]
    model = oracle.fitted(clone(estimator).set_params(**changed), X, y, weight)
    family = find_family(model).with_blocks(model, blocks)
    return model, family, family.read(model, X, y, np.ones(len(X)) if weight is None else weight)


@pytest.mark.parametrize("activation", ["tanh", "relu", "logistic", "identity"])
@pytest.mark.parametrize("name", sorted(PROBLEMS))
def test_the_gradient_is_scikit_learns(name, activation):
    weight = np.random.RandomState(0).uniform(0.5, 2.0, len(PROBLEMS[name][1]))
    model, _, objective = read(name, weight=weight, activation=activation, max_iter=3, hidden_layer_sizes=(3, 2))
    expected = oracle.gradient(model, *PROBLEMS[name][1:], weight)
    assert np.abs(expected).max() > 1e-3  # not yet a minimum
    np.testing.assert_allclose(objective.gradient(), expected, atol=1e-10)
    np.testing.assert_array_equal(objective.params, oracle.params_of(model))


def test_adam_has_the_penalty_once_a_batch():
    """The mean over an epoch's batches of the gradients that adam steps along, in units of the rows' mean."""
    estimator, X, y = PROBLEMS["regression"]
    model = oracle.fitted(clone(estimator).set_params(solver="adam", batch_size=20, max_iter=2), X, y)
    batches = [slice(start, start + 20) for start in range(0, 60, 20)]
    steps = [oracle.gradient(model, X[part], y[part]) / 20 for part in batches]
    objective = find_family(model).read(model, X, y, np.ones(60))
    np.testing.assert_allclose(objective.gradient() / 60, np.mean(steps, axis=0), atol=1e-12)
    for size, n, expected in (("auto", 60, 3.0), ("auto", 401, 9.0), (50, 401, 27.0), (1000, 60, 3.0)):
        assert penalty_strength(model.set_params(batch_size=size, alpha=3.0), n) == expected


def test_blocks_are_layers():
    model, family, every = read("multinomial", hidden_layer_sizes=(3, 2))
    for blocks, layers in (("last", (2,)), ([0, 1, 2], (0, 1, 2)), ([2, 0], (0, 2)), (np.array([1]), (1,))):
        _, chosen, objective = read("multinomial", blocks, hidden_layer_sizes=(3, 2))
        assert objective.network.trained == layers
        parts = [model.coefs_[layer].ravel() for layer in layers] + [model.intercepts_[layer] for layer in layers]
        np.testing.assert_array_equal(objective.params, np.concatenate(parts))
        names = chosen.param_names(model, objective, ["a", "b", "c", "d"], None)
        assert len(names) == len(set(names)) == objective.n_params
        assert set(names) <= set(family.param_names(model, every, ["a", "b", "c", "d"], None))
    assert names[0] == "unit1_0->unit2_0" and every.n_params == 4 * 3 + 3 * 2 + 2 * 3 + 3 + 2 + 3
    assert family.param_names(model, every, list("abcd"), None)[-1] == "intercept->virginica"


@pytest.mark.parametrize("blocks", ["first", 1, [], [3], [-1], [0, 0], [0.0], [True], ["last"]])
def test_blocks_that_cannot_be(blocks):
    estimator, X, y = PROBLEMS["binary"]
    with pytest.raises(ValueError, match="blocks must be"):
        InfluenceEstimator(estimator, blocks=blocks).fit(X, y)


def test_blocks_of_models_without_layers_are_refused():
    with pytest.raises(ValueError, match="Ridge has none"):
        InfluenceEstimator(Ridge(), blocks="last").fit(*oracle.regression())


def test_parameters_are_written_back():
    model, family, objective = read("binary", [1])
    before = [one.copy() for one in (*model.coefs_, *model.intercepts_)]
    family.write(model, objective.params + 1.0)
    after = [*model.coefs_, *model.intercepts_]
    moved = [float(np.abs(one - old - 1.0).max()) < 1e-12 for one, old in zip(after, before, strict=True)]
    assert moved == [False, True, False, True]
    np.testing.assert_array_equal(after[0], before[0])


def test_what_cannot_be_read_is_refused_by_name():
    X, y = oracle.regression()
    labels = np.stack([y > 0, y < 1], axis=1).astype(int)
    for estimator, target, text in (
        (MLPClassifier(early_stopping=True), y > 0, "early_stopping"),
        (MLPRegressor(loss="poisson"), np.abs(y), "poisson"),
        (MLPClassifier(max_iter=2), labels, "multilabel"),
        (MLPClassifier(max_iter=2), 0 * y > 1, "at least 2 classes"),
    ):
        with pytest.raises(ValueError, match=text):
            InfluenceEstimator(estimator).fit(X, target)


def test_what_cannot_be_asked_is_refused_by_name():
    estimator, X, y = PROBLEMS["binary"]
    model = InfluenceEstimator(estimator).fit(X, y)
    for ask in (
        lambda: model.unlearn([0]),
        lambda: model.update([0], y_new=y[:1]),
        lambda: model.extend(X[:1], y[:1]),
    ):
        with pytest.raises(ValueError, match=r"another network.*LinearisedClassifier"):
            ask()
    with pytest.raises(ValueError, match="second_order"):
        model.set_params(method="second_order").influence_on_params([0])
    for solver in ("stochastic", "outer_product", "diagonal"):
        with pytest.raises(ValueError, match="not available for networks"):
            InfluenceEstimator(estimator, method="first_order", solver=solver).fit(X, y)
    with pytest.raises(ValueError, match="alpha above 0"):
        free = clone(estimator).set_params(alpha=0.0)
        InfluenceEstimator(free, representation="dual").fit(X, y).influence_on_params([0])
