"""What users get wrong with tables, pipelines and searches: calls, the exception each must raise, and its words."""

from functools import lru_cache

import numpy as np
import pandas as pd
import tables
from bad_input import Bad
from scipy import sparse
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from sklearn_influence import InfluenceEstimator

TABLE = tables.happiness(n_train=120, n_test=30)
N, GONE = 120, 4  # a row that every model here has already removed
X, Y, X_TEST, Y_TEST = TABLE.X, TABLE.y, TABLE.X_test, TABLE.y_test
NUMBERS = X[["year", "educ", "female"]].fillna(0).astype(float)
LOGISTIC = LogisticRegression(solver="newton-cholesky", tol=1e-8)
ONES = np.ones(N)
GAP = np.arange(N) != 3  # every row but one
NO_INCOME = X.drop(columns="income")


def _strict():
    """Known categories only, in two columns."""
    text = tables.preprocessing(handle_unknown="error").transformers[1][1]
    return make_pipeline(ColumnTransformer([("text", text, ["region", "workstat"])]), clone(LOGISTIC))


@lru_cache
def fitted(kind):
    """One fitted, edited and asked model of each kind, with what it was fitted on."""
    estimator, rows = {
        "pipeline": (tables.pipeline(LOGISTIC), X),
        "strict": (_strict(), X),
        "numbers": (make_pipeline(StandardScaler(), clone(LOGISTIC)), NUMBERS),
        "array": (make_pipeline(StandardScaler(), clone(LOGISTIC)), NUMBERS.to_numpy()),
        "search": (GridSearchCV(tables.pipeline(LOGISTIC), {"model__C": [0.1, 1.0]}, cv=2), X),
        "frozen": (FrozenEstimator(tables.pipeline(LOGISTIC).fit(X, Y)), X),
        "ridge": (tables.pipeline(Ridge()), X),
        "ridge cv": (RidgeCV(), NUMBERS),
        "words": (make_pipeline(TfidfVectorizer(min_df=2), Ridge()), X["region"].tolist()),
    }[kind]
    model = InfluenceEstimator(estimator).fit(rows, Y).unlearn([GONE])
    model.influence_on_params([0])
    return model, rows


def _set(estimator, rows=X):
    return lambda model, X, y: model.set_params(estimator=estimator).fit(rows, y)


def _fit(rows=X, y=Y, **fit_params):
    return lambda model, *_: model.fit(rows, y, **fit_params)


def _output(rows):
    return lambda model, *_: model.influence_on_output(rows)


def _loss(rows, y, **options):
    return lambda model, *_: model.influence_on_loss(rows, y, **options)


def _search(model, grid, **options):
    return GridSearchCV(tables.pipeline(model), grid, cv=2, **options)


def _whole(rows):
    return lambda model, X, y: model.unlearn(rows(y), refit_transformers=True)


UNSEEN = X_TEST.assign(region="the moon", workstat=X["workstat"].iloc[0])
SUPPORTED = ("not supported", "LogisticRegression", "Ridge")

MODELS = {
    "tree in a pipeline": Bad(_set(tables.pipeline(DecisionTreeClassifier())), ("Tree", "surrogate"), TypeError),
    "tree in a search": Bad(_set(_search(DecisionTreeClassifier(), {})), ("Tree", "surrogate"), TypeError),
    "tree chosen by a search": Bad(
        _set(_search(LOGISTIC, {"model": [DecisionTreeClassifier()]})), ("Tree", "surrogate"), TypeError
    ),
    "tree frozen": Bad(
        lambda m, X, y: m.set_params(
            estimator=FrozenEstimator(make_pipeline(StandardScaler(), DecisionTreeClassifier()).fit(NUMBERS, y))
        ).fit(NUMBERS, y),
        ("Tree", "surrogate"),
        TypeError,
    ),
    "SVC nested": Bad(
        _set(make_pipeline(StandardScaler(), make_pipeline(StandardScaler(), SVC()))),
        ("SVC", *SUPPORTED, "register_family"),
        TypeError,
    ),
    "clusters last": Bad(_set(make_pipeline(StandardScaler(), KMeans())), ("KMeans", *SUPPORTED), TypeError),
    "transformer last": Bad(
        _set(make_pipeline(StandardScaler())), ("StandardScaler", "transformer", "must be a model"), TypeError
    ),
    "columns alone": Bad(_set(tables.preprocessing()), ("ColumnTransformer", *SUPPORTED), TypeError),
    "passthrough last": Bad(_set(make_pipeline(StandardScaler(), "passthrough")), ("'passthrough'", "must be a model")),
    "no steps": Bad(_set(Pipeline([])), ("empty", "must be a model")),
    "pipeline class": Bad(_set(Pipeline), ("instance", "class Pipeline"), TypeError),
    "ours in ours": Bad(
        _set(make_pipeline(StandardScaler(), InfluenceEstimator(LOGISTIC))),
        ("InfluenceEstimator", *SUPPORTED),
        TypeError,
    ),
    "search of nothing": Bad(_set(GridSearchCV(None, {})), SUPPORTED, TypeError),
    "search without refit": Bad(_set(_search(LOGISTIC, {}, refit=False)), ("refit=False", "refit=True")),
    "search of no such parameter": Bad(_set(_search(LOGISTIC, {"model__D": [1]})), ("Invalid parameter 'D'",)),
    "search of bad values": Bad(_set(_search(LOGISTIC, {"model__C": [-1.0]})), ("fits failed", "'C' parameter")),
    "search of L1": Bad(
        _set(_search(LogisticRegression(solver="saga", max_iter=5), {"model__l1_ratio": [1.0]})),
        ("L1 penalty", "l1_ratio=0"),
    ),
    "frozen, not fitted": Bad(_set(FrozenEstimator(tables.pipeline(Ridge()))), ("not fitted", "before it is frozen")),
    "frozen search, not fitted": Bad(_set(FrozenEstimator(_search(LOGISTIC, {}))), ("not fitted", "frozen")),
}

