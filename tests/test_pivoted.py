"""Coordinates from a pivoted Cholesky factor, against the vectors themselves."""

import numpy as np
import pytest

from sklearn_influence._pivoted import PivotedCoordinates


@pytest.mark.parametrize("panel", [512, 4])
@pytest.mark.parametrize("columns", [20, 7])
def test_coordinates_keep_products_and_solve_with_the_triangle(columns, panel, monkeypatch):
    monkeypatch.setattr("sklearn_influence._pivoted._PANEL", panel)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((12, columns)) * np.logspace(-3, 3, 12)[:, None]
    X[5], X[6] = 2 * X[3], 0.0
    lengths = np.linalg.norm(X, axis=1, keepdims=True)
    units = np.divide(X, lengths, out=np.zeros_like(X), where=lengths > 0)
    coordinates = PivotedCoordinates(np.tril(units @ units.T), lengths)
    Z, pivots = coordinates.rows, coordinates.pivots
    assert Z.shape == (12, min(columns, 10)) and 6 not in pivots
    np.testing.assert_allclose(Z @ Z.T, X @ X.T, rtol=1e-11, atol=1e-12 * (lengths @ lengths.T).max())
    np.testing.assert_allclose(np.triu(Z[pivots], 1), 0.0)
    B = rng.standard_normal((len(pivots), 2))
    np.testing.assert_allclose(Z[pivots] @ coordinates.solve(B), B, atol=1e-11)
    np.testing.assert_allclose(Z[pivots].T @ coordinates.solve(B, transposed=True), B, atol=1e-11)
