"""What users get wrong: a table of calls, the exception each must raise, and words its message must hold."""

from dataclasses import dataclass
from functools import lru_cache

import cases
import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import Lasso, LinearRegression, LogisticRegression, Ridge, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from sklearn_influence import InfluenceEstimator, losses, register_family, solvers

BINARY, THREE = cases.tiny_classification(), cases.tiny_classification(n_classes=3)
WORDS = cases.string_labels(THREE)
LINE, TARGETS = cases.tiny_regression(), cases.tiny_regression(n_targets=3)
COLUMNS = ["age", "height", "pulse", "weight"]
FRAME = cases.replace(BINARY, X=pd.DataFrame(BINARY.X, columns=COLUMNS).to_numpy())
N = len(BINARY.X)
GONE = 4  # a row that every model here has already removed


@lru_cache
def fitted(kind):
    """One fitted, edited and factored model of each kind, with its data."""
    estimator, case = {
        "binary": (LogisticRegression(), BINARY),
        "softmax": (LogisticRegression(), THREE),
        "words": (LogisticRegression(), WORDS),
        "frame": (LogisticRegression(), FRAME),
        "ridge": (Ridge(), LINE),
        "ols": (LinearRegression(), LINE),
        "targets": (Ridge(alpha=np.array([0.1, 1, 10])), TARGETS),
        "cv": (RidgeCV(store_cv_results=True), LINE),
    }[kind]
    X = pd.DataFrame(case.X, columns=COLUMNS) if kind == "frame" else case.X
    model = InfluenceEstimator(estimator).fit(X, case.y).unlearn([GONE])
    model.influence_on_params([0])
    return model, case


@dataclass(frozen=True)
class Bad:
    """One kind of bad input: ``call(model, X, y)`` on a fitted model of a kind, and what it must raise."""

    call: object
    words: tuple
    error: type = ValueError
    kind: str = "binary"


def _set(**params):
    """fit with constructor values that cannot be used."""
    return lambda model, X, y: model.set_params(**params).fit(X, y)


def _ask(**params):
    """A question after set_params with them, without a new fit: they take effect at once."""
    return lambda model, X, y: model.set_params(**params).influence_on_params([0])


def _weigh(weight):
    return lambda model, X, y: model.fit(X, y, sample_weight=weight)


def _rows(indices):
    return lambda model, X, y: model.influence_on_params(indices)


def _groups(groups):
    return lambda model, X, y: model.influence_on_loss(X[:3], y[:3], groups=groups)


def _test(X_test, y_test):
    return lambda model, X, y: model.influence_on_loss(X_test, y_test)


def _loss(loss):
    return lambda model, X, y: model.influence_on_loss(X[:2], y[:2], loss=loss)


def _with(X, value):
    X = np.array(X, dtype=float)
    X.flat[3] = value
    return X


ONES = np.ones(N)
ALTERNATE = np.arange(N) % 4  # 4 labels over both classes
SUPPORTED = ("not supported", "LinearRegression, Linearised", "RidgeCV")

