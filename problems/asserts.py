"""Makes function cases out of tests that are written as Python assertions. The tests are read, never run.

    assert f(1, [2]) == 3            assert f("a") is None            assert not f([])

Arguments and results must be literals; numbers may be computed with, texts and lists added. `assert f(x)` asks for
True, `assert not f(x)` for False, both by value; `assert f(x) is True` asks for True itself. Each call gets arguments
of its own, so a test that lets one call see what another did to a list means something else here. What can't be turned
into cases is refused by its line: a loop, anything computed from a result, a keyword argument.

Results cross the sandbox's border as JSON: tuples are compared as lists and the keys of dictionaries as text, as
everywhere in this tool, and a set is refused.
"""

from __future__ import annotations

import ast
import math
import operator
import string
import warnings
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from problems.checker import Checker
from problems.problem import Case, ProblemError
from problems.values import any_length_integers, as_json, encoded

MAX_SOURCE_CHARACTERS = 4 << 20
MAX_SIZE = 8 << 20  # of all values of a module: a value counts one, eight characters or 64 bits of it one more
MAX_BITS = 1 << 16  # of a number: about MAX_DIGITS digits

EVALPLUS = Checker("floats", absolute=1e-6, relative=1e-7)

Values = Mapping[str, object]


class Budget:
    """Counts what the tests of one question make, since a line of them can ask for more than any machine holds."""

    def __init__(self) -> None:
        self.left = MAX_SIZE

    def spend(self, size: int) -> None:
        """Counts `size` more. ProblemError: the tests ask for too much."""
        self.left -= size
        if self.left < 0:
            raise ProblemError("the tests hold more values than can be read: make them smaller, or give cases as files")


_ARITHMETIC: Mapping[type[ast.operator], Callable[[Any, Any], object]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}


@dataclass(frozen=True, slots=True)
class Call:
    """Holds what one assertion says: `function(*arguments)` gives `expected`, of that very type if `exact`."""

    function: str
    arguments: tuple[object, ...]
    expected: object
    line: int
    exact: bool = False

    def case(self, where: str, *, public: bool = False) -> Case:
        """Returns the call as a case; raises ProblemError where text can't carry it."""
        form = "text"
        try:
            given = "\n".join(map(encoded, self.arguments))
            form = "JSON"
            return Case(given, as_json(self.expected), public, self.exact)
        except (TypeError, ValueError, SyntaxError, RecursionError, MemoryError) as error:
            why = f"has a value that {form} can't carry ({str(error)[:80]})"
            raise ProblemError(f"{where}, line {self.line}, {why}") from None


class Unsupported(ValueError):
    """Names the piece of a test that says something which no case can."""


def tree(source: str, where: str) -> ast.Module:
    """Returns the syntax tree of a test; raises ProblemError."""
    if len(source) > MAX_SOURCE_CHARACTERS:
        raise ProblemError(f"{where} has more than {MAX_SOURCE_CHARACTERS >> 20} million characters: make it shorter")
    try:
        with any_length_integers(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes in strings: the test's business
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ProblemError(f"{where} is not Python ({str(error)[:120] or type(error).__name__}): correct it") from None


def calls(
    body: Iterable[ast.stmt], where: str, values: Values | None = None, budget: Budget | None = None
) -> Iterator[Call]:
    """Yields what the assertions of `body` say; `values` are names that stand for literals. Raises ProblemError."""
    known, budget = ChainMap[str, object]({}, cast("dict[str, object]", values or {})), budget or Budget()
    for statement in body:
        try:
            if isinstance(statement, ast.Assert) and not _says_nothing(statement.test):
                yield _call(statement.test, known, budget)
            elif (name := _assigned(statement)) is not None:
                known[name] = value(statement.value, known, budget)  # type: ignore[attr-defined]
            elif not is_idle(statement):
                raise Unsupported(f"{_shown(statement)} is no assertion on the result of one call")
        except (Unsupported, RecursionError) as error:
            raise ProblemError(
                f"{where}, line {statement.lineno}: {error}: write assert f(ARGUMENTS) == RESULT with plain values"
            ) from None


def value(node: ast.expr, values: Values, budget: Budget) -> object:
    """Returns what an expression of literals and known names stands for; raises Unsupported."""
    match node:
        case ast.Constant(value=None | bool() | int() | float() | str() as constant):
            budget.spend(_size(constant))
            return constant
        case ast.Name(id=name) if name in values:
            budget.spend(_size(values[name]))
            return values[name]
        case ast.List(elts=items):
            return [value(item, values, budget) for item in items]
        case ast.Tuple(elts=items):
            return tuple(value(item, values, budget) for item in items)
        case ast.Set(elts=items) if not any(isinstance(item, ast.Starred) for item in items):
            return _hashable(node, lambda: {value(item, values, budget) for item in items})
        case ast.Call(func=ast.Name(id="set" | "frozenset" as name), args=items, keywords=[]) if len(items) < 2:
            return _hashable(node, lambda: _set(name, [value(item, values, budget) for item in items]))
        case ast.Dict(keys=keys, values=items) if all(key is not None for key in keys):
            pairs = [(key, item) for key, item in zip(keys, items, strict=True) if key is not None]
            return _hashable(
                node, lambda: {value(key, values, budget): value(item, values, budget) for key, item in pairs}
            )
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=operand):
            number = _number(operand, values, budget)
            return -number if isinstance(sign, ast.USub) else number
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            return _computed(type(op), value(left, values, budget), value(right, values, budget), budget)
    raise Unsupported(f"{_shown(node)} is no plain value")


