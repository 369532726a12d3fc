"""One small table in every container that people keep rows in, and labels in every kind of column."""

import numpy as np
import pandas as pd
import polars as pl
from scipy import sparse

COLUMNS = ["flag", "small", "byte", "whole", "real", "rare"]
NUMPY_TYPES = {"flag": "bool", "small": "int8", "byte": "uint8", "whole": "int64", "real": "float64", "rare": "float64"}
N = 60


def matrix(n=N, seed=0):
    """Rows (n, 6) in float64: truths, integers, and quarters, so that every type below holds them exactly."""
    rng = np.random.default_rng(seed)
    return np.column_stack(
        [
            rng.integers(0, 2, n),
            rng.integers(-5, 6, n),
            rng.integers(0, 9, n),
            rng.integers(-20, 21, n),
            rng.integers(-12, 13, n) / 4,
            rng.integers(-12, 13, n) / 4 * (rng.random(n) < 0.3),
        ]
    ).astype(float)


def labels(X, seed=0):
    """Three overlapping classes in turn, 0, 1 and 2."""
    noise = np.random.default_rng(seed).normal(size=len(X))
    return np.digitize(X[:, 1] / 3 + X[:, 4] - X[:, 0] + noise, [-1.0, 0.8])


PLAIN, PLAIN_TEST = matrix(), matrix(25, seed=1)
LABELS, LABELS_TEST = labels(PLAIN), labels(PLAIN_TEST, seed=1)
for _array in (PLAIN, PLAIN_TEST, LABELS, LABELS_TEST):
    _array.setflags(write=False)


def pandas(X, **types):
    """A frame with the types of NUMPY_TYPES, or others for some columns."""
    return pd.DataFrame(X, columns=COLUMNS).astype({**NUMPY_TYPES, **types})


def polars(X, **types):
    return pl.DataFrame({name: X[:, j].astype(NUMPY_TYPES[name]) for j, name in enumerate(COLUMNS)}).cast(types)


def _indexed(X, index):
    frame = pandas(X)
    frame.index = index
    return frame


def _two_level(X):
    frame = pandas(X)
    frame.columns = pd.MultiIndex.from_product([["a", "b"], ["x", "y", "z"]])
    return frame


class Arrayed:
    """Rows that only say how to become an array, as tensors do."""

    def __init__(self, X):
        self.X = np.array(X)
        self.shape = self.X.shape

    def __len__(self):
        return len(self.X)

    def __array__(self, dtype=None, copy=None):
        return np.array(self.X, dtype=dtype)

    def __getitem__(self, rows):
        return Arrayed(self.X[rows])