CONSTRUCTOR = {
    "method unknown": Bad(_set(method="newtn"), ("method", "'newton', 'first_order'", "'newtn'")),
    "method not a string": Bad(_set(method=["newton"]), ("method", "'newton', 'first_order'")),
    "method asked": Bad(_ask(method="exact"), ("method", "'first_order'", "'exact'")),
    "solver unknown": Bad(_set(solver="lu"), ("solver", "'auto', 'direct', 'cg'", "'diagonal'", "got 'lu'")),
    "solver asked": Bad(_ask(solver="CG"), ("'auto', 'direct', 'cg'", "'CG'")),
    "solver None": Bad(_set(solver=None), ("solver", "'auto', 'direct'", "None"), TypeError),
    "solver class": Bad(_set(solver=solvers.Direct), ("solver", "class Direct", "write Direct()"), TypeError),
    "solver damping negative": Bad(lambda m, X, y: solvers.Direct(damping=-1.0), ("damping", ">= 0", "-1")),
    "solver damping NaN": Bad(lambda m, X, y: solvers.Direct(damping=np.nan), ("damping", ">= 0", "nan")),
    "solver damping string": Bad(lambda m, X, y: solvers.Direct(damping="a"), ("damping", "'a'"), TypeError),
    "representation unknown": Bad(_set(representation="gram"), ("representation", "'primal', 'dual'", "'gram'")),
    "refine string": Bad(_set(refine="yes"), ("refine", "True or False", "'yes'")),
    "refine None": Bad(_ask(refine=None), ("refine", "True or False", "None")),
    "params_ of a bad refine": Bad(
        lambda m, X, y: m.set_params(refine="no").params_, ("refine", "True or False", "'no'")
    ),
    "device cuda": Bad(_set(device="cuda"), ("device", "cuda", "CuPy", "'cpu'")),
    "device unknown": Bad(_set(device="tpu"), ("device", "'cpu'", "'tpu'")),
    "device None": Bad(_ask(device=None), ("device", "'auto'", "None")),
    "device array": Bad(_set(device=np.array(["cpu", "cuda"])), ("device", "'auto'")),
    "n_jobs zero": Bad(_set(n_jobs=0), ("n_jobs", "non-zero integer", "0")),
    "n_jobs float": Bad(_ask(n_jobs=1.5), ("n_jobs", "integer", "1.5")),
    "verbose string": Bad(_set(verbose="loud"), ("verbose", "'loud'")),
    "verbose negative": Bad(_set(verbose=-1), ("verbose", "-1")),
}

APPROXIMATE = ("stochastic", "outer_product", "diagonal")


def _dual(**solver):
    """A solver of parameters, asked of unknowns that are none."""
    return lambda m, X, y: clone(m).set_params(method="first_order", representation="dual", **solver).fit(X, y).params_


def _option(cls, **option):
    return lambda m, X, y: getattr(solvers, cls)(**option)


SOLVERS = {
    **{
        f"newton with {name}": Bad(
            _set(solver=name), ("method='newton'", f"solver={name!r}", "'first_order'", "'direct' or 'cg'")
        )
        for name in APPROXIMATE
    },
    "newton asked with an object": Bad(
        _ask(solver=solvers.Diagonal(damping=0.1)), ("'newton'", "Diagonal(damping=0.1")
    ),
    **{
        f"leverages with {name}": Bad(
            lambda m, X, y, name=name: m.set_params(method="first_order", solver=name).leverages([0]),
            ("leverages", f"solver={name!r}", "'direct' or 'cg'"),
        )
        for name in APPROXIMATE
    },
    "dual with a diagonal": Bad(_dual(solver="diagonal"), ("solver='diagonal'", "representation='dual'", "'primal'")),
    "dual with damping": Bad(
        _dual(solver=solvers.ConjugateGradient(damping=0.1)), ("damping=0.1", "representation='dual'", "'primal'")
    ),
    "dual with parameters": Bad(
        _dual(solver=solvers.OuterProduct(parameters=[0])), ("parameters", "representation='dual'", "'primal'")
    ),
    "parameters beyond the last": Bad(
        lambda m, X, y: m.set_params(
            method="first_order", solver=solvers.Diagonal(parameters=[0, 5])
        ).influence_on_params([0]),
        ("parameters", "0 to 4", "5"),
    ),
    "parameters a short mask": Bad(
        lambda m, X, y: m.set_params(
            method="first_order", solver=solvers.Diagonal(parameters=[True, False, True, False])
        ).influence_on_params([0]),
        ("parameters", "mask", "params_, 5", "got 4"),
    ),
    "parameters a long mask of outer products": Bad(
        lambda m, X, y: m.set_params(
            method="first_order", solver=solvers.OuterProduct(parameters=np.arange(6) == 1)
        ).influence_on_params([0]),
        ("parameters", "mask", "params_, 5", "got 6"),
    ),
    "parameters beyond the last of outer products": Bad(
        lambda m, X, y: m.set_params(
            method="first_order", solver=solvers.OuterProduct(parameters=[7])
        ).influence_on_params([0]),
        ("parameters", "0 to 4", "7"),
    ),
    **{
        f"{cls} parameters {what}": Bad(_option(cls, parameters=value), ("parameters must be", "positions"), error)
        for cls in ("Diagonal", "OuterProduct")
        for what, value, error in (
            ("floats", [0.0, 1.0], TypeError),
            ("strings", ["x0"], TypeError),
            ("a number", 3, TypeError),
            ("2-D", [[0, 1]], TypeError),
            ("negative", [-1, 0], ValueError),
            ("twice", [1, 1], ValueError),
            ("empty", np.array([], dtype=int), ValueError),
            ("an empty mask", np.zeros(5, dtype=bool), ValueError),
        )
    },
    **{
        f"{cls} damping {value}": Bad(_option(cls, damping=value), ("damping must be", ">= 0", repr(value)), error)
        for cls in ("ConjugateGradient", "OuterProduct", "Diagonal", "Stochastic")
        for value, error in ((-0.1, ValueError), (np.inf, ValueError), ("much", TypeError), (True, TypeError))
    },
    **{
        f"cg {name} {value}": Bad(
            _option("ConjugateGradient", **{name: value}), (f"{name} must be", bound, repr(value)), error
        )
        for name, bound, values in (
            ("tol", "> 0", ((0, ValueError), (-1e-8, ValueError), (np.nan, ValueError), ("tight", TypeError))),
            ("max_iter", ">= 1", ((0, ValueError), (10.0, TypeError), (True, TypeError), (None, TypeError))),
            ("n_directions", ">= 1", ((0, ValueError), (-4, ValueError), (2.5, TypeError), ([8], TypeError))),
            ("preconditioner", "'diagonal'", (("jacobi", ValueError), (3, ValueError), ([None], ValueError))),
        )
        for value, error in values
    },
    "stochastic n_samples": Bad(_option("Stochastic", n_samples=0), ("n_samples", ">= 1", "got 0")),
    "stochastic n_repeats": Bad(_option("Stochastic", n_repeats=1), ("n_repeats", ">= 2", "got 1")),
    "stochastic scale": Bad(_option("Stochastic", scale=0), ("scale", "> 0", "got 0")),
    "solver option unknown": Bad(_option("Direct", tol=1e-3), ("tol",), TypeError),
}