FIT = {
    "y missing": Bad(_fit(y=None), ("requires y", "None")),
    "y shorter": Bad(_fit(y=Y[:-1]), ("inconsistent", "120, 119")),
    "y of another table": Bad(_fit(y=Y_TEST), ("inconsistent", "120, 30")),
    "y shorter for a frozen model": Bad(_fit(y=Y[:-1]), ("same number of rows", "120 and 119"), kind="frozen"),
    "X shorter for a frozen model": Bad(_fit(X[:50]), ("same number of rows", "50 and 120"), kind="frozen"),
    "y None among text": Bad(_fit(y=np.where(GAP, "yes", None)), ("y contains", "row 3", "leave out")),
    "y NaN among text": Bad(
        _fit(y=pd.Series(np.where(Y == 1, "yes", "no"), dtype=object).where(GAP)), ("y contains NaN", "row 3")
    ),
    "y NA integers": Bad(_fit(y=Y.astype("Int64").where(GAP)), ("y contains NaN",)),
    "y NA truths": Bad(_fit(y=(Y == 1).astype("boolean").where(GAP)), ("y contains NaN",)),
    "y NA categories": Bad(_fit(y=Y.astype("category").where(GAP)), ("contains NaN",)),
    "y NA for ridge": Bad(_fit(y=Y.astype("Int64").where(GAP)), ("y contains NaN",), kind="ridge"),
    "y one class": Bad(_fit(y=0 * Y), ("2 classes", "one class")),
    "y two columns": Bad(_fit(y=pd.DataFrame({"a": Y, "b": Y})), ("1d array", "(120, 2)")),
    "X a dict of columns": Bad(_fit(X.to_dict("list")), ("got a dict", "pandas.DataFrame(X)")),
    "X None": Bad(_fit(None), ("Expected 2D array",)),
    "X a file name": Bad(_fit("data.csv"), ("Expected 2D array", "data.csv")),
    "X empty": Bad(_fit(X[:0], Y[:0]), ("0 sample",)),
    "X without columns": Bad(_fit(X[[]]), ("0 feature",)),
    "X without names": Bad(_fit(X.to_numpy()), ("only be applied to pandas dataframes",)),
    "X one column": Bad(_fit(NUMBERS["year"]), ("2-dimensional", "Series"), kind="numbers"),
    "X text in a column of numbers": Bad(
        _fit(NUMBERS.assign(educ="many")), ("could not convert string", "'many'"), kind="numbers"
    ),
    "X NaN at the final step": Bad(
        _fit(NUMBERS.where(NUMBERS["educ"] > 12)), ("X contains NaN", "LogisticRegression", "imputer"), kind="numbers"
    ),
    "X infinite after a step": Bad(
        lambda m, X, y: m.set_params(estimator=make_pipeline(FunctionTransformer(np.reciprocal), LOGISTIC)).fit(
            NUMBERS, y
        ),
        ("X contains infinity",),
        kind="numbers",
    ),
    "X text at the final step": Bad(
        _set(make_pipeline(FunctionTransformer(), LOGISTIC)), ("could not convert string", "'working")
    ),
    "X missing for a bare model": Bad(_set(LOGISTIC, NUMBERS.mask(NUMBERS == 0).convert_dtypes()), ("X contains NaN",)),
    "X text for a bare model": Bad(_set(LOGISTIC), ("could not convert string", "'working")),
    "X categories for a bare model": Bad(_set(LOGISTIC, X[["region"]].astype("category")), ("convert string",)),
    "X sparse to be centred": Bad(_fit(sparse.csr_matrix(NUMBERS)), ("center sparse", "with_mean=False"), kind="array"),
    "a frame for documents": Bad(_fit(X), ("no terms remain", "min_df"), kind="words"),
    "NaN among documents": Bad(_fit(X["income"].tolist()), ("nan is an invalid document",), kind="words"),
    "rows of other columns for a frozen model": Bad(_fit(NO_INCOME), ("missing", "income"), kind="frozen"),
    "labels of another frozen model": Bad(_fit(y=Y + 5), ("not fitted on", "[5, 6]", "[0, 1]"), kind="frozen"),
}

