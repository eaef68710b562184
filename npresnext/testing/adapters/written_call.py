"""A call of a framework that is written once: its source is also what a reproduction prints."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from ..._support.typing import NumPyArray as Array
from ..reproducible_call import ReproducibleCall
from ..subject import SIGNATURES

Translate = Callable[..., dict[str, Any]]  # (operands by name, **window) -> the arguments of the framework


def written_call(
    role: str,
    function: Callable[..., Any],
    imports: tuple[str, ...],
    translate: Translate,
    names: Mapping[str, str] | None = None,
) -> ReproducibleCall:
    """Return a function of a framework as a callable for ``check_conv``.

    Parameters
    ----------
    role : "forward" or "backward"
        Which operands the function takes: x, weight, bias; or grad_output, x, weight.
    function : callable
        ``function(*operands, **arguments)``. It stands at the top of a module, uses nothing but its parameters and what
        `imports` names, and its only ``return`` is its last statement.
    imports : tuple of str
        What the lines of a reproduction import besides NumPy, such as "mlx.core as mx".
    translate : callable
        ``translate(operands, stride=..., padding=..., dilation=..., groups=...)`` returns the window in the framework's
        words; the function is given those of them that it has a parameter for. A reproduction shows the values in place
        of the names.
    names : mapping, optional
        Arguments that a reproduction writes as an expression, such as ``{"conv": "torch.nn.functional.conv2d"}``.
    """
    takes, _ = SIGNATURES[role]
    wanted = inspect.signature(function).parameters

    def arguments_of(operands: dict[str, Array], **window: Any) -> dict[str, Any]:
        return {name: value for name, value in translate(operands, **window).items() if name in wanted}

    def call(*operands: Array, **window: Any) -> Any:
        return function(*operands, **arguments_of(dict(zip(takes, operands)), **window))

    def write_lines(operands: dict[str, Array], **window: Any) -> list[str]:
        arguments = {name: repr(value) for name, value in arguments_of(operands, **window).items()}
        absent = {name for name, array in operands.items() if array is None}
        return write_body(function, role, {**arguments, **(names or {})}, absent)

    return ReproducibleCall(call, imports, write_lines)


def write_body(
    function: Callable[..., Any], role: str, expressions: Mapping[str, str], absent: Collection[str]
) -> list[str]:
    """Return the statements of a function as lines, some of its parameters replaced by expressions.

    What depends on ``bias is None`` or ``groups == 1`` is decided: `absent` are the operands that are None.
    """
    tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert isinstance(tree, ast.FunctionDef)
    statements = tree.body[1:] if ast.get_docstring(tree) is not None else tree.body
    results = ast.parse(", ".join(SIGNATURES[role][1]), mode="eval").body
    lines: list[str] = []
    for statement in flat(map(_Replace(expressions, absent).visit, statements)):
        if isinstance(statement, ast.Return):
            lines.append(f"{ast.unparse(results)} = {ast.unparse(statement.value or ast.Constant(None))}")
        else:
            lines += ast.unparse(statement).splitlines()
    return [line.replace("(dx, dw, db) = ", "dx, dw, db = ") for line in lines]


def flat(statements: Iterable[Any]) -> Iterator[ast.stmt]:
    """Yield statements, those of a list one by one."""
    for statement in statements:
        yield from statement if isinstance(statement, list) else [statement]


class _Replace(ast.NodeTransformer):
    """Replaces names that are read by expressions, and decides whether the bias is None."""

    def __init__(self, expressions: Mapping[str, str], absent: Collection[str]) -> None:
        self.expressions, self.absent = expressions, absent

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if isinstance(node.ctx, ast.Load) and node.id in self.expressions:
            return ast.parse(self.expressions[node.id], mode="eval").body
        return node

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        taken = self.decide(node.test)
        return self.generic_visit(node) if taken is None else self.visit(node.body if taken else node.orelse)

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.AST]:
        taken = self.decide(node.test)
        if taken is None:
            return self.generic_visit(node)
        return [self.visit(statement) for statement in (node.body if taken else node.orelse)]

    def decide(self, test: ast.expr) -> bool | None:
        """Return whether a condition holds, or None if it is neither about the bias nor about the number of groups."""
        written = ast.unparse(test)
        if written == "bias is None":
            return "bias" in self.absent
        if written == "groups == 1":
            return self.expressions["groups"] == "1"
        return None

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if ast.unparse(node.func) == "getattr" and isinstance(node.args[1], ast.Constant):
            return ast.Attribute(node.args[0], str(node.args[1].value), ast.Load())
        return node