ESTIMATOR = {
    "estimator class": Bad(
        _set(estimator=LogisticRegression), ("instance", "LogisticRegression()", "class"), TypeError
    ),
    "estimator None": Bad(_set(estimator=None), SUPPORTED, TypeError),
    "estimator string": Bad(_set(estimator="ridge"), SUPPORTED, TypeError),
    "estimator SVC": Bad(_set(estimator=SVC()), ("SVC", *SUPPORTED, "register_family"), TypeError),
    "estimator Lasso": Bad(_set(estimator=Lasso()), ("Lasso", *SUPPORTED, "register_family"), TypeError),
    "estimator tree": Bad(_set(estimator=DecisionTreeClassifier()), ("linear model", "surrogate"), TypeError),
    "estimator forest": Bad(_set(estimator=RandomForestClassifier()), (*SUPPORTED, "surrogate"), TypeError),
    "estimator boosting": Bad(_set(estimator=HistGradientBoostingRegressor()), ("surrogate",), TypeError),
    "estimator pipeline of trees": Bad(
        _set(estimator=make_pipeline(StandardScaler(), DecisionTreeClassifier())),
        ("Tree", "surrogate"),
        TypeError,
    ),
    "estimator subclass": Bad(
        _set(estimator=type("MyRidge", (Ridge,), {})()), ("MyRidge", "register_family"), TypeError
    ),
    "estimator of ours": Bad(_set(estimator=InfluenceEstimator(Ridge())), ("wrapped already", *SUPPORTED), TypeError),
    "family not a class": Bad(lambda m, X, y: register_family("Ridge", None), ("classes", "'Ridge'"), TypeError),
    "family not a family": Bad(lambda m, X, y: register_family(Ridge, "ls"), ("Family", "'ls'"), TypeError),
    "L1 penalty": Bad(_set(estimator=LogisticRegression(l1_ratio=1, solver="saga")), ("L1", "l1_ratio=0")),
    "elastic net": Bad(_set(estimator=LogisticRegression(l1_ratio=0.5, solver="saga")), ("L1", "0.5")),
    "L1 old spelling": Bad(_set(estimator=LogisticRegression(penalty="l1", solver="liblinear")), ("L1", "'l1'")),
    "positive ridge": Bad(_set(estimator=Ridge(positive=True)), ("positive=True", "positive=False"), kind="ridge"),
    "positive ols": Bad(_set(estimator=LinearRegression(positive=True)), ("positive=True",), kind="ols"),
    "C zero": Bad(_set(estimator__C=0), ("C", "0")),
    "C string": Bad(_set(estimator__C="strong"), ("'C' parameter", "'strong'")),
    "C None": Bad(_set(estimator__C=None), ("'C' parameter", "None")),
    "alpha negative": Bad(_set(estimator__alpha=-1.0), ("alpha", "-1"), kind="ridge"),
    "alpha of other targets": Bad(_set(estimator__alpha=np.array([1.0, 2.0])), ("targets", "2 != 3"), kind="targets"),
    "class weight negative": Bad(_set(estimator__class_weight={0: -1.0, 1: 1.0}), ("class_weight", "-1", ">= 0")),
    "class weight NaN": Bad(_set(estimator__class_weight={0: np.nan, 1: 1.0}), ("class_weight", "NaN")),
    "class weight infinite": Bad(_set(estimator__class_weight={0: np.inf, 1: 1.0}), ("class_weight", "infinity")),
    "class weight zero": Bad(
        lambda m, X, y: (
            clone(m).set_params(estimator__class_weight={0: 0.0, 1: 1.0}).fit(X, y).influence_on_params([1])
        ),
        ("class", "weight", "0"),
    ),
}