WEIGHTS = {
    "weights shorter": Bad(_fit(sample_weight=ONES[:-1]), ("sample_weight", "119", "120 rows")),
    "weights of the step shorter": Bad(_fit(model__sample_weight=ONES[:-1]), ("119", "120 rows")),
    "weights of the step shorter in a search": Bad(
        _fit(model__sample_weight=ONES[:-1]), ("119", "120 rows"), kind="search"
    ),
    "weights shorter for a frozen model": Bad(_fit(sample_weight=ONES[:3]), ("got 3 for 120 rows",), kind="frozen"),
    "weights of the step shorter, frozen": Bad(
        _fit(model__sample_weight=ONES[:3]), ("got 3 for 120 rows",), kind="frozen"
    ),
    "weights of the step negative": Bad(_fit(model__sample_weight=-ONES), (">= 0", "-1")),
    "weights of another step": Bad(
        _fit(prepare__sample_weight=ONES), ("ColumnTransformer", "extra keyword arguments", "'sample_weight'")
    ),
    "weights of no such step": Bad(
        _fit(modl__sample_weight=ONES), ("modl__sample_weight", "no step 'modl'", "'prepare', 'model'")
    ),
    "weights of no such step in a search": Bad(
        _fit(modl__sample_weight=ONES), ("no step 'modl'", "'prepare', 'model'"), kind="search"
    ),
    "weights of a step of a bare model": Bad(
        lambda m, X, y: m.set_params(estimator=LOGISTIC).fit(NUMBERS, y, model__sample_weight=ONES),
        ("unexpected keyword argument 'model__sample_weight'",),
        TypeError,
    ),
    "weights twice": Bad(
        _fit(sample_weight=ONES, model__sample_weight=ONES),
        ("given twice", "sample_weight and as model__sample_weight"),
    ),
    "weights twice, frozen": Bad(
        _fit(sample_weight=ONES, model__sample_weight=ONES), ("given twice", "model__sample_weight"), kind="frozen"
    ),
    "weights a frame": Bad(_fit(sample_weight=pd.DataFrame({"w": ONES})), ("1-D", "(120, 1)")),
    "weights a column's name": Bad(_fit(sample_weight="year"), ("real numbers", "'year'")),
    "weights text": Bad(_fit(sample_weight=X["region"]), ("sample_weight", "real numbers")),
    "weights NA": Bad(_fit(sample_weight=pd.Series(ONES, dtype="Int64").where(GAP)), ("must not hold NaN",)),
    "weights zero for a class": Bad(_fit(model__sample_weight=Y.to_numpy(float)), ("class 0", "weight 0")),
}

