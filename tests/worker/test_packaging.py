"""The list of modules that are compiled where the worker is packaged (worker/setup.py).

Nothing is compiled here: that takes over a minute, and the image's build and the benches do it.
These are the mistakes in the list, or in a module, that would only be seen there.
"""

from __future__ import annotations

import ast
import runpy
from functools import cache
from pathlib import Path

import pytest

WORKER = Path(__file__).parents[2] / "worker"
SOURCE = WORKER / "src" / "batchfleet_worker"
COMPILED: tuple[str, ...] = runpy.run_path(str(WORKER / "setup.py"))["COMPILED"]
INTERPRETED = sorted(
    path for path in SOURCE.rglob("*.py") if path.parent != SOURCE or path.stem not in COMPILED
)
CANNOT_BE_A_BASE = {"Enum", "IntEnum", "StrEnum", "NamedTuple", "Protocol", "Exception"}
"""A class with one of these bases is an ordinary Python class after compilation too."""


def classes(path: Path) -> list[ast.ClassDef]:
    return [
        node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)
    ]


def bases(node: ast.ClassDef) -> set[str]:
    """Their last names: ``Enum`` of ``enum.Enum``, ``Protocol`` of ``Protocol[T]``."""
    inner = [base.value if isinstance(base, ast.Subscript) else base for base in node.bases]
    return {ast.unparse(base).rpartition(".")[2] for base in inner}


@cache
def native() -> set[str]:
    """The classes that nothing interpreted can be a kind of, by name."""
    return {
        node.name
        for module in COMPILED
        for node in classes(SOURCE / f"{module}.py")
        if not bases(node) & CANNOT_BE_A_BASE
    }


def test_every_module_of_the_list_is_there_once() -> None:
    assert [name for name in COMPILED if not (SOURCE / f"{name}.py").is_file()] == []
    assert len(set(COMPILED)) == len(COMPILED)


@pytest.mark.parametrize("path", INTERPRETED, ids=lambda path: path.stem)
def test_nothing_interpreted_is_a_kind_of_a_compiled_class(path: Path) -> None:
    """Python would refuse the class when the sidecar starts: "interpreted classes cannot inherit
    from compiled"."""
    known = native()
    assert known  # or this test sees no classes at all
    assert {node.name: bases(node) & known for node in classes(path) if bases(node) & known} == {}


def reads_what_it_set(function: ast.FunctionDef) -> list[str]:
    """Attributes that are asked for by ``is`` after the function gave them an object, with a call
    between."""
    given = {
        ast.unparse(target): node.lineno
        for node in ast.walk(function)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Attribute) and not isinstance(node.value, ast.Constant)
    }
    return [
        ast.unparse(node)
        for node in ast.walk(function)
        if isinstance(node, ast.Compare)
        and isinstance(node.ops[0], ast.Is)
        and ast.unparse(node.comparators[0]) != "None"
        and given.get(ast.unparse(node.left), node.lineno) < node.lineno
    ]


@pytest.mark.parametrize("module", COMPILED)
def test_no_method_trusts_what_it_gave_an_attribute(module: str) -> None:
    """``self.x = y; call(); if self.x is y``: mypyc still believes the type of ``y``, and raises
    TypeError if the call has set None.  Ask in a method of its own."""
    functions = [
        node
        for node in ast.walk(ast.parse((SOURCE / f"{module}.py").read_text()))
        if isinstance(node, ast.FunctionDef)
    ]
    assert {node.name: found for node in functions if (found := reads_what_it_set(node))} == {}


@pytest.mark.parametrize("module", COMPILED)
def test_no_slice_begins_where_it_may_be_past_its_end(module: str) -> None:
    """``piece[at - 1 : at]`` of bytes with ``at`` 0: empty in Python, SystemError in mypyc 2.4."""
    slices = [
        node
        for node in ast.walk(ast.parse((SOURCE / f"{module}.py").read_text()))
        if isinstance(node, ast.Slice) and node.lower is not None and node.upper is not None
    ]
    computed = [node for node in slices if not isinstance(node.lower, ast.Name | ast.Constant)]
    assert [ast.unparse(node) for node in computed] == []