FIT = {
    "X NaN": Bad(lambda m, X, y: m.fit(_with(X, np.nan), y), ("X contains NaN",)),
    "X infinite": Bad(lambda m, X, y: m.fit(_with(X, np.inf), y), ("X contains infinity",)),
    "X 1-D": Bad(lambda m, X, y: m.fit(X[:, 0], y), ("Expected 2D array", "reshape")),
    "X 3-D": Bad(lambda m, X, y: m.fit(X[None], y), ("dim 3",)),
    "X empty": Bad(lambda m, X, y: m.fit(X[:0], y[:0]), ("0 sample",)),
    "X without columns": Bad(lambda m, X, y: m.fit(X[:, :0], y), ("0 feature",)),
    "X strings": Bad(lambda m, X, y: m.fit(X.astype(str)[:, :1].repeat(4, 1) + "a", y), ("could not convert string",)),
    "X complex": Bad(lambda m, X, y: m.fit(X + 1j, y), ("Complex data not supported",)),
    "X too large": Bad(lambda m, X, y: clone(m).fit(X * 1e160, y).influence_on_params([0]), ("overflow",), kind="ols"),
    "X scalar with weights": Bad(lambda m, X, y: m.fit(np.float64(3), y, sample_weight=ONES), ("Expected 2D array",)),
    "X None with weights": Bad(lambda m, X, y: m.fit(None, y, sample_weight=ONES), ("Expected 2D array",)),
    "X ragged with weights": Bad(lambda m, X, y: m.fit([[1, 2], [3]], y[:2], sample_weight=[1, 1]), ("inhomogeneous",)),
    "y shorter": Bad(lambda m, X, y: m.fit(X, y[:-1]), ("inconsistent", "60, 59")),
    "y NaN": Bad(lambda m, X, y: m.fit(X, _with(y, np.nan)), ("y contains NaN",), kind="ridge"),
    "y None": Bad(lambda m, X, y: m.fit(X, None), ("requires y",)),
    "y strings": Bad(lambda m, X, y: m.fit(X, ["a"] * len(X)), ("could not convert string",), kind="ridge"),
    "y continuous": Bad(lambda m, X, y: m.fit(X, X[:, 0]), ("continuous",)),
    "y one class": Bad(lambda m, X, y: m.fit(X, np.zeros(N)), ("2 classes", "one class")),
    "y 2-D for a classifier": Bad(lambda m, X, y: m.fit(X, np.c_[y, y]), ("1d array", "(60, 2)")),
    "weights negative": Bad(_weigh(-ONES), ("sample_weight", ">= 0", "-1")),
    "weights NaN": Bad(_weigh(_with(ONES, np.nan)), ("sample_weight", "NaN")),
    "weights infinite": Bad(_weigh(_with(ONES, np.inf)), ("sample_weight", "infinity")),
    "weights all zero": Bad(_weigh(0 * ONES), ("sample_weight", "zero for every row")),
    "weights 2-D": Bad(_weigh(ONES[:, None]), ("sample_weight", "1-D", "(60, 1)")),
    "weights shorter": Bad(_weigh(ONES[:-1]), ("sample_weight", "59", "60 rows")),
    "weights strings": Bad(_weigh(["a"] * N), ("sample_weight", "numbers")),
    "weights complex": Bad(_weigh(ONES * 1j), ("sample_weight", "numbers")),
    "weights ragged": Bad(_weigh([[1], [1, 2]]), ("sample_weight", "numbers")),
    "weights of a dict": Bad(_weigh({}), ("sample_weight", "numbers")),
    "weights zero for a class": Bad(
        lambda m, X, y: clone(m).fit(X, y, sample_weight=y.astype(float)).influence_on_params([1]),
        ("class", "weight", "0"),
    ),
    "weights zero for a balanced class": Bad(
        lambda m, X, y: (
            clone(m)
            .set_params(estimator__class_weight="balanced")
            .fit(X, y, sample_weight=y.astype(float))
            .influence_on_params([1])
        ),
        ("class", "weight", "0"),
    ),
    "fit parameter unknown": Bad(lambda m, X, y: m.fit(X, y, epochs=3), ("epochs",), TypeError),
}

