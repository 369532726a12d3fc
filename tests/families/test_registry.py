"""Which family speaks for an estimator, and what those without one are told."""

import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import ElasticNet, Lasso, LogisticRegression, LogisticRegressionCV, Ridge, RidgeClassifier
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeRegressor

from sklearn_influence import families, register_family


def test_known_estimators():
    assert isinstance(families.find_family(Ridge()), families.LeastSquaresFamily)
    assert isinstance(families.find_family(LogisticRegression()), families.LogisticFamily)
    assert families.find_family(LogisticRegressionCV()) is families.find_family(LogisticRegression())
    assert isinstance(families.find_family(RidgeClassifier()), families.RidgeClassifierFamily)
    assert isinstance(families.find_family(KernelRidge()), families.KernelRidgeFamily)
    assert {"GaussianProcessRegressor", "KernelRidge", "LinearRegression"} <= set(families.supported_names())


@pytest.mark.parametrize("estimator", [SVC(), Lasso(), ElasticNet()], ids=str)
def test_others_are_refused_with_what_there_is(estimator):
    # A subclass of a supported class, such as Lasso of ElasticNet, is no member: it may minimise something else.
    name = type(estimator).__name__
    with pytest.raises(TypeError, match=rf"{name} is not supported.*LinearRegression.*Ridge.*register_family"):
        families.find_family(estimator)


@pytest.mark.parametrize("estimator", [RandomForestClassifier(), DecisionTreeRegressor()], ids=str)
def test_trees_are_told_of_surrogates(estimator):
    with pytest.raises(TypeError, match=r"linear model.*surrogate"):
        families.find_family(estimator)


def test_a_class_is_not_an_estimator():
    with pytest.raises(TypeError, match=r"must be an instance, got the class Ridge; write Ridge\(\)"):
        families.find_family(Ridge)


def test_registering():
    class Mine(Ridge):
        pass

    with pytest.raises(TypeError, match="Mine is not supported"):
        families.find_family(Mine())
    family = families.LeastSquaresFamily()
    register_family(Mine, family)
    assert families.find_family(Mine()) is family


@pytest.mark.parametrize(
    "arguments, words",
    [((Ridge(), families.LeastSquaresFamily()), "estimator classes"), ((Ridge, object()), "Family subclass")],
)
def test_registering_nonsense(arguments, words):
    with pytest.raises(TypeError, match=words):
        register_family(*arguments)
