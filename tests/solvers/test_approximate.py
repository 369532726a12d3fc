"""Approximate inverses against their dense definitions, alone and through the public methods."""

import copy
import pickle
from dataclasses import replace

import cases
import numpy as np
import pytest
import retraining
from contract import close
from curvatures import KINDS, dense, fisher, fisher_matrix, hessian, sides
from scipy import sparse
from sklearn.linear_model import LogisticRegression, Ridge

from sklearn_influence import InfluenceEstimator
from sklearn_influence.solvers import Diagonal, Direct, OuterProduct
from sklearn_influence.solvers import approximate as module

LINE, TARGETS = cases.tiny_regression(), cases.tiny_regression(n_targets=3)
BINARY, THREE = cases.tiny_classification(), cases.tiny_classification(n_classes=3)
WIDE = cases.tiny_classification(n_samples=24, n_features=9, n_classes=3)
TIGHT = dict(tol=1e-10, max_iter=10_000)


def relative(H, X, B):
    """``|B - H X| / |B|``, each parameter in units of the curvature's diagonal."""
    scale = 1 / np.sqrt(H.diagonal())[:, None]
    return np.linalg.norm(scale * (B - dense(H) @ X), axis=0) / np.linalg.norm(scale * B, axis=0)


# ---------------------------------------------------------------------------------------------------
# Outer products
# ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix], ids=["dense", "sparse"])
@pytest.mark.parametrize("damping", [0.0, 0.3])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n, d", [(80, 4), (9, 12)])
def test_outer_products_are_inverted(n, d, kind, intercept, damping, make):
    F = fisher(kind, n=n, d=d, intercept=intercept, penalty=0.7, make=make)
    B = np.random.default_rng(2).standard_normal((F.shape[0], 3))
    expected = fisher_matrix(F)
    expected += damping * np.diag(np.diag(expected))
    factor = OuterProduct(damping=damping).factor(F)
    X, info = factor(B)
    # Softmax's free intercepts are flat along their common shift: the smallest norm, and what is left of B.
    np.testing.assert_allclose(X, np.linalg.pinv(expected, rcond=1e-12, hermitian=True) @ B, rtol=1e-7, atol=1e-9)
    by_rows = n < F.shape[0] and (F.coupled or F.n_outputs == 1)
    assert ("Woodbury" in info.reason) == by_rows and "an approximation, which its residual judges" in info.reason
    assert info.converged and info.iterations == 1 and info.solver == OuterProduct(damping=damping)
    assert 0 < info.rcond < 1 and factor.operations > 0
    # The residual is of the true curvature, which this is not.
    gauge = F.truth.off_gauge(B)
    np.testing.assert_allclose(info.residual, relative(F.truth, X, gauge), rtol=1e-8)
    assert (info.residual > 0.05).all()