TEST_ROWS = {
    "test X wrong width": Bad(lambda m, X, y: m.influence_on_output(X[:, :2]), ("2 features", "expecting 4")),
    "test X NaN": Bad(lambda m, X, y: m.influence_on_output(_with(X, np.nan)), ("X contains NaN",)),
    "test X infinite": Bad(lambda m, X, y: m.influence_on_output(_with(X, -np.inf)), ("X contains infinity",)),
    "test X NaN in sparse": Bad(
        lambda m, X, y: m.influence_on_output(sparse.csr_matrix(_with(X, np.nan))), ("X contains NaN",)
    ),
    "test X 1-D": Bad(lambda m, X, y: m.influence_on_output(X[0]), ("Expected 2D array", "reshape(1, -1)")),
    "test X empty": Bad(lambda m, X, y: m.influence_on_output(X[:0]), ("0 sample",)),
    "test X strings": Bad(lambda m, X, y: m.influence_on_output([["a"] * 4]), ("could not convert string", "'a'")),
    "test X other columns": Bad(
        lambda m, X, y: m.influence_on_output(pd.DataFrame(X, columns=["age", "height", "pulse", "iq"])),
        ("feature names", "iq"),
        kind="frame",
    ),
    "test X columns reordered": Bad(
        lambda m, X, y: m.influence_on_output(pd.DataFrame(X, columns=COLUMNS[::-1])), ("order",), kind="frame"
    ),
    "X without y": Bad(lambda m, X, y: m.influence_on_loss(X), ("y is needed with X",)),
    "y without X": Bad(lambda m, X, y: m.influence_on_loss(None, y), ("X is needed with y",)),
    "test y longer": Bad(_test(BINARY.X[:3], BINARY.y[:4]), ("same number of rows", "3 and 4")),
    "test y 2-D": Bad(_test(BINARY.X[:3], np.zeros((3, 2))), ("1d array", "(3, 2)")),
    "test y scalar": Bad(_test(BINARY.X[:1], 1), ("1d array",)),
    "test y scalar for regression": Bad(
        _test(LINE.X[:1], 1.0), ("dimension", "scalar"), (ValueError, TypeError), "ridge"
    ),
    "unseen label": Bad(_test(BINARY.X[:2], [0, 7]), ("not fitted on", "[7]", "[0, 1]")),
    "unseen string": Bad(_test(WORDS.X[:2], ["class z", "class q"]), ("'class q'", "class x"), kind="words"),
    "unseen labels of mixed types": Bad(
        _test(BINARY.X[:3], np.array([None, "a", 1], dtype=object)), ("not fitted on", "None", "[0, 1]")
    ),
    "unseen numbers for strings": Bad(_test(WORDS.X[:2], [0, 1]), ("not fitted on", "class x"), kind="words"),
    "missing label": Bad(_test(BINARY.X[:2], [np.nan, 1]), ("not fitted on", "nan")),
    "missing string label": Bad(
        _test(WORDS.X[:2], pd.Series([pd.NA, "class z"], dtype="string")), ("not fitted on", "NA"), kind="words"
    ),
    "test y NaN": Bad(_test(LINE.X[:2], [np.nan, 1]), ("y contains NaN",), kind="ridge"),
    "test y strings": Bad(_test(LINE.X[:2], ["a", "b"]), ("could not convert string",), kind="ridge"),
    "too few targets": Bad(_test(TARGETS.X[:2], np.ones((2, 2))), ("2 targets", "fitted on 3"), kind="targets"),
    "one target of three": Bad(_test(TARGETS.X[:2], np.ones(2)), ("1 targets", "fitted on 3"), kind="targets"),
    "test weights negative": Bad(
        lambda m, X, y: m.influence_on_loss(X[:2], y[:2], sample_weight=[-1, 1]), ("sample_weight", ">= 0", "-1")
    ),
    "test weights shorter": Bad(
        lambda m, X, y: m.influence_on_loss(X[:3], y[:3], sample_weight=[1, 1]), ("sample_weight", "2 for 3 rows")
    ),
    "test weights all zero": Bad(
        lambda m, X, y: m.influence_on_loss(X[:2], y[:2], sample_weight=[0, 0], aggregate="mean"), ("zero",)
    ),
    "test weights for training rows": Bad(
        # One row has been unlearned: the training rows are those still in the model.
        lambda m, X, y: m.influence_on_loss(sample_weight=ONES),
        ("sample_weight", "60 for 59 rows"),
    ),
    "loss class": Bad(_loss(losses.SquaredError), ("losses.SquaredError()", "class"), TypeError),
    "loss string": Bad(_loss("log_loss"), ("losses.Loss", "'log_loss'"), TypeError),
    "loss softmax on regression": Bad(_loss(losses.Softmax()), ("Softmax", "Ridge"), kind="ridge"),
    "loss logistic on regression": Bad(_loss(losses.Logistic()), ("Logistic", "Ridge"), kind="ridge"),
    "loss softmax on two classes": Bad(_loss(losses.Softmax()), ("Softmax", "output")),
    "loss logistic on three classes": Bad(_loss(losses.Logistic()), ("Logistic", "output"), kind="softmax"),
    "loss squared on three classes": Bad(_loss(losses.SquaredError()), ("SquaredError", "output"), kind="softmax"),
    "loss without a gradient": Bad(
        lambda m, X, y: m.set_params(method="first_order").influence_on_loss(X, y, loss=_ValueOnly()),
        ("_ValueOnly", "gradient", "method='newton'"),
        NotImplementedError,
    ),
}

