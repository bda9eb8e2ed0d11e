"""Makes function cases out of a pytest module with plain assertions. The module is read, never run.

    def test_small(): assert double(2) == 4

    @pytest.mark.parametrize("given, expected", [(3, 6), pytest.param(-1, -2, id="negative")])
    def test_more(given, expected): assert double(given) == expected

All assertions are on one function. Imports, constants at module level and further test functions are welcome; fixtures,
classes, loops and anything else that pytest would have to run is refused by its line (asserts.py says the rest).
"""

from __future__ import annotations

import ast
import itertools
import math
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch

from problems import asserts
from problems.asserts import Budget, Call, Unsupported, Values
from problems.problem import MAX_CASES, Case, ProblemError


def is_module(file: str) -> bool:
    """Tells whether a file of this name has tests for pytest."""
    return file == "tests.py" or fnmatch(file, "test_*.py")


def read(
    texts: Mapping[str, str], entry_point: str | None, public: Sequence[object]
) -> tuple[str, tuple[Case, ...], Sequence[str]]:
    """Returns the function that the modules in `texts`, by their paths, test, its cases, and each case's test function.

    Cases of the test functions named in `public` are public. Raises ProblemError.
    """
    budget = Budget()
    budget.spend(2 * sum(map(len, texts.values())))  # a module of four million characters, or several as long together
    found = [(path, name, call) for path, text in texts.items() for name, call in _calls(text, path, budget)]
    first = next(iter(texts))
    if not found:
        raise ProblemError(f"{first} has no assertion in a function test_*: write one")
    if unknown := [name for name in public if name not in {name for _, name, _ in found}]:
        raise ProblemError(f"public_cases makes {unknown[0]!r} public, but no test function in {first} has that name")
    function = entry_point or found[0][2].function
    for path, _, call in found:
        if call.function != function:
            raise ProblemError(f"{path}, line {call.line}, tests {call.function!r} instead of {function!r}: test one")
    cases = tuple(call.case(path, public=name in public) for path, name, call in found)
    return function, cases, [name for _, name, _ in found]


def _calls(text: str, path: str, budget: Budget) -> Iterator[tuple[str, Call]]:
    """Yields every assertion of every test function, as often as its parameters ask, with the function's name."""
    constants: dict[str, object] = {}
    count = 0
    for node in asserts.tree(text, path).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test"):
            for values in _parameters(node, constants, path, budget):
                for call in asserts.calls(node.body, path, ChainMap(values, constants), budget):
                    count += 1
                    if count > MAX_CASES:
                        raise ProblemError(f"{path} has more than {MAX_CASES} cases: give fewer")
                    yield node.name, call
        elif not asserts.is_idle(node):
            _constant(node, constants, path, budget)


def _constant(node: ast.stmt, constants: dict[str, object], path: str, budget: Budget) -> None:
    match node:
        case ast.Assign(targets=[ast.Name(id=name)], value=expression):
            try:
                constants[name] = asserts.value(expression, constants, budget)
                return
            except (Unsupported, RecursionError) as error:
                raise _refusal(path, node, str(error)) from None
    raise _refusal(path, node, "only imports, constants and functions test_* can be read")


def _parameters(node: ast.FunctionDef, constants: Values, path: str, budget: Budget) -> Iterator[dict[str, object]]:
    """Yields what the parameters of a test function stand for: the product of its parametrize decorators."""
    tables = []
    for decorator in node.decorator_list:
        try:
            tables.append(_table(decorator, constants, budget))
        except (Unsupported, RecursionError) as error:
            raise _refusal(path, decorator, str(error)) from None
    given = {name for table in tables for name in table[0]}
    if given != {argument.arg for argument in ast.walk(node.args) if isinstance(argument, ast.arg)}:
        raise _refusal(path, node, f"the parameters of {node.name} are not those of its parametrize decorators")
    if math.prod(map(len, tables)) > MAX_CASES:
        where = f"{path}, line {node.lineno}"
        raise ProblemError(f"{where}: {node.name} has more than {MAX_CASES} cases: give fewer")
    for combination in itertools.product(*reversed(tables)):
        budget.spend(1 + len(node.body))
        yield {name: value for row in combination for name, value in row.items()}


def _table(decorator: ast.expr, constants: Values, budget: Budget) -> list[dict[str, object]]:
    """Returns the rows of `@pytest.mark.parametrize("a, b", [(1, 2), ...])`; raises Unsupported."""
    match decorator:
        case ast.Call(args=[names, ast.List(elts=rows) | ast.Tuple(elts=rows)], keywords=keywords) if (
            rows and _is_parametrize(decorator) and all(keyword.arg == "ids" for keyword in keywords)
        ):
            columns = _columns(asserts.value(names, constants, budget))
            alone = isinstance(names, ast.Constant) and len(columns) == 1  # "a" stands for whole values, ["a"] does not
            return [_row(columns, row, constants, alone, budget) for row in rows]
    raise Unsupported("only @pytest.mark.parametrize(NAMES, [VALUES, ...]) can be read as a decorator")


def _is_parametrize(decorator: ast.Call) -> bool:
    return ast.unparse(decorator.func) in ("pytest.mark.parametrize", "mark.parametrize")


def _columns(names: object) -> list[str]:
    if isinstance(names, str):
        return [name.strip() for name in names.split(",") if name.strip()]
    return [str(name) for name in names] if isinstance(names, list | tuple) else []


def _row(columns: Sequence[str], row: ast.expr, constants: Values, alone: bool, budget: Budget) -> dict[str, object]:
    match row:
        case ast.Call(func=func, args=cells, keywords=keywords) if ast.unparse(func) == "pytest.param":
            if any(keyword.arg != "id" for keyword in keywords):
                raise Unsupported("a pytest.param with marks can't be read")
            values: Sequence[object] = [asserts.value(cell, constants, budget) for cell in cells]
        case _:
            given = asserts.value(row, constants, budget)
            values = given if not alone and isinstance(given, list | tuple) else [given]
    if len(values) != len(columns):
        raise Unsupported(f"a row has {len(values)} values for {len(columns)} parameters")
    return dict(zip(columns, values, strict=True))


def _refusal(path: str, node: ast.stmt | ast.expr, reason: str) -> ProblemError:
    return ProblemError(f"{path}, line {node.lineno}: {reason}: write plain assertions in functions test_*")
