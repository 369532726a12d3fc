"""Does a text model with 25,000 columns stay within a gigabyte, and do its influences agree with refits?

Docstrings of numpy, scipy and scikit-learn as documents, or their paragraphs where more rows are asked for than there
are docstrings; the library that each is from as its label; word pairs as columns, which are never filled. The answers
for sparse rows are held against those for the same rows filled, on as many as can be. Memory is the peak of a process
of its own, the interpreter and all libraries included; every time is in units of one fit of the same pipeline's model
by scikit-learn, made in the same process.

    python bench_text.py [--rows 3000 6000]       prints the table and writes bench_text.json beside this file
"""

import argparse
import importlib
import inspect
import json
import multiprocessing
import pkgutil
import resource
import time
import warnings
from pathlib import Path

import numpy as np
import sklearn
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from versions import versions

from sklearn_influence import InfluenceEstimator
from sklearn_influence.diagnostics import agreement

OUT = Path(__file__).with_suffix(".json")
COLUMNS, TESTS, REFITS, FILLED = 25_000, 500, 30, 600
PRIVATE = {"tests", "conftest", "setup", "f2py", "distutils", "experimental"}


def docstrings(library):
    """Different docstrings of over 200 characters of a library's public functions, classes and methods."""
    package = importlib.import_module(library)
    modules = [package]
    for info in pkgutil.walk_packages(package.__path__, library + ".", onerror=lambda name: None):
        if any(part.startswith("_") or part in PRIVATE for part in info.name.split(".")):
            continue
        try:
            modules.append(importlib.import_module(info.name))
        except Exception:  # an optional dependency is missing
            continue
    texts = {}
    for module in modules:
        for name, thing in list(vars(module).items()):
            if (
                name.startswith("_")
                or not callable(thing)
                or not str(getattr(thing, "__module__", "")).startswith(library)
            ):
                continue
            members = vars(thing).items() if inspect.isclass(thing) else ()
            members = [member for own, member in members if own[0] != "_" and callable(member)]
            texts.update(dict.fromkeys(filter(None, map(inspect.getdoc, [thing, *members]))))
    return [text for text in texts if len(text) > 200]


def corpus(n_rows):
    documents = {text: library for library in ("numpy", "scipy", "sklearn") for text in docstrings(library)}
    if len(documents) < n_rows + TESTS:
        paragraphs = ((part, library) for text, library in documents.items() for part in text.split("\n\n"))
        documents = {part: library for part, library in paragraphs if len(part) > 200}
    return list(documents), np.where(np.array(list(documents.values())) == "scipy", "scipy", "other")


def peak():
    """Peak memory of this process so far, MiB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def timed(call, *arguments, **options):
    start = time.perf_counter()
    result = call(*arguments, **options)
    return result, time.perf_counter() - start


def split(documents, labels, n_rows):
    return train_test_split(documents, labels, train_size=n_rows, test_size=TESTS, random_state=0, stratify=labels)


def vectoriser():
    return TfidfVectorizer(max_features=COLUMNS, ngram_range=(1, 2), sublinear_tf=True)


def measure(estimator, documents, labels, n_rows):
    train, test, y, y_test = split(documents, labels, n_rows)
    pipeline = make_pipeline(vectoriser(), estimator)
    row = {"model": repr(estimator), "rows": n_rows, "before": peak()}
    model, _ = timed(InfluenceEstimator(pipeline).fit, train, y)
    X = model.estimator_[:-1].transform(train)
    row["columns"], row["entries"] = X.shape[1], X.nnz
    _, fit = timed(sklearn.clone(estimator).fit, X, y)
    row["fit"] = fit
    questions = {
        "effect of every row on mean test loss": lambda: model.influence_on_loss(test, y_test, aggregate="mean"),
        "all pairs": lambda: model.influence_on_loss(test, y_test),
        "outputs": lambda: model.influence_on_output(test),
        "strongest ten": lambda: model.top_influences(test, y_test),
        "leverages": lambda: model.leverages(),
        "self influence": lambda: model.self_influence(),
        "all pairs, first order": lambda: first_order(model).influence_on_loss(test, y_test),
    }
    mean = None
    for name, ask in questions.items():
        answer, seconds = timed(ask)
        row[name] = {"fits": seconds / fit, "peak": peak()}
        mean = answer if mean is None else mean
        del answer
    model.set_params(method="newton")
    row |= refits(model, estimator, X, y, model.estimator_[:-1].transform(test), mean)
    _, seconds = timed(model.unlearn, np.argsort(mean)[:10])
    row["unlearning 10 rows"] = {"fits": seconds / fit, "peak": peak()}
    row["param_bound"] = model.certificate_.param_bound
    return row


def first_order(model):
    return model.set_params(method="first_order")


def against_filled(estimator, documents, labels, n_rows):
    """Largest difference of the answers for sparse rows from those for the same rows filled, over the largest."""
    train, test, y, y_test = split(documents, labels, n_rows)
    words = vectoriser().fit(train)
    X, X_test, y = words.transform(train[:FILLED]), words.transform(test), y[:FILLED]
    models = InfluenceEstimator(estimator).fit(X, y), InfluenceEstimator(estimator).fit(X.toarray(), y)
    tests = X_test, X_test.toarray()
    differences = {"rows": FILLED}
    for method in ("newton", "first_order"):
        for name, ask in {
            "losses": lambda model, T: model.influence_on_loss(T, y_test),
            "outputs": lambda model, T: model.influence_on_output(T),
            "leverages": lambda model, T: model.leverages(),
            "strongest ten": lambda model, T: model.top_influences(T, y_test).influences,
        }.items():
            sparse, filled = (ask(model.set_params(method=method), T) for model, T in zip(models, tests, strict=True))
            differences[f"{name}, {method}"] = float(np.abs(sparse - filled).max() / np.abs(filled).max())
    return differences


def refits(model, estimator, X, y, X_test, mean):
    """The strongest rows and some others, refitted without each: predicted against actual change of the outputs."""
    order = np.argsort(mean)
    rows = np.unique(np.concatenate([order[:10], order[-10:], order[:: len(order) // (REFITS - 20)]]))
    tight = sklearn.clone(estimator).set_params(tol=1e-10, max_iter=10_000)
    everything = np.arange(len(y))

    def outputs(kept):
        return sklearn.clone(tight).fit(X[kept], y[kept]).decision_function(X_test)

    before = outputs(everything)
    actual = np.array([outputs(np.delete(everything, row)) - before for row in rows]).T
    delta = model.influence_on_params(rows)
    return {"refits": len(rows), **agreement(X_test @ delta[:, :-1].T + delta[:, -1], actual)}


def apart(function, estimator, n_rows):
    """In a process of its own, so that its peak is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_apart, (function, estimator, n_rows))


def _apart(function, estimator, n_rows):
    warnings.simplefilter("ignore")
    return function(estimator, *corpus(n_rows), n_rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[3000, 6000])
    options = parser.parse_args()
    estimators = LogisticRegression(C=10), RidgeClassifier(solver="sparse_cg")
    results = []
    for n_rows in options.rows:
        for estimator in estimators:
            row = apart(measure, estimator, n_rows)
            row["sparse against filled"] = apart(against_filled, estimator, n_rows)
            print(json.dumps(row, indent=1), flush=True)
            results.append(row)
    OUT.write_text(json.dumps({"versions": versions(), "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
