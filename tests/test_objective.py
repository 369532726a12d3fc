"""How weights follow from classes and removals."""

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from sklearn_influence.objective import Weighting, class_numbers

CODES = np.array([0, 0, 1, 1, 1, 2, 2, 0])
WEIGHT = np.array([1.0, 2.0, 1.0, 0.5, 1.0, 3.0, 1.0, 0.0])


def balanced(kept):
    factors = compute_class_weight("balanced", classes=np.arange(3), y=CODES[kept], sample_weight=WEIGHT[kept])
    return WEIGHT[kept] * factors[CODES[kept]]


def test_plain_weights():
    weighting = Weighting(WEIGHT)
    np.testing.assert_array_equal(weighting.effective(), WEIGHT)
    np.testing.assert_array_equal(weighting.effective(removed=[1]), np.where(np.arange(8) == 1, 0, WEIGHT))
    np.testing.assert_array_equal(WEIGHT[1], 2.0)


def test_fixed_class_weights():
    factors = np.array([2.0, 1.0, 5.0])
    np.testing.assert_array_equal(Weighting(WEIGHT, CODES, factors).effective(), WEIGHT * factors[CODES])


@pytest.mark.parametrize("removed", [[], [0], [2, 5]])
def test_balanced_is_recomputed_as_scikit_learn_does(removed):
    kept = np.setdiff1d(np.arange(8), removed)
    weighting = Weighting(WEIGHT, CODES, balanced=True)
    effective = weighting.effective(removed=np.array(removed, dtype=int))
    np.testing.assert_allclose(effective[kept], balanced(kept))
    np.testing.assert_array_equal(effective[removed], 0.0)
    np.testing.assert_allclose(weighting.take(kept).effective(), balanced(kept))


def test_other_classes_and_rows_more_are_counted():
    moved, codes = Weighting(WEIGHT, CODES, balanced=True).replace([2, 0], [2, 1]), CODES.copy()
    codes[[2, 0]] = 2, 1
    np.testing.assert_array_equal(moved.effective(), Weighting(WEIGHT, codes, balanced=True).effective())
    codes, weight = np.append(CODES, [0, 1]), np.append(WEIGHT, [3.0, 0.5])
    longer = Weighting(WEIGHT, CODES, balanced=True).append([3.0, 0.5], [0, 1])
    np.testing.assert_array_equal(longer.effective(), Weighting(weight, codes, balanced=True).effective())
    counted = Weighting(WEIGHT, CODES, balanced=True, counts=np.ones(8)).append([3.0, 0.5], [0, 1])
    np.testing.assert_array_equal(counted.effective(), Weighting(weight, codes, None, True, np.ones(10)).effective())
    np.testing.assert_array_equal(Weighting(WEIGHT).append([4.0], None).effective(), [*WEIGHT, 4.0])


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_class_numbers_of_targets(n_outputs):
    codes = np.array([0, 1, max(n_outputs, 2) - 1])
    np.testing.assert_array_equal(class_numbers(codes), codes)
    signs = np.where(codes[:, None] == np.arange(n_outputs), 1.0, -1.0) if n_outputs > 1 else 2.0 * codes[:, None] - 1
    np.testing.assert_array_equal(class_numbers(signs), codes)


def test_class_ratios_are_the_change_by_one_removal():
    weighting = Weighting(WEIGHT, CODES, balanced=True)
    before = weighting.effective()
    ratios = weighting.class_ratios(np.arange(8))
    for i in range(8):
        after = weighting.effective(removed=[i])
        others = (np.arange(8) != i) & (before > 0)
        np.testing.assert_allclose(after[others], (before * ratios[i][CODES])[others])


def test_the_last_weight_of_a_class_leaves_it_at_zero():
    weighting = Weighting(np.array([1.0, 1.0, 1.0]), np.array([0, 0, 1]), balanced=True)
    assert weighting.class_ratios(np.array([2]))[0, 1] == 0.0
    np.testing.assert_array_equal(weighting.effective(removed=[2]), [0.5, 0.5, 0.0])


@pytest.mark.parametrize("row, to", [(0, 1), (4, 0), (5, 1), (3, 1), (7, 2)])
@pytest.mark.parametrize("counted", [None, np.ones(8)])
def test_a_row_of_another_class_moves_the_weights_of_two(row, to, counted):
    weighting = Weighting(WEIGHT, CODES, balanced=True, counts=counted)
    after = weighting.replace([row], [to]).effective()
    np.testing.assert_allclose(weighting.effective_as(np.array([row]), np.array([to])), after[[row]])
    ratios = weighting.class_ratios(np.array([row]), np.array([to]))[0]
    others = np.arange(8) != row
    np.testing.assert_allclose((weighting.effective() * ratios[CODES])[others], after[others])
    factors = Weighting(WEIGHT, CODES, np.array([2.0, 1.0, 5.0]))
    np.testing.assert_array_equal(factors.effective_as(np.array([row]), np.array([to])), WEIGHT[row] * [2, 1, 5][to])
    np.testing.assert_array_equal(Weighting(WEIGHT, CODES).effective_as(np.array([row]), np.array([to])), WEIGHT[[row]])


def test_a_typical_row_of_another_class_counts_as_the_mean_of_its_own():
    weighting = Weighting(np.ones(8), CODES, balanced=True)
    others = np.arange(8) != 4
    found = weighting.without_typical(1, 2)
    np.testing.assert_allclose(found[others], weighting.replace([4], [2]).effective()[others])


def test_a_class_that_loses_its_only_row_has_no_weight():
    weighting = Weighting(np.ones(4), np.array([0, 0, 1, 1]), balanced=True).take([0, 1, 2])
    assert weighting.class_ratios(np.array([2]), np.array([0])).tolist() == [[2 / 3, 0.0]]
    assert weighting.without_typical(1, 0).tolist() == [0.5, 0.5, 0.0]
