"""The words of the printed report."""

import numpy as np

from sklearn_influence._report import text


def test_verdicts():
    draws = np.array([-1.0, 1.0])
    assert "does not lower" in text._verdict(0.1, 0.01, draws)
    assert "random draws did as well" in text._verdict(-0.5, 0.01, draws)
    assert "within 2 standard errors" in text._verdict(-2.0, 1.5, draws)
    assert "more than any random draw" in text._verdict(-2.0, 0.5, draws)
    assert "more than any random draw" in text._verdict(-2.0, 0.5, np.array([]))
