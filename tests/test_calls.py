"""Names with arguments are read as text; nothing in them is executed."""

import pytest

from mtl_d2.calls import Call, CallError, parse_call, wrong_arguments


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("adamw", Call("adamw")),
        (" Flip() ", Call("Flip")),
        (
            "f(1, -2.5, (3,), [4, None], {'a': True}, b='c')",
            Call("f", (1, -2.5, (3,), [4, None], {"a": True}), {"b": "c"}),
        ),
        ("f(g(1), [h(x=2)], k=i)", None),
        ("f(g(1), [h(x=2)], k=i())", Call("f", (Call("g", (1,)), [Call("h", (), {"x": 2})]), {"k": Call("i")})),
    ],
)
def test_text_is_a_name_with_arguments(text, call):
    if call is None:
        with pytest.raises(CallError, match="i is no number, text, list or call"):
            parse_call(text)
    else:
        assert parse_call(text) == call


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "a b",
        "f(",
        "f(1)(2)",
        "a.b(1)",
        "f(**{})",
        "f(*[1])",
        "f(1 + x)",
        "__import__('os').system('true')",
        "f(\0)",
    ],
)
def test_everything_else_is_refused_with_the_text(text):
    with pytest.raises(CallError, match=r"f\(1, key=|name\(1, key=|is no number|are not taken"):
        parse_call(text)


def test_wrong_arguments_are_told_with_the_signature_without_its_types():
    def function(first: int, second: float = 2.0) -> None: ...

    assert wrong_arguments(function, 1, second=3) == ""
    assert wrong_arguments(function, 1, third=3) == (
        "got an unexpected keyword argument 'third'; its arguments are (first, second=2.0)"
    )
    assert wrong_arguments(function, 1, function=3).startswith("got an unexpected keyword argument 'function'")