INDICES = {
    "index negative": Bad(_rows([0, -1]), ("negative", "-1", "0 to 59")),
    "index too large": Bad(_rows([60]), ("0 to 59", "60")),
    "index beyond int64": Bad(_rows(np.array([2**63], dtype=np.uint64)), ("0 to 59", f"got {2**63}")),
    "index float": Bad(_rows([1.0, 2.0]), ("integers", "float64")),
    "index NaN": Bad(_rows([1, np.nan]), ("integers", "float64")),
    "index string": Bad(_rows(["1", "2"]), ("integers", "<U1")),
    "index None": Bad(_rows([1, None]), ("integers", "object")),
    "index scalar": Bad(_rows(3), ("1-D", "[i]")),
    "index string scalar": Bad(_rows("all"), ("1-D", "str")),
    "index 2-D": Bad(_rows([[1, 2]]), ("1-D", "2 dimensions")),
    "index ragged": Bad(_rows([[1], [2, 3]]), ("1-D", "ragged")),
    "index generator": Bad(_rows(i for i in range(3)), ("1-D", "generator")),
    "index set": Bad(_rows({1, 2}), ("1-D", "set")),
    "index twice": Bad(_rows([5, 1, 5]), ("row 5", "more than once")),
    "index removed": Bad(_rows([0, GONE]), (f"row {GONE}", "already been removed", "sample_indices_")),
    "mask shorter": Bad(_rows(np.ones(N - 1, dtype=bool)), ("mask", "60", "59")),
    "mask of a removed row": Bad(_rows(np.arange(N) == GONE), (f"row {GONE}", "already been removed")),
    "mask with NA": Bad(_rows(pd.Series([True, pd.NA] * 30, dtype="boolean")), ("integers", "mask")),
    "mask and numbers mixed": Bad(_rows([True, 3]), ("integers", "mask")),
    "output index": Bad(lambda m, X, y: m.influence_on_output(X, [99]), ("0 to 59", "99")),
    "loss index": Bad(lambda m, X, y: m.influence_on_loss(X, y, [0, 0]), ("row 0", "more than once")),
    "leverage index": Bad(lambda m, X, y: m.leverages([GONE]), ("already been removed",)),
    "self influence index": Bad(lambda m, X, y: m.self_influence([1.5]), ("integers", "float64")),
    "unlearn index": Bad(lambda m, X, y: m.unlearn([-2]), ("negative", "-2")),
}

