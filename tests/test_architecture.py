"""The house: imports go downward only, names stay where they belong, every module has its tests."""

import ast
from pathlib import Path

import pytest

import sklearn_influence

PACKAGE = Path(sklearn_influence.__file__).parent
TESTS = Path(__file__).parent
LEVELS = [
    {"_matrices"},
    {"_backend"},
    {"_validation", "_parallel", "losses"},
    {"_design", "_minibatch", "_pivoted", "networks"},
    {"_device_design", "kernels"},
    {"curvature", "solvers", "objective"},
    {"fisher"},
    {"primal", "newton", "leave_one_out", "certificates", "privacy"},
    {"retained", "second_order"},
    {"effects"},
    {"groups"},
    {"dual", "replacements", "editing", "linearised"},
    {"alpha", "parameter_space"},
    {"influence", "families", "fitted"},
    {"attributes", "composite"},
    {"recording"},
    {"ranking"},
    {"unlearning"},
    {"questions"},
    {"base"},
    {"what_if"},
    {"own_models"},
    {"wrapper", "kernel_models", "linearised_models"},
    {"quantities", "retrained"},
    {"diagnostics"},
    {"_report"},
    {"plotting"},
    {"report"},
    {"__init__"},
    {"_table"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: i for i, names in enumerate(LEVELS) for name in names}
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))


def room(path):
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imports(path, everywhere=True):
    """(module path as written, level of dots, names) of each import."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if everywhere else tree.body
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            yield node.module or "", node.level, [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, 0, []


def inner(path):
    """Rooms of the package that a module imports."""
    depth = len(path.relative_to(PACKAGE).parts)
    for module, level, names in imports(path):
        if level == 0:
            assert not module.startswith("sklearn_influence"), f"{path.name} imports its own package by name"
            continue
        if level < depth:  # within a sub-package
            continue
        yield from ([module.split(".")[0]] if module else names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_downward(path):
    own = room(path)
    assert own in LEVEL, f"{own} has no level: say in LEVELS where it stands"
    if own == "__init__":
        return
    for other in inner(path):
        if other in ("InfluenceEstimator", "__version__"):  # the public face, for the command line
            other = "__init__"
        assert LEVEL[other] < LEVEL[own], f"{own} imports {other}, which stands no lower"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_private_of_scikit_learn(path):
    for module, level, names in imports(path):
        if level == 0 and module.split(".")[0] == "sklearn":
            parts = module.split(".") + names
            assert not any(part.startswith("_") for part in parts), f"{path.name}: {module} {names}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_matplotlib_and_dask_are_imported_inside_functions_only(path):
    for module, _, _ in imports(path, everywhere=False):
        assert module.split(".")[0] not in ("matplotlib", "dask", "pandas", "cupy", "torch")


def test_only_the_backend_names_cupy():
    assert [path.name for path in MODULES if "cupy" in path.read_text(encoding="utf-8").lower()] == ["_backend.py"]


def test_only_families_name_primal_and_dual():
    for path in MODULES:
        if set(inner(path)) & {"primal", "dual"} and room(path) not in (
            "dual",
            "linearised",
        ):  # both build on the primal
            assert room(path) == "families", f"{path.name} names primal or dual"


def test_solvers_know_no_curvature_and_curvature_no_objective():
    for path in MODULES:
        seen = set(inner(path))
        if path.stem == "solvers":
            assert not seen & {"curvature", "objective", "primal"}
        if path.stem == "curvature":
            assert not seen & {"objective", "primal", "losses"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_and_functions_stay_readable(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 450
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            start = node.body[0].end_lineno if ast.get_docstring(node) else node.lineno
            assert node.end_lineno - start <= 60, f"{path.name}: {node.name} is longer than a screen"


def test_every_module_has_its_tests():
    names = {path.name for path in TESTS.rglob("test_*.py")}
    for path in MODULES:
        if not path.stem.startswith("__"):
            assert f"test_{path.stem.lstrip('_')}.py" in names, f"{path.name} has no test file"


def test_public_names():
    assert sklearn_influence.__all__ == [
        "InfluenceEstimator",
        "KernelLogisticRegression",
        "LinearisedClassifier",
        "LinearisedRegressor",
        "NeuralTangentKernel",
        "__version__",
        "audit",
        "register_family",
    ]
    for name in (
        *sklearn_influence.__all__,
        "solvers",
        "losses",
        "families",
        "kernels",
        "diagnostics",
        "certificates",
        "plotting",
        "privacy",
    ):
        assert hasattr(sklearn_influence, name)
    assert (PACKAGE / "py.typed").is_file()