TEST_ROWS = {
    "test rows miss a column": Bad(_output(X_TEST.drop(columns="region")), ("columns are missing", "region")),
    "test rows miss a column, loss": Bad(_loss(X_TEST.drop(columns="educ"), Y_TEST), ("missing", "educ")),
    "test rows miss a column, top": Bad(
        lambda m, X, y: m.top_influences(X_TEST.drop(columns="educ"), Y_TEST), ("missing", "educ"), kind="search"
    ),
    "test rows miss a column, frozen": Bad(_output(X_TEST[["educ"]]), ("missing", "region"), kind="frozen"),
    "test column renamed": Bad(_output(X_TEST.rename(columns={"region": "Region"})), ("missing", "region")),
    "test column renamed, numbers": Bad(
        _output(NUMBERS.rename(columns={"educ": "edu"})), ("unseen", "- edu", "missing", "- educ"), kind="numbers"
    ),
    "test column extra, numbers": Bad(_output(NUMBERS.assign(age=1)), ("feature names", "- age"), kind="numbers"),
    "test columns reordered": Bad(_output(NUMBERS[["year", "female", "educ"]]), ("same order",), kind="numbers"),
    "test rows without names": Bad(_output(X_TEST.to_numpy()), ("columns", "dataframes")),
    "test rows too wide": Bad(_output(np.ones((3, 4))), ("4 features", "expecting 3"), kind="array"),
    "test rows transformed already": Bad(
        lambda m, X, y: m.influence_on_output(m.estimator_[:-1].transform(X_TEST)), ("expecting 18 features",)
    ),
    "test category unseen": Bad(_output(UNSEEN), ("unknown categories", "the moon"), kind="strict"),
    "test category unseen, loss": Bad(_loss(UNSEEN, Y_TEST), ("unknown categories", "the moon"), kind="strict"),
    "test rows NaN at the final step": Bad(
        _output(NUMBERS.where(NUMBERS["educ"] > 12)), ("X contains NaN",), kind="numbers"
    ),
    "test text among numbers": Bad(_output(X_TEST.assign(educ="many")), ("could not convert string", "'many'")),
    "one test row as a series": Bad(
        _output(NUMBERS.iloc[0]), ("2-dimensional", "Series", "single row"), kind="numbers"
    ),
    "no test rows": Bad(_output(X_TEST[:0]), ("0 sample",)),
    "test y shorter": Bad(_loss(X_TEST, Y_TEST[:-1]), ("same number of rows", "30 and 29")),
    "test y missing": Bad(_loss(X_TEST, None), ("y is needed with X",)),
    "test y unseen": Bad(_loss(X_TEST, Y_TEST + 1), ("not fitted on", "[2]", "[0, 1]")),
    "test y in words": Bad(_loss(X_TEST, Y_TEST.map({0: "no", 1: "yes"})), ("not fitted on", "'no'", "[0, 1]")),
    "test y NA": Bad(_loss(X_TEST, Y_TEST.astype("Int64").where(np.arange(30) != 3)), ("not fitted on", "nan")),
    "test weights shorter": Bad(_loss(X_TEST, Y_TEST, sample_weight=[1.0]), ("got 1 for 30 rows",)),
    "test weights of the training rows": Bad(_loss(None, None, sample_weight=ONES), ("got 120 for 119 rows",)),
}

ROWS = {
    "row names for numbers": Bad(lambda m, X, y: m.influence_on_params([100_000]), ("row numbers", "0 to 119")),
    "text for numbers": Bad(
        lambda m, X, y: m.unlearn(X["region"].iloc[:3]), ("integers", "X.index.get_indexer(labels)")
    ),
    "mask of the test rows": Bad(lambda m, X, y: m.unlearn(np.ones(30, bool)), ("mask", "120, got 30")),
    "groups with gaps": Bad(lambda m, X, y: m.influence_on_params(groups=X["income"]), ("missing label", "row 7")),
    "groups by a column's name": Bad(lambda m, X, y: m.influence_on_params(groups="region"), ("one label per row",)),
    "groups of the test rows": Bad(
        lambda m, X, y: m.influence_on_params(groups=X_TEST["region"]), ("(120,)", "(30,)"), kind="search"
    ),
    "refit without a class": Bad(
        _whole(lambda y: np.flatnonzero((y == 1) & (np.arange(N) != GONE))), ("class 1", "Keep at least one")
    ),
    "refit without a class, search": Bad(
        _whole(lambda y: np.flatnonzero((y == 0) & (np.arange(N) != GONE))), ("class 0",), kind="search"
    ),
    "refit without rows": Bad(_whole(lambda y: np.delete(np.arange(N), GONE)), ("every row", "119"), kind="ridge"),
    "refit of removed rows": Bad(_whole(lambda y: [1, GONE]), (f"row {GONE}", "already been removed")),
    "refit without indices": Bad(_whole(lambda y: None), ("indices=None",)),
    "refit by a word": Bad(lambda m, X, y: m.unlearn([1], refit_transformers="yes"), ("True or False", "'yes'")),
    "refit of a bare model": Bad(
        _whole(lambda y: [1]), ("needs transformers", "RidgeCV has none", "whole pipeline"), kind="ridge cv"
    ),
    "refit that a transformer refuses": Bad(
        _whole(lambda y: np.flatnonzero(np.arange(N) != GONE)[:-1]),
        ("min_df",),
        kind="words",
    ),
}

BAD = {**MODELS, **FIT, **WEIGHTS, **TEST_ROWS, **ROWS}