GROUPS = {
    "groups shorter": Bad(_groups(ALTERNATE[:-1]), ("groups", "(60,)", "(59,)")),
    "groups 2-D": Bad(_groups(ALTERNATE[:, None]), ("groups", "(60,)", "(60, 1)")),
    "groups scalar": Bad(_groups(3), ("groups", "(60,)", "()")),
    "groups a name": Bad(_groups("region"), ("groups", "region", "X[")),
    "groups ragged": Bad(_groups([[1], [1, 2]]), ("groups", "one label per row")),
    "groups NaN": Bad(_groups(_with(ALTERNATE, np.nan)), ("groups", "missing", "row 3")),
    "groups NaN among strings": Bad(_groups(["a", "b", "a", np.nan] * 15), ("groups", "missing", "row 3")),
    "groups None": Bad(_groups(["a", "b", "a", None] * 15), ("groups", "missing", "row 3")),
    "groups NaT": Bad(_groups(pd.to_datetime(["2020-01-01", None] * 30)), ("groups", "missing", "row 1")),
    "groups NA": Bad(_groups(pd.Series(["a", "b", pd.NA] * 20)), ("groups", "missing", "row 2")),
    "groups NA strings": Bad(
        _groups(pd.Series(["a", "b", pd.NA] * 20, dtype="string")), ("groups", "missing", "row 2")
    ),
    "groups NA integers": Bad(_groups(pd.Series([1, 2, pd.NA] * 20, dtype="Int64")), ("groups", "missing", "row 2")),
    "groups of mixed types": Bad(_groups(np.array(["a", 1, 2] * 20, dtype=object)), ("groups", "one type")),
    "groups of a mixed list": Bad(_groups(["a", 1, 2] * 20), ("groups", "one type")),
    "groups with indices": Bad(
        lambda m, X, y: m.influence_on_params([0], groups=ALTERNATE), ("indices or groups", "not both")
    ),
    "group of a class": Bad(_groups(BINARY.y), ("group 0", "class 0", "Keep at least one")),
    "group of a class by name": Bad(_groups(WORDS.y), ("group class x", "class class x"), kind="words"),
    "group of every row": Bad(_groups(np.zeros(N)), ("group 0", "every row", "keep at least one")),
}

