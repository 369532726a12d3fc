"""The linear families on another device: the numbers of the CPU, and made there."""

import contract
import numpy as np
import pytest
import strange

from sklearn_influence.solvers import ConjugateGradient

# Every kind of estimator and curvature, in the parameters and in the span of the rows; sparse rows have no device.
FAMILIES = [name for name in contract.FAMILIES if "csr" not in name]
SOLVERS = {
    "direct": "direct",
    "cg": ConjugateGradient(tol=1e-12),
    "cg, few directions": ConjugateGradient(tol=1e-12, n_directions=2),
}


def answers(family, model):
    """What a model says: every kind of question, and an edit."""
    X, y = family.test
    groups = np.arange(len(family.case.y)) % 7
    replaced = dict(indices=contract.ROWS[:2], X_new=X[:2], y_new=y[:2])
    yield "params", model.influence_on_params()
    yield "output", model.influence_on_output(X)
    yield "loss", model.influence_on_loss(X, y)
    yield "leverages", model.leverages()
    yield "some leverages", model.leverages(contract.ROWS)
    yield "self influence", model.self_influence(contract.ROWS)
    yield "groups", model.influence_on_loss(X, y, groups=groups)
    yield "replacements", model.influence_on_output(X, **replaced)
    yield "sensitivity", model.input_sensitivity(X[:2], y[:2], contract.ROWS)
    model.unlearn(contract.ROWS)
    yield "unlearned", model.params_
    yield "valid", np.array([model.certificate_.valid, model.certificate_.converged])
    yield "outputs after", model.influence_on_output(X)


@pytest.mark.filterwarnings("ignore:The curvature is singular", "ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("name", FAMILIES)
def test_a_device_gives_the_numbers_of_the_cpu(name, solver):
    family = contract.FAMILIES[name]
    options = dict(solver=SOLVERS[solver])
    expected = dict(answers(family, family.fit(device="cpu", **options)))
    with strange.as_cuda() as made:
        model = family.fit(device="cuda", **options)
        for what, answer in answers(family, model):
            assert strange.is_numpy(answer), what
            tol = 1e-3 if "float32" in name else 1e-9
            contract.close(answer, expected[what], tol)
        assert made
