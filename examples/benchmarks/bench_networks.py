"""Do influences on a neural network say what retraining it does?

scikit-learn's MLPClassifier on breast cancer and digits, in settings that people take: the default ones too, which are
hardly fitted to a minimum. For 50 rows and 5 groups of 5 % of the rows, the predicted change of the raw outputs of 200
test rows is compared with that of retraining warm, from the network's own minimum, and cold, by scikit-learn's fit from
the same random state (10 of the rows, and the groups); where a retraining takes seconds, for fewer. The linearisability
stands beside: how far a warm retraining moves the outputs' Jacobian. Gauss-Newton is the same prediction without the
curvature of the network itself.

    python bench_networks.py          prints the results and writes bench_networks.json beside this file
    python bench_networks.py NAME     one setting, printed only
"""

import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from versions import versions

from sklearn_influence import InfluenceEstimator
from sklearn_influence.diagnostics import agreement, linearisability

OUT = Path(__file__).with_suffix(".json")
N_TEST, SHARE = 200, 0.05
# Removed rows, those of them also retrained cold, and groups.
MANY, FEW = (50, 10, 5), (12, 2, 2)
# Data, hidden units, activation, solver, alpha, removals. "bc defaults" is MLPClassifier's own but for the units.
SETTINGS = {
    "bc tanh lbfgs 10": ("breast cancer", 20, "tanh", "lbfgs", 10.0, MANY),
    "bc tanh lbfgs 1": ("breast cancer", 20, "tanh", "lbfgs", 1.0, MANY),
    "bc tanh lbfgs 1e-4": ("breast cancer", 20, "tanh", "lbfgs", 1e-4, MANY),
    "bc defaults": ("breast cancer", 20, "relu", "adam", 1e-4, FEW),
    "bc relu lbfgs 1": ("breast cancer", 20, "relu", "lbfgs", 1.0, FEW),
    "bc relu adam 1": ("breast cancer", 20, "relu", "adam", 1.0, FEW),
    "digits tanh lbfgs 10": ("digits", 12, "tanh", "lbfgs", 10.0, MANY),
    "digits tanh lbfgs 1": ("digits", 12, "tanh", "lbfgs", 1.0, MANY),
    "digits tanh adam 1e-4": ("digits", 12, "tanh", "adam", 1e-4, FEW),
    "digits relu lbfgs 1": ("digits", 12, "relu", "lbfgs", 1.0, FEW),
}


def problem(name):
    """Scaled rows and labels, the test rows apart."""
    X, y = (load_breast_cancer if name == "breast cancer" else load_digits)(return_X_y=True)
    order = np.random.RandomState(0).permutation(len(X))
    X, y = StandardScaler().fit_transform(X)[order], y[order]
    return X[:-N_TEST], y[:-N_TEST], X[-N_TEST:], y[-N_TEST:]


def compared(found):
    """Figures of a comparison with warm retraining."""
    return {
        "correlation": found.warm.correlation,
        "slope": found.warm.slope,
        "relative_error": found.warm.relative_error,
        "median_relative_error_of_a_removal": float(np.median(found.relative_errors)),
        "jacobian_moved_median": float(np.median(found.jacobian_moved)),
        "jacobian_moved_max": float(found.jacobian_moved.max()),
        "retrained_to_a_minimum": f"{int(found.settled.sum())} of {len(found.settled)}",
    }


def measure(name):
    """Everything that is known of one setting; the text of the refusal where it is refused."""
    data, units, activation, solver, alpha, (n_rows, n_cold, n_groups) = SETTINGS[name]
    X, y, X_test, y_test = problem(data)
    settings = dict(activation=activation, solver=solver, alpha=alpha, random_state=0)
    result = dict(data=data, hidden_layer_sizes=units, **settings, n_rows=n_rows, n_cold=n_cold, n_groups=n_groups)
    random = np.random.RandomState(1)
    rows = np.sort(random.choice(len(X), n_rows, replace=False))
    groups = [np.sort(random.choice(len(X), int(SHARE * len(X)), replace=False)) for _ in range(n_groups)]
    started = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = InfluenceEstimator(MLPClassifier([units], **settings)).fit(X, y)
        result["accuracy"] = model.score(X_test, y_test)
        result["fitted_relative_decrement"] = model.stationarity_.relative
        try:
            one = linearisability(model, rows, X_test, cold=False)
        except ValueError as refusal:
            result["refused"] = str(refusal)
            return result | {"seconds": time.perf_counter() - started}
        result["rows"] = compared(one)
        together = linearisability(model, X=X_test, groups=groups)
        result["groups"] = compared(together) | {"cold": {k: together.cold[k] for k in ("correlation", "slope")}}
        few = linearisability(model, rows[:n_cold], X_test)
        result["rows"]["cold"] = {k: few.cold[k] for k in ("correlation", "slope")}
        linear = InfluenceEstimator(model.estimator, representation="dual").fit(X, y)
        gauss_newton = agreement(linear.influence_on_output(X_test, rows), one.retrained_warm)
        result["rows"]["gauss_newton"] = {k: gauss_newton[k] for k in ("correlation", "slope")}
    result["warnings"] = sorted({str(one.message)[:200] for one in caught})
    return result | {"seconds": time.perf_counter() - started}


def told(name, result):
    if "refused" in result:
        return f"{name:22s} refused in {result['seconds']:.0f} s: {result['refused']}"
    rows, groups = result["rows"], result["groups"]
    return (
        f"{name:22s} rows {rows['correlation']:6.3f} / {rows['slope']:6.3f}, half of them within "
        f"{rows['median_relative_error_of_a_removal']:.1%}; cold {rows['cold']['correlation']:6.3f}; Gauss-Newton "
        f"{rows['gauss_newton']['correlation']:6.3f} / {rows['gauss_newton']['slope']:6.3f}; Jacobian moves "
        f"{rows['jacobian_moved_median']:.2g} (most {rows['jacobian_moved_max']:.2g}); groups "
        f"{groups['correlation']:6.3f} / {groups['slope']:6.3f}, cold {groups['cold']['correlation']:6.3f}; "
        f"{result['seconds']:.0f} s"
    )


def main():
    results = {}
    for name in sys.argv[1:] or SETTINGS:
        results[name] = measure(name)
        print(told(name, results[name]), flush=True)
    if not sys.argv[1:]:
        text = json.dumps({"versions": versions(), "settings": results}, indent=1)
        OUT.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
