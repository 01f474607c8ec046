"""A name with arguments as a config writes it, such as ``adamw(betas=(0.9, 0.95))``: it is parsed, never executed."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


class CallError(ValueError):
    """A text that is no name with arguments, or arguments that what it names does not take."""


@dataclass(frozen=True)
class Call:
    """A name with arguments.

    Attributes:
        name: what is called.
        args: by position: numbers, texts, None, booleans, lists, tuples and dicts of them, or further calls.
        kwargs: by name.
    """

    name: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)


def parse_call(text: str) -> Call:
    """What ``text`` says: ``name`` or ``name(1, key=(2, 3), other=Name(4))``.

    Raises:
        CallError: it says something else; the message has the text.
    """
    try:
        node = ast.parse(str(text).strip(), mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise CallError(f"{text!r} is not a name with arguments, such as name(1, key=(2, 3))") from error
    value = Call(node.id) if isinstance(node, ast.Name) else _value(node, text)
    if not isinstance(value, Call):
        raise CallError(f"{text!r} is not a name with arguments, such as name(1, key=(2, 3))")
    return value


def _value(node: ast.expr, text: str) -> Any:
    """A literal or a call."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if any(keyword.arg is None for keyword in node.keywords):
            raise CallError(f"{text!r}: arguments behind ** are not taken; write them out")
        kwargs = {str(keyword.arg): _value(keyword.value, text) for keyword in node.keywords}
        return Call(node.func.id, tuple(_value(argument, text) for argument in node.args), kwargs)
    if isinstance(node, ast.List | ast.Tuple):
        values = [_value(element, text) for element in node.elts]
        return tuple(values) if isinstance(node, ast.Tuple) else values
    try:
        return ast.literal_eval(node)
    except ValueError as error:
        raise CallError(f"{text!r}: {ast.unparse(node)} is no number, text, list or call") from error


def wrong_arguments(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> str:
    """What is wrong with the arguments of ``function``, with its signature; empty where it takes them."""
    signature = inspect.signature(function)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()]
        plain = signature.replace(parameters=bare, return_annotation=inspect.Signature.empty)
        return f"{error}; its arguments are {plain}"
    return ""


def takes(function: Callable[..., Any], argument: str) -> bool:
    """Whether ``function`` has a parameter of that name."""
    return argument in inspect.signature(function).parameters