def _call(test: ast.expr, values: Values, budget: Budget) -> Call:
    match test:
        case ast.Compare(left=ast.Call() as call, ops=[ast.Eq()], comparators=[expected]):
            return _called(call, value(expected, values, budget), values, budget)
        case ast.Compare(left=expected, ops=[ast.Eq()], comparators=[ast.Call() as call]):
            return _called(call, value(expected, values, budget), values, budget)
        case ast.Compare(left=ast.Call() as call, ops=[ast.Is()], comparators=[ast.Constant(None | bool() as single)]):
            return replace(_called(call, single, values, budget), exact=single is not None)
        case ast.UnaryOp(op=ast.Not(), operand=ast.Call() as call):
            return _called(call, False, values, budget)
        case ast.Call():
            return _called(test, True, values, budget)
    raise Unsupported(f"{_shown(test)} does not compare the result of one call with a plain value")


def _called(call: ast.Call, expected: object, values: Values, budget: Budget) -> Call:
    if call.keywords or any(isinstance(argument, ast.Starred) for argument in call.args):
        raise Unsupported(f"{_shown(call)} has arguments that are not given one by one and by position")
    arguments = tuple(value(argument, values, budget) for argument in call.args)
    return Call(_function(call.func), arguments, expected, call.lineno)


def _function(node: ast.expr) -> str:
    """Returns the name in `f`, `module.f` and `Solution().f`."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=ast.Name() | ast.Call(func=ast.Name(), args=[], keywords=[]), attr=name):
            return name
    raise Unsupported(f"{_shown(node)} is no function's name")


def _assigned(statement: ast.AST) -> str | None:
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)]):
            return name
    return None


def is_idle(statement: ast.stmt) -> bool:
    """Tells whether a statement of a test checks nothing: an import, a docstring, `pass`, `assert True`."""
    match statement:
        case ast.Import() | ast.ImportFrom() | ast.Pass() | ast.Assert() | ast.Expr(value=ast.Constant() | ast.Name()):
            return True
    return False


def _says_nothing(test: ast.expr) -> bool:
    return isinstance(test, ast.Constant) and bool(test.value)


def _hashable(node: ast.expr, made: Callable[[], object]) -> object:
    """Returns a set or a dictionary; raises Unsupported where a list is to be an element or a key."""
    try:
        return made()
    except TypeError as error:
        raise Unsupported(f"{_shown(node)} can't be made ({error})") from None


def _set(name: str, items: list[Any]) -> object:
    elements = set(items[0]) if items else set()
    return frozenset(elements) if name == "frozenset" else elements


def _number(node: ast.expr, values: Values, budget: Budget) -> float:
    number = value(node, values, budget)
    if not _is_number(number):
        raise Unsupported(f"{_shown(node)} is no number")
    return number  # type: ignore[return-value]


def _is_number(thing: object) -> bool:
    return isinstance(thing, int | float) and not isinstance(thing, bool)


def _computed(kind: type[ast.operator], left: Any, right: Any, budget: Budget) -> object:
    """Computes with numbers, and puts texts or lists together; raises Unsupported."""
    joined = kind is ast.Add and type(left) is type(right) and isinstance(left, str | list)
    if not joined and not (_is_number(left) and _is_number(right)):
        raise Unsupported(f"it computes with {type(left).__name__} and {type(right).__name__}")
    budget.spend(_size(left) + _size(right))
    if not joined and _bits(kind, left, right) > MAX_BITS:
        raise Unsupported("it computes a number that is too large")
    try:
        return _ARITHMETIC[kind](left, right)
    except ArithmeticError as error:
        raise Unsupported(f"it computes what can't be computed ({error})") from None


def _bits(kind: type[ast.operator], left: float, right: float) -> float:
    """Returns how many bits the result has at most; a negative power counts as too large."""
    one, other = (abs(side).bit_length() if isinstance(side, int) else 64 for side in (left, right))
    if kind is ast.Pow:
        return right * max(1, one) if right >= 0 else math.inf
    return one + other


def _size(thing: object) -> int:
    """Returns what a value counts in the budget."""
    if isinstance(thing, list | tuple | set | frozenset):
        return 1 + sum(map(_size, thing))
    if isinstance(thing, dict):
        return 1 + sum(map(_size, thing)) + sum(map(_size, thing.values()))
    if isinstance(thing, str):
        return 1 + len(thing) // 8
    return 1 + thing.bit_length() // 64 if isinstance(thing, int) else 1


@any_length_integers()
def _shown(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return repr(text if len(text) <= 60 else text[:57] + "...")


def definition(function: str, count: int) -> str:
    """Returns the first line of a function that a test calls with `count` arguments."""
    parameters = ", ".join(string.ascii_lowercase[:count]) if count <= 26 else "*arguments"
    return f"def {function}({parameters}):\n    "


def table(module: ast.Module, body: Sequence[ast.stmt], function: str, where: str) -> list[Call] | None:
    """Returns the calls in EvalPlus's form: `inputs = [...]`, `results = [...]`, a loop that compares them one by one.

    `body` holds these three, `module` the function `assertion` that compares. None where `body` has another form;
    ProblemError where the comparison is neither `==` nor that of floats within 1e-6, for which `checker` has a rule.
    """
    found = {name: statement for statement in body if (name := _assigned(statement)) in ("inputs", "results")}
    if len(found) != 2:
        return None
    if not _compares(module) or not _loops(body, function):
        raise ProblemError(f"{where} does not compare results by ==, which is all that is supported")
    try:
        inputs, results = (_items(found[name].value) for name in ("inputs", "results"))  # type: ignore[attr-defined]
    except (Unsupported, RecursionError) as error:
        raise ProblemError(f"{where}: {str(error)[:200]}, so its cases are not known without running it") from None
    if len(inputs) != len(results) or not all(isinstance(given, list | tuple) for given in inputs):
        raise ProblemError(f"{where} has inputs and results that do not belong together")
    line = found["inputs"].lineno
    return [Call(function, tuple(given), result, line) for given, result in zip(inputs, results, strict=True)]


def _items(node: ast.expr) -> list[Any]:
    items = value(node, {}, Budget())
    if not isinstance(items, list):
        raise Unsupported(f"{_shown(node)} is no list")
    return items


def _loops(body: Sequence[ast.stmt], function: str) -> bool:
    wanted = f"for i, (inp, exp) in enumerate(zip(inputs, results)):\n    assertion({function}(*inp), exp, 0)"
    return [ast.unparse(node) for node in body if isinstance(node, ast.For | ast.While | ast.Expr)] == [wanted]


def _compares(module: ast.Module) -> bool:
    """Tells whether `assertion(out, exp, atol)` asks for `out == exp`, whatever else it tolerates."""
    helpers = [node for node in module.body if isinstance(node, ast.FunctionDef) and node.name == "assertion"]
    matches = [node for helper in helpers for node in ast.walk(helper) if _assigned(node) == "exact_match"]
    return [ast.unparse(match) for match in matches] == ["exact_match = out == exp"]


def checker(calls: Iterable[Call]) -> Checker | None:
    """Returns EvalPlus's rule where some of its results are floats, which may differ a little."""
    return EVALPLUS if any(_tolerated(call.expected) for call in calls) else None


def _tolerated(result: object) -> bool:
    if isinstance(result, list | tuple):
        return bool(result) and all(isinstance(item, float) for item in result)
    return isinstance(result, float)
