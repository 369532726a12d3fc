"""Every example that a reader can copy runs: docstrings, the README, the documentation."""

import doctest
import importlib
import pkgutil
import re
import warnings
from pathlib import Path

import pytest

import sklearn_influence

ROOT = Path(__file__).parent.parent
MODULES = [
    info.name
    for info in pkgutil.walk_packages(sklearn_influence.__path__, "sklearn_influence.")
    if not info.name.endswith("__main__")
]
PAGES = [ROOT / "README.rst", *sorted((ROOT / "doc").glob("*.rst"))]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    module = importlib.import_module(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert doctest.testmod(module, optionflags=FLAGS).failed == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages(page):
    """Without a warning, which would be the first thing that a reader who copies them sees."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", UserWarning)
        assert doctest.testfile(str(page), module_relative=False, optionflags=FLAGS, encoding="utf-8").failed == 0


@pytest.mark.parametrize("name", [name for name in MODULES if "._" not in name])
def test_public_names_have_an_example(name):
    module = importlib.import_module(name)
    for public in getattr(module, "__all__", []):
        thing = getattr(module, public)
        if getattr(thing, "__module__", None) == name and public not in ("SolveInfo", "supported_names"):
            assert ">>>" in (thing.__doc__ or ""), f"{name}.{public} has no example"


def test_public_methods_have_an_example():
    own = [part for part in sklearn_influence.InfluenceEstimator.__mro__[1:] if "sklearn_influence" in part.__module__]
    methods = [(name, method) for part in own for name, method in vars(part).items() if not name.startswith("_")]
    assert len(own) > 3
    for name, method in methods:
        if callable(method):
            assert ">>>" in (method.__doc__ or ""), f"{name} has no example"


def test_every_page_is_in_the_index():
    listed = re.findall(r"^   (\w+)$", (ROOT / "doc" / "index.rst").read_text(encoding="utf-8"), re.M)
    assert set(listed) == {page.stem for page in PAGES} - {"README", "index"}


def test_commands_of_the_readme_name_things_that_exist():
    text = (ROOT / "README.rst").read_text(encoding="utf-8")
    extras = re.findall(r'"\.\[(\w+)\]"', text)
    assert sorted(extras) == ["plot", "test"]
    metadata = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for extra in extras:
        assert re.search(rf"^{extra} = \[", metadata, re.M)
    assert 'sklearn-influence = "sklearn_influence.__main__:main"' in metadata
