"""The symmetric matrix against V and K written out."""

import numpy as np
import pytest
from alpha_cases import CASES, Problem
from sklearn import config_context

from sklearn_influence.alpha.symmetric import symmetric_matrix


@pytest.mark.parametrize("namespace", ["numpy", "array_api_strict"])
@pytest.mark.parametrize("kind", CASES)
def test_is_the_product_with_the_roots(kind, namespace):
    xp, case = pytest.importorskip(namespace), Problem(kind, n=60)
    V = case.V()
    truth = 0.3 * np.eye(len(V)) + V.T @ case.K_all @ V
    with config_context(working_memory=0.25 if case.mixed else 1024):  # in several blocks of rows
        K = xp.asarray(case.K)
        M = np.asarray(symmetric_matrix(K, case.roots.like(K), 0.3))
    if not case.coupled:
        M = np.kron(M, np.eye(case.q))
    np.testing.assert_allclose(M, truth, atol=1e-12)
    np.testing.assert_array_equal(np.asarray(K), case.K)
