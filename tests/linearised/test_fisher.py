"""Outer products of gradients by general Jacobians: a linear model's own, and by the definition."""

import numpy as np
import pytest
from jacobians import LOSSES, WIDE, linear_pair, of_network

from sklearn_influence.solvers import Diagonal, OuterProduct
from sklearn_influence.solvers.direct import Direct


@pytest.mark.parametrize("kind", sorted(LOSSES))
def test_of_a_linear_model_it_is_the_linear_models(kind):
    linear, by_rows = (one.curvature("outer_product") for one in linear_pair(kind))
    H = by_rows.matmat(np.eye(linear.shape[0]))
    close = dict(rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(H, linear.matmat(np.eye(len(H))), **close)
    np.testing.assert_allclose(by_rows.diagonal(), np.diag(H), **close)
    positions = np.array([0, 2, len(H) - 1])
    np.testing.assert_allclose(by_rows.on_parameters(positions), linear.on_parameters(positions), **close)
    B = H @ np.random.default_rng(0).standard_normal((len(H), 2))
    for solver in (OuterProduct(damping=0.1), OuterProduct(parameters=(0, 2)), Diagonal(damping=0.1)):
        kinds = [one.truth if isinstance(solver, Diagonal) else one for one in (by_rows, linear)]
        (ours, info), (theirs, other) = (solver.factor(one)(B) for one in kinds)
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-10)
        np.testing.assert_allclose(info.residual, other.residual, rtol=1e-6)


@pytest.mark.parametrize("kind", sorted(LOSSES))
def test_by_the_rows_it_is_what_a_factor_says(kind):
    fisher = of_network(kind, sizes=WIDE, n=24, free_biases=False).curvature("outer_product")
    B = np.random.default_rng(0).standard_normal((fisher.shape[0], 3))
    H = fisher.matmat(np.eye(len(B)))
    solve = OuterProduct().factor(fisher)
    assert "Woodbury" in solve._reason
    np.testing.assert_allclose(solve(B)[0], np.linalg.solve(H, B), rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(Direct().factor(fisher)(B)[0], np.linalg.solve(H, B), rtol=1e-8, atol=1e-9)
    with pytest.raises(ValueError, match="not updated"):
        fisher.leaving(np.arange(2))