# What holds the same numbers, and makes a model the same as float64 rows do.
SAME = {
    "pandas": pandas,
    "pandas nullable": lambda X: pandas(X).convert_dtypes(),
    "pandas one nullable": lambda X: pandas(X, flag="boolean", whole="Int64"),
    "pandas on arrow": lambda X: pandas(X).convert_dtypes(dtype_backend="pyarrow"),
    "pandas numeric categories": lambda X: pandas(X, byte="category", small="category"),
    "pandas objects": lambda X: pandas(X).astype(object),
    "pandas shuffled index": lambda X: _indexed(X, np.random.default_rng(2).permutation(len(X))),
    "pandas repeated index": lambda X: _indexed(X, np.arange(len(X)) // 7),
    "pandas text index": lambda X: _indexed(X, [f"row {i}" for i in range(len(X))]),
    "pandas index of two": lambda X: _indexed(X, pd.MultiIndex.from_arrays([np.arange(len(X)) % 3, np.arange(len(X))])),
    "pandas columns of two levels": _two_level,
    "pandas numbered columns": lambda X: pd.DataFrame(X),
    "pandas sparse columns": lambda X: pd.DataFrame(X, columns=COLUMNS).astype(pd.SparseDtype(float, 0.0)),
    "polars": polars,
    "polars wide": lambda X: polars(X, byte=pl.UInt64, small=pl.Int64),
    "list": lambda X: X.tolist(),
    "tuples": lambda X: [tuple(row) for row in X],
    "fortran order": np.asfortranarray,
    "reversed view": lambda X: X[::-1].copy()[::-1],
    "every other column": lambda X: np.repeat(X, 2, axis=1)[:, ::2],
    "big endian": lambda X: X.astype(">f8"),
    "objects": lambda X: X.astype(object),
    "long double": lambda X: X.astype(np.longdouble),
    "arrayed": Arrayed,
    "csr": sparse.csr_matrix,
    "csc": sparse.csc_matrix,
    "coo": sparse.coo_matrix,
    "csr array": sparse.csr_array,
    "csc array": sparse.csc_array,
    "coo array": sparse.coo_array,
    "lil": sparse.lil_matrix,
    "dok array": sparse.dok_array,
    "csr of stored zeros": lambda X: _with_stored_zeros(X),
    "csr unsorted": lambda X: _unsorted(X),
    "csr long indices": lambda X: _long_indices(X),
}


def _with_stored_zeros(X):
    rows, columns = np.indices(X.shape).reshape(2, -1)
    return sparse.csr_matrix((X.ravel(), (rows, columns)), shape=X.shape)


def _unsorted(X):
    """Entries of each row from the last column to the first, one of them in two parts that add up."""
    X = sparse.csr_matrix(X)
    parts = [sparse.csr_matrix((row.data[::-1], row.indices[::-1], [0, row.nnz]), shape=(1, X.shape[1])) for row in X]
    data = np.concatenate([part.data for part in parts])
    indices = np.concatenate([part.indices for part in parts])
    return sparse.csr_matrix((data, indices, X.indptr), shape=X.shape)


def _long_indices(X):
    X = sparse.csr_matrix(X)
    X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    return X


# Tables of integers and truths only: (rows in float64, container).
INTEGERS = {
    "int8": lambda X: X.astype(np.int8),
    "uint8": lambda X: X.astype(np.uint8),
    "int64": lambda X: X.astype(np.int64),
    "csr of int8": lambda X: sparse.csr_matrix(X.astype(np.int8)),
    "csr of uint64": lambda X: sparse.csr_matrix(X.astype(np.uint64)),
    "pandas uint8": lambda X: pd.DataFrame(X.astype(np.uint8), columns=COLUMNS),
    "polars uint8": lambda X: pl.DataFrame(X.astype(np.uint8), schema=COLUMNS),
}
TRUTHS = {
    "bool": lambda X: X.astype(bool),
    "csr of bool": lambda X: sparse.csr_matrix(X.astype(bool)),
    "pandas bool": lambda X: pd.DataFrame(X.astype(bool), columns=COLUMNS),
    "pandas boolean": lambda X: pd.DataFrame(X.astype(bool), columns=COLUMNS).astype("boolean"),
    "polars bool": lambda X: pl.DataFrame(X.astype(bool), schema=COLUMNS),
}
SINGLE = {
    "float32": lambda X: X.astype(np.float32),
    "float16": lambda X: X.astype(np.float16),
    "pandas float32": lambda X: pandas(X, **dict.fromkeys(COLUMNS, "float32")),
    "pandas float32 and integers": lambda X: pandas(X, whole="int16", real="float32", rare="float32"),
    "pandas Float32": lambda X: pandas(X, **dict.fromkeys(COLUMNS, "Float32")),
    "polars float32": lambda X: polars(X, **dict.fromkeys(COLUMNS, pl.Float32)),
    "csr float32": lambda X: sparse.csr_matrix(X, dtype=np.float32),
    "csc array float32": lambda X: sparse.csc_array(X, dtype=np.float32),
}

# Labels 0, 1, 2 as people keep them; each keeps the order of the classes.
NAMES = np.array(["low", "mid", "top"])
LABELLED = {
    "list": lambda y: y.tolist(),
    "uint8": lambda y: y.astype(np.uint8),
    "floats": lambda y: y.astype(float),
    "text": lambda y: NAMES[y],
    "text objects": lambda y: NAMES[y].astype(object),
    "text list": lambda y: NAMES[y].tolist(),
    "series": lambda y: pd.Series(y, index=np.random.default_rng(3).permutation(len(y))),
    "series Int64": lambda y: pd.Series(y, dtype="Int64"),
    "series str": lambda y: pd.Series(NAMES[y]),
    "series string": lambda y: pd.Series(NAMES[y], dtype="string"),
    "series objects": lambda y: pd.Series(NAMES[y], dtype=object),
    "series categories": lambda y: pd.Series(pd.Categorical(NAMES[y])),
    "series ordered categories": lambda y: pd.Series(pd.Categorical(NAMES[y], NAMES[::-1], ordered=True)),
    "series numeric categories": lambda y: pd.Series(pd.Categorical(y)),
    "categorical": lambda y: pd.Categorical(NAMES[y]),
    "index": lambda y: pd.Index(NAMES[y]),
    "series on arrow": lambda y: pd.Series(NAMES[y], dtype="string[pyarrow]"),
    "series of arrow integers": lambda y: pd.Series(y, dtype="int32[pyarrow]"),
    "polars": lambda y: pl.Series(y),
    "polars text": lambda y: pl.Series(NAMES[y].tolist()),
    "polars categories": lambda y: pl.Series(NAMES[y].tolist(), dtype=pl.Categorical),
    "polars enum": lambda y: pl.Series(NAMES[y].tolist(), dtype=pl.Enum(NAMES.tolist())),
}
TWO_LABELS = {
    "bool": lambda y: y.astype(bool),
    "series bool": lambda y: pd.Series(y.astype(bool)),
    "series boolean": lambda y: pd.Series(y.astype(bool), dtype="boolean"),
    "polars bool": lambda y: pl.Series(y.astype(bool)),
    "plus minus": lambda y: 2 * y - 1,
}
NUMBERS = {
    "float32": lambda y: y.astype(np.float32),
    "int8": lambda y: y.astype(np.int8),
    "bool": lambda y: y.astype(bool),
    "series Int64": lambda y: pd.Series(y, dtype="Int64"),
    "series boolean": lambda y: pd.Series(y.astype(bool), dtype="boolean"),
    "series Float32": lambda y: pd.Series(y, dtype="Float32"),
    "series numeric categories": lambda y: pd.Series(pd.Categorical(y)),
    "frame of one column": lambda y: pd.DataFrame({"y": y}),
    "polars": lambda y: pl.Series(y),
    "polars bool": lambda y: pl.Series(y.astype(bool)),
    "objects": lambda y: y.astype(object),
    "list": lambda y: y.tolist(),
}