CHOICES = {
    "response unknown": Bad(
        lambda m, X, y: m.influence_on_output(response_method="proba"), ("'predict_proba'", "'proba'")
    ),
    "response None": Bad(lambda m, X, y: m.influence_on_output(response_method=None), ("response_method", "None")),
    "predict of a classifier": Bad(
        lambda m, X, y: m.influence_on_output(response_method="predict"), ("regressors", "'predict_proba'")
    ),
    "predict_proba of a regressor": Bad(
        lambda m, X, y: m.influence_on_output(response_method="predict_proba"), ("Ridge", "'raw'"), kind="ridge"
    ),
    "aggregate unknown": Bad(lambda m, X, y: m.influence_on_loss(aggregate="median"), ("'mean', 'sum'", "'median'")),
    "aggregate flag": Bad(lambda m, X, y: m.influence_on_loss(aggregate=True), ("'mean', 'sum'", "True")),
    "order unknown": Bad(lambda m, X, y: m.top_influences(X, y, order="worst"), ("'harmful'", "'worst'")),
    "k zero": Bad(lambda m, X, y: m.top_influences(X, y, k=0), ("k must be", ">= 1", "got 0")),
    "k float": Bad(lambda m, X, y: m.top_influences(X, y, k=2.0), ("k must be an integer", "2.0")),
    "top without labels": Bad(lambda m, X, y: m.top_influences(X, None), ("labels y",)),
    "on unknown": Bad(lambda m, X, y: m.self_influence(on="params"), ("'loss', 'output'", "'params'")),
    "B of another length": Bad(lambda m, X, y: m.curvature_solve(np.ones(4)), ("(5,)", "(4,)")),
    "B 3-D": Bad(lambda m, X, y: m.curvature_solve(np.ones((5, 1, 1))), ("(5, k)", "(5, 1, 1)")),
    "B NaN": Bad(lambda m, X, y: m.curvature_solve(np.full(5, np.nan)), ("B", "NaN")),
    "B strings": Bad(lambda m, X, y: m.curvature_solve(["a"] * 5), ("B must hold", "numbers")),
    "B complex": Bad(lambda m, X, y: m.curvature_solve(np.full(5, 1j)), ("B must hold", "numbers")),
    "B None": Bad(lambda m, X, y: m.curvature_solve(None), ("B must", "(5,)")),
    "certificate before unlearn": Bad(
        lambda m, X, y: InfluenceEstimator(LogisticRegression()).fit(X, y).certificate_,
        ("certificate_", "unlearn"),
        AttributeError,
    ),
}

UNLEARN = {
    "unlearn None": Bad(lambda m, X, y: m.unlearn(None), ("indices=None", "all")),
    "unlearn every row": Bad(
        lambda m, X, y: m.unlearn(m.sample_indices_), ("every row", "39", "keep at least one"), kind="ridge"
    ),
    "unlearn a class": Bad(lambda m, X, y: m.unlearn(np.flatnonzero(y == 1)), ("class 1", "Keep at least one")),
    "unlearn a class by name": Bad(
        lambda m, X, y: m.unlearn(np.flatnonzero((y == "class z") & (np.arange(N) != GONE))), ("class z",), kind="words"
    ),
    "unlearn again": Bad(lambda m, X, y: m.unlearn([GONE]), ("already been removed",), kind="cv"),
    "unlearn a set": Bad(lambda m, X, y: m.unlearn({1, 2}), ("1-D", "set"), kind="targets"),
    "tol zero": Bad(lambda m, X, y: m.unlearn([0], tol=0), ("tol", "between 0 and 1", "0")),
    "tol one": Bad(lambda m, X, y: m.unlearn([0], tol=1.0), ("tol", "between 0 and 1", "1.0")),
    "tol NaN": Bad(lambda m, X, y: m.unlearn([0], tol=np.nan), ("tol", "nan")),
    "tol string": Bad(lambda m, X, y: m.unlearn([0], tol="small"), ("tol", "'small'")),
    "max_iter zero": Bad(lambda m, X, y: m.unlearn([0], max_iter=0), ("max_iter", ">= 1", "0")),
    "max_iter float": Bad(lambda m, X, y: m.unlearn([0], max_iter=3.0), ("max_iter", "integer", "3.0")),
    "max_iter bool": Bad(lambda m, X, y: m.unlearn([0], max_iter=True), ("max_iter", "integer", "True")),
    "unlearn with a bad solver": Bad(lambda m, X, y: m.set_params(solver="gd").unlearn([0]), ("'auto', 'direct'",)),
    "unlearn by newton with an approximation": Bad(
        lambda m, X, y: m.set_params(solver="diagonal").unlearn([0]), ("method='newton'", "'diagonal'", "'cg'")
    ),
}

BAD = {**CONSTRUCTOR, **SOLVERS, **ESTIMATOR, **FIT, **TEST_ROWS, **INDICES, **GROUPS, **CHOICES, **UNLEARN}


class _ValueOnly(losses.Loss):
    def value(self, y, f):
        return np.abs(f[:, 0] - y)