@pytest.mark.parametrize("damping", [0.0, 0.2])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("kind", ["single", "softmax"])
def test_both_ways_give_the_same(monkeypatch, kind, intercept, damping):
    F = fisher(kind, n=11, d=14, intercept=intercept, penalty=0.3)
    B = np.random.default_rng(2).standard_normal((F.shape[0], 3))
    rows = OuterProduct(damping=damping).factor(F)(B)
    monkeypatch.setattr(module, "_by_rows", lambda curvature: False)
    dense_way = OuterProduct(damping=damping).factor(F)(B)
    np.testing.assert_allclose(rows[0], dense_way[0], rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(rows[1].residual, dense_way[1].residual, rtol=1e-7)
    assert "Woodbury" in rows[1].reason and "Woodbury" not in dense_way[1].reason


def test_without_a_penalty_the_rows_are_no_way():
    F = fisher(n=9, d=12, penalty=0.0)
    B = fisher_matrix(F) @ np.random.default_rng(0).standard_normal((13, 2))
    X, info = OuterProduct().factor(F)(B)
    assert "Woodbury" not in info.reason and info.nullity == 13 - 9
    np.testing.assert_allclose(fisher_matrix(F) @ X, B, rtol=1e-7, atol=1e-8)
    # Damped, every direction has curvature.
    X, info = OuterProduct(damping=0.1).factor(F)(B)
    A = fisher_matrix(F)
    np.testing.assert_allclose(X, np.linalg.solve(A + 0.1 * np.diag(np.diag(A)), B), rtol=1e-8)
    assert "Woodbury" in info.reason and info.nullity == 0


# ---------------------------------------------------------------------------------------------------
# The diagonal
# ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix], ids=["dense", "sparse"])
@pytest.mark.parametrize("damping", [0.0, 0.5])
@pytest.mark.parametrize("kind", KINDS)
def test_the_diagonal_is_divided_by(kind, damping, make):
    H = hessian(kind, make=make)
    B = sides(H)
    X, info = Diagonal(damping=damping).factor(H)(B)
    np.testing.assert_allclose(X, B / (np.diag(dense(H))[:, None] * (1 + damping)), rtol=1e-11)
    np.testing.assert_allclose(info.residual, relative(H, X, B), rtol=1e-9)
    assert info.converged and (info.residual > 0.3).all() and "the diagonal alone" in info.reason


def test_a_column_without_curvature_stays():
    H = hessian(penalty=0.0)
    H.design.X[:, 2] = 0.0
    X, info = Diagonal().factor(H)(np.ones((5, 2)))
    assert not X[2].any() and X[[0, 1, 3, 4]].all() and np.isfinite(info.residual).all()


# ---------------------------------------------------------------------------------------------------
# Some of the parameters
# ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("damping", [0.0, 0.3])
@pytest.mark.parametrize("kind", KINDS)
def test_the_chosen_parameters_move_and_the_others_are_held(kind, damping):
    F = fisher(kind, penalty=0.4)
    H, p = F.truth, F.shape[0]
    chosen = np.array([1, 3, p - 1])
    B = np.random.default_rng(5).standard_normal((p, 2))
    A = fisher_matrix(F)
    A += damping * np.diag(np.diag(A))
    for solver, curvature, matrix in (
        (Diagonal, H, np.diag(np.diag(dense(H)) * (1 + damping))),
        (OuterProduct, F, A),
    ):
        X, info = solver(damping=damping, parameters=chosen).factor(curvature)(B)
        expected = np.zeros_like(B)
        expected[chosen] = np.linalg.solve(matrix[np.ix_(chosen, chosen)], B[chosen])
        np.testing.assert_allclose(X, expected, rtol=1e-9, atol=1e-12)
        gauge = H.off_gauge(B)
        scale = 1 / np.sqrt(H.diagonal()[chosen])[:, None]
        left = np.linalg.norm(scale * (gauge - dense(H) @ X)[chosen], axis=0)
        np.testing.assert_allclose(info.residual, left / np.linalg.norm(scale * gauge[chosen], axis=0), rtol=1e-8)


@pytest.mark.parametrize("solver", [Diagonal, OuterProduct])
def test_ways_to_name_them(solver):
    mask = np.isin(np.arange(5), [0, 3])
    same = [solver(parameters=v) for v in ([3, 0], (0, 3), np.array([0, 3], np.uint8), mask, mask.tolist())]
    assert len(set(same)) == 1 and same[0].parameters == (0, 3)
    for other in (copy.deepcopy(same[3]), pickle.loads(pickle.dumps(same[3])), replace(same[0], damping=0.0)):
        assert other == same[0]
    assert same[0] != solver() and same[0] != solver(parameters=[0]) and solver().parameters is None
    for again in (same[3], copy.deepcopy(same[3])):
        with pytest.raises(ValueError, match=r"mask .*params_, 15, got 5"):
            again.factor(fisher("softmax"))
    with pytest.raises(ValueError, match="from 0 to 4; the solver names 5"):
        solver(parameters=[5]).factor(fisher())


# ---------------------------------------------------------------------------------------------------
# Through the public methods
# ---------------------------------------------------------------------------------------------------
class Written:
    """The objective of a fitted estimator written out, and its approximate curvatures."""

    def __init__(self, estimator, case, theta):
        self.case, self.squared, self.theta = case, isinstance(estimator, Ridge), theta
        self.q = retraining.output_shape(estimator, case.y)
        self.J, self.J_test = self.jacobian(case.X), self.jacobian(case.X_test)
        d = case.X.shape[1]
        coef = estimator.alpha if self.squared else 1 / estimator.C
        self.penalty = np.append(np.repeat(np.broadcast_to(coef, self.q), d), np.zeros(self.q))
        self.s = np.ones(len(case.X)) if case.sample_weight is None else case.sample_weight
        self.u = self.slope(self.J, case.y)

    def jacobian(self, X):
        n, d = X.shape
        J = np.zeros((n, self.q, self.q * (d + 1)))
        for c in range(self.q):
            J[:, c, c * d : (c + 1) * d], J[:, c, self.q * d + c] = X, 1.0
        return J

    def slope(self, J, y):
        f = J @ self.theta
        if self.squared:
            return f - np.reshape(y, f.shape)
        if self.q == 1:
            return 1 / (1 + np.exp(-f)) - y[:, None]
        e = np.exp(f - f.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True) - np.eye(self.q)[y]

    def outer(self):
        """Each target of least squares has a noise of its own, by whose variance its squared loss is divided."""
        if not self.squared:
            g = np.einsum("nqp,nq->np", self.J, self.u)
            return (g * self.s[:, None]).T @ g + np.diag(self.penalty)
        variance = (self.s[:, None] * self.u**2).sum(axis=0) / self.s.sum()
        g = self.J * self.u[:, :, None]
        return np.einsum("nqp,nqr,q,n->pr", g, g, 1 / variance, self.s) + np.diag(self.penalty)

    def true(self):
        if self.squared:
            W = np.broadcast_to(np.eye(self.q), (len(self.J), self.q, self.q))
        elif self.q == 1:
            proba = 1 / (1 + np.exp(-(self.J @ self.theta)))
            W = (proba * (1 - proba))[:, :, None]
        else:
            p = self.slope(self.J, np.zeros(len(self.J), int)) + np.eye(self.q)[0]
            W = p[:, :, None] * np.eye(self.q) - p[:, :, None] * p[:, None, :]
        return np.einsum("n,nqp,nqr,nrt->pt", self.s, self.J, W, self.J) + np.diag(self.penalty)


CASES = {
    "ridge": (Ridge(alpha=2.0), LINE),
    "ridge weighted": (Ridge(alpha=2.0), cases.weighted(LINE)),
    "targets": (Ridge(alpha=np.array([0.1, 2.0, 50.0])), TARGETS),
    "binary": (LogisticRegression(**TIGHT), cases.weighted(BINARY)),
    "softmax": (LogisticRegression(**TIGHT), THREE),
    "wide": (LogisticRegression(C=0.2, **TIGHT), WIDE),  # fewer rows than parameters
}
SOLVERS = {
    "outer_product": lambda w: w.outer(),
    "diagonal": lambda w: np.diag(np.diag(w.true())),
    OuterProduct(damping=0.2): lambda w: w.outer() + 0.2 * np.diag(np.diag(w.outer())),
    Diagonal(damping=0.2): lambda w: 1.2 * np.diag(np.diag(w.true())),
    Direct(damping=0.2): lambda w: w.true() + 0.2 * np.diag(np.diag(w.true())),
}


@pytest.mark.parametrize("solver", SOLVERS, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_influences_are_products_with_the_approximate_inverse(name, solver):
    estimator, case = CASES[name]
    model = InfluenceEstimator(estimator, solver=solver, method="first_order", representation="primal")
    model.fit(case.X, case.y, sample_weight=case.sample_weight)
    w = Written(estimator, case, model.params_)
    inverse = np.linalg.pinv(SOLVERS[solver](w), rcond=1e-11, hermitian=True)
    pull = w.s[:, None] * w.u
    delta = np.einsum("nqp,nq->np", w.J, pull) @ inverse
    close(model.influence_on_params(), delta, 1e-8)
    close(model.influence_on_params([5, 2]), delta[[5, 2]], 1e-8)
    df = np.einsum("mqp,np->mnq", w.J_test, delta)
    df = df if w.q > 1 else df[:, :, 0]
    close(model.influence_on_output(case.X_test), df, 1e-8)
    u = w.slope(w.J_test, case.y_test)
    loss = np.einsum("mq,mqp,np->mn", u, w.J_test, delta)
    close(model.influence_on_loss(case.X_test, case.y_test), loss, 1e-8)
    close(model.influence_on_loss(case.X_test, case.y_test, aggregate="mean"), loss.mean(axis=0), 1e-8)
    groups = np.arange(len(case.X)) % 4
    grouped = np.stack([loss[:, groups == g].sum(axis=1) for g in range(4)], axis=1)
    close(model.influence_on_loss(case.X_test, case.y_test, groups=groups), grouped, 1e-8)
    own = np.einsum("nqp,np->nq", w.J, delta)
    close(model.self_influence(on="output"), own if w.q > 1 else own[:, 0], 1e-8)
    close(model.self_influence(), (w.u * own).sum(axis=1), 1e-8)
    top = model.top_influences(case.X_test, case.y_test, k=4)
    close(top.influences, np.sort(loss, axis=1)[:, :4], 1e-8)
    close(np.take_along_axis(loss, top.indices, axis=1), top.influences, 1e-8)
    B = np.random.default_rng(0).standard_normal((len(w.theta), 2))
    close(model.curvature_solve(B), inverse @ B, 1e-7)


@pytest.mark.parametrize("name", ["binary", "softmax"])
def test_refinement_and_unlearning_take_the_true_curvature(name):
    estimator, case = CASES[name]
    exact = InfluenceEstimator(estimator).fit(case.X, case.y, sample_weight=case.sample_weight)
    for solver in ("outer_product", "diagonal"):
        model = InfluenceEstimator(LogisticRegression(tol=0.1), solver=solver, method="first_order")
        model.fit(case.X, case.y, sample_weight=case.sample_weight)
        close(model.params_, exact.params_, 1e-8)
        close(model.unlearn([3, 4]).params_, copy.deepcopy(exact).unlearn([3, 4]).params_, 1e-9)
        assert model.certificate_.converged and model.certificate_.valid


@pytest.mark.parametrize("name", ["ridge", "targets"])
def test_the_unit_of_a_target_does_not_matter(name):
    """Else outer products of gradients in euros would be 1e4 those in cents, beside the same penalty."""
    estimator, case = CASES[name]
    solver = OuterProduct(damping=0.1)
    plain, cents = (
        InfluenceEstimator(estimator, solver=solver, method="first_order").fit(case.X, unit * case.y)
        for unit in (1.0, 100.0)
    )
    close(cents.influence_on_params(), 100 * plain.influence_on_params(), 1e-9)
    close(
        cents.influence_on_loss(case.X_test, 100 * case.y_test),
        1e4 * plain.influence_on_loss(case.X_test, case.y_test),
        1e-9,
    )
    np.testing.assert_allclose(cents.solve_info_.residual, plain.solve_info_.residual, rtol=1e-6)


def test_targets_of_different_units_do_not_see_each_other():
    estimator, case = CASES["targets"]
    units = np.array([1.0, 1e3, 1e-3])
    plain, scaled = (
        InfluenceEstimator(estimator, solver="outer_product", method="first_order").fit(case.X, u * case.y)
        for u in (1.0, units)
    )
    df, other = (m.influence_on_output(case.X_test) for m in (plain, scaled))
    close(other / units, df, 1e-8)


@pytest.mark.filterwarnings("ignore:.*singular")
def test_targets_that_are_fitted_exactly_have_no_variance_to_divide_by():
    X = LINE.X
    model = InfluenceEstimator(Ridge(alpha=1e-12), solver="outer_product", method="first_order")
    assert np.isfinite(model.fit(X, np.ones(len(X))).influence_on_params([0])).all()


@pytest.mark.parametrize("solver", [Diagonal, OuterProduct])
def test_the_last_class_alone(solver):
    """What is held does not move, also where the dual would have fewer unknowns."""
    estimator, case = CASES["wide"]
    model = InfluenceEstimator(estimator, method="first_order").fit(case.X[:8], case.y[:8])
    last = [str(name).endswith("[2]") for name in model.param_names_]
    change = model.set_params(solver=solver(parameters=last)).influence_on_params()
    assert change[:, last].any(axis=0).all() and not change[:, np.logical_not(last)].any()
    everything = model.set_params(solver=solver()).influence_on_params()
    assert everything.all()
