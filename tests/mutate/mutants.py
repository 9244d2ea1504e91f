"""What may be taken out of a function, one thing at a time."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from copy import deepcopy
from typing import NamedTuple

Function = ast.FunctionDef | ast.AsyncFunctionDef

SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Pow: ast.Mult,
}
# What is said in them is for people, or for a type checker.
UNTOUCHED = (ast.JoinedStr, ast.Assert, ast.arguments)


class Mutant(NamedTuple):
    """A module in which one thing is missing. ``whole`` is a function of which nothing is left."""

    line: int
    what: str
    source: str
    whole: bool = False


def mutants(source: str, names: set[str]) -> Iterator[Mutant]:
    """Each mutant of the functions of ``source`` that are called so (``Class.method``); all functions of ``{"*"}``."""
    for name, function in functions(ast.parse(source)):
        if names & {name, "*"}:
            yield from _of(source, name, function)


def functions(module: ast.Module) -> list[tuple[str, Function]]:
    """The functions of a module by name, each with what is defined inside of it."""
    found: list[tuple[str, Function]] = []
    for node in module.body:
        if isinstance(node, Function):
            found.append((node.name, node))
        elif isinstance(node, ast.ClassDef):
            found += [(f"{node.name}.{inner.name}", inner) for inner in node.body if isinstance(inner, Function)]
    return [(name, node) for name, node in found if not _is_declaration(node)]


def _is_declaration(function: Function) -> bool:
    """Whether there is nothing to take out: an overload, a method of a protocol."""
    return all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in function.body)


def _of(source: str, name: str, function: Function) -> Iterator[Mutant]:
    """By index: each mutant is made in a copy of the module, in which the node is found again."""
    yield Mutant(function.lineno, f"{name}: nothing left of it", _without(source, function), whole=True)
    for index, node in enumerate(_touched(function)):
        for number, (what, _) in enumerate(_changes(node)):
            copy = ast.parse(source)
            place = _touched(_same(copy, function))[index]
            new = _changes(place)[number][1]
            _Replace(place, new).visit(copy)
            text = ast.unparse(ast.fix_missing_locations(copy))
            yield Mutant(getattr(node, "lineno", function.lineno), f"{name}: {what}", text)


def _without(source: str, function: Function) -> str:
    copy = ast.parse(source)
    place = _same(copy, function)
    is_context = any("contextmanager" in ast.unparse(decorator) for decorator in place.decorator_list)
    generates = any(isinstance(node, ast.Yield | ast.YieldFrom) for node in ast.walk(place))
    place.body = ast.parse("yield" if is_context else "return\nyield" if generates else "pass").body
    return ast.unparse(ast.fix_missing_locations(copy))


def _same(module: ast.Module, function: Function) -> Function:
    return next(node for _, node in functions(module) if node.lineno == function.lineno)


def _touched(function: Function) -> list[ast.AST]:
    """Its nodes in order, without what is never changed."""
    found: list[ast.AST] = []

    def visit(node: ast.AST) -> None:
        found.append(node)
        for child in ast.iter_child_nodes(node):
            if not isinstance(node, ast.Raise) and not isinstance(child, UNTOUCHED):
                visit(child)

    for statement in function.body:
        visit(statement)
    return found


def _changes(node: ast.AST) -> list[tuple[str, ast.AST | list[ast.stmt]]]:
    """What may stand in the place of ``node``, each with how a person would say it."""
    if not isinstance(node, ast.stmt | ast.expr):
        return []
    shown = _short(node)
    nothing: list[tuple[str, ast.AST | list[ast.stmt]]] = [(f"without `{shown}`", ast.Pass())]
    match node:
        case ast.Expr(value=ast.Constant()) | ast.Expr(value=ast.Yield()):
            return []
        case ast.Expr() if "faults.point" in shown:
            return []  # where crash tests end a process, and nothing else
        case ast.Expr() | ast.Raise() | ast.Delete() | ast.AugAssign() | ast.Continue() | ast.Break():
            return nothing
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            return nothing
        case ast.Return(value=value) if value is not None and not _is_none(value):
            return [(f"None in the place of `{shown}`", ast.Return())]
        case ast.If() | ast.IfExp() | ast.While():
            return [(f"the contrary of `{_short(node.test)}`", _with(node, test=ast.Not()))]
        case ast.With(items=items, body=body) | ast.AsyncWith(items=items, body=body):
            if all(item.optional_vars is None for item in items):
                return [(f"not inside `{', '.join(map(_short, items))}`", list(body))]
        case ast.Try(body=body, finalbody=last) if last:
            return [("without its finally", _with(node, finalbody=[]) if node.handlers else list(body))]
        case ast.BoolOp(op=op) | ast.BinOp(op=op) if type(op) in SWAPPED and not _is_text(node):
            return [(f"`{shown}` with {SWAPPED[type(op)].__name__}", _with(node, op=SWAPPED[type(op)]()))]
        case ast.Compare(ops=[op]) if type(op) in SWAPPED:
            return [(f"`{shown}` with {SWAPPED[type(op)].__name__}", _with(node, ops=[SWAPPED[type(op)]()]))]
        case ast.Constant(value=bool(value)):
            return [(f"{not value} in the place of {value}", ast.Constant(not value))]
        case ast.Constant(value=int(value) | float(value)):
            return [(f"{value + 1} in the place of {value}", ast.Constant(value + 1))]
    return []


def _with(node: ast.AST, **fields: object) -> ast.AST:
    copy = deepcopy(node)
    for field, value in fields.items():
        inner = getattr(copy, field)
        setattr(copy, field, ast.UnaryOp(ast.Not(), inner) if isinstance(value, ast.Not) else value)
    return copy


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is_text(node: ast.AST) -> bool:
    return any(
        isinstance(inner, ast.JoinedStr) or (isinstance(inner, ast.Constant) and isinstance(inner.value, str | bytes))
        for inner in ast.walk(node)
    )


def _short(node: ast.AST) -> str:
    text = ast.unparse(node).splitlines()[0]
    return text if len(text) <= 70 else f"{text[:67]}..."


class _Replace(ast.NodeTransformer):
    def __init__(self, place: ast.AST, new: ast.AST | list[ast.stmt]) -> None:
        self._place = place
        self._new = new

    def visit(self, node: ast.AST) -> ast.AST | list[ast.stmt]:
        return self._new if node is self._place else self.generic_visit(node)
