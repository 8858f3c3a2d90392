"""Expressions in a `.pt2` file: arithmetic on sizes, and nothing else.

torch evaluates them as Python (`sympy.sympify`; a module of guards), so they are parsed here
first and every node of the tree held to a list. Nothing is evaluated.
"""

from __future__ import annotations

import ast
import re

# sympy's classes, and torch's own in torch.utils._sympy.functions.
SYMBOLIC = frozenset({
    "Symbol", "Integer", "Float", "Rational", "Add", "Mul", "Pow", "Max", "Min", "Abs", "Eq",
    "Ne", "Lt", "Le", "Gt", "Ge", "Equality", "Unequality", "StrictLessThan", "LessThan",
    "StrictGreaterThan", "GreaterThan", "And", "Or", "Not", "floor", "ceiling", "Piecewise",
    "ExprCondPair", "Mod", "FloorDiv", "ModularIndexing", "Where", "PythonMod", "CleanDiv",
    "CeilToInt", "FloorToInt", "CeilDiv", "LShift", "RShift", "PowByNatural", "FloatPow",
    "FloatTrueDiv", "IntTrueDiv", "TruncToFloat", "TruncToInt", "RoundToInt", "RoundDecimal",
    "ToFloat", "Identity", "IsNonOverlappingAndDenseIndicator",
})  # fmt: skip
CONSTANTS = frozenset(["oo", "zoo", "nan", "true", "false"])
SYMBOL = re.compile(r"[a-z]+\d+")
NUMBER = re.compile(r"-?[\d.]+(e[+-]?\d+)?")
ARITHMETIC = (
    ast.Expression, ast.Load, ast.keyword, ast.Tuple, ast.UnaryOp, ast.unaryop, ast.BinOp,
    ast.operator, ast.Compare, ast.cmpop, ast.BoolOp, ast.boolop,
)  # fmt: skip
# What a guard asks of a tensor, and the functions it computes with.
QUESTIONS = frozenset({"size", "stride", "storage_offset", "dim"})
FUNCTIONS = {
    "math": frozenset({"ceil", "floor", "trunc", "sqrt", "isnan", "inf"}),
    "torch": frozenset({"sym_max", "sym_min", "sym_not", "sym_float", "sym_int", "sym_ite"}),
}


def is_plain_size(text: str) -> bool:
    """Whether a symbolic size is arithmetic on symbols and numbers."""
    tree = _parse(text)
    return tree is not None and all(_fits_size(node) for node in ast.walk(tree))


def is_plain_guard(text: str) -> bool:
    """Whether a guard is arithmetic on the sizes of the inputs."""
    tree = _parse(text)
    return tree is not None and all(_fits_guard(node) for node in ast.walk(tree))


def _parse(text: str) -> ast.Expression | None:
    try:
        return ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _fits_size(node: ast.AST) -> bool:
    match node:
        case ast.Name(id=name):
            return name in SYMBOLIC | CONSTANTS or bool(SYMBOL.fullmatch(name))
        case ast.Call(func=called):
            return isinstance(called, ast.Name) and called.id in SYMBOLIC
        case ast.Constant(value=str(text)):  # sympy may evaluate it again
            return bool(SYMBOL.fullmatch(text) or NUMBER.fullmatch(text))
        case ast.Constant(value=value):
            return isinstance(value, bool | int | float)
    return isinstance(node, ARITHMETIC)


def _fits_guard(node: ast.AST) -> bool:
    match node:
        case ast.Name(id=name):
            return name == "L" or name in FUNCTIONS or name in {"min", "max", "abs"}
        case ast.Call(func=ast.Name(id=name)):
            return name in {"min", "max", "abs"}
        case ast.Call(func=called):
            return isinstance(called, ast.Attribute)
        case ast.Attribute(value=ast.Name(id=module), attr=name) if module in FUNCTIONS:
            return name in FUNCTIONS[module]
        case ast.Attribute(attr=name):
            return name in QUESTIONS
        case ast.Subscript() | ast.Index():
            return True
        case ast.Constant(value=value):
            plain = isinstance(value, bool | int | float | None)
            return plain or (isinstance(value, str) and bool(re.fullmatch(r"\w*", value)))
    return isinstance(node, ARITHMETIC)
