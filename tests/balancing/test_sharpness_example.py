"""The example that measures how sharp losses are."""

import importlib.util
from pathlib import Path

import pytest
import torch

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "sharpness.py"
spec = importlib.util.spec_from_file_location("sharpness", EXAMPLE)
sharpness = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sharpness)


@pytest.mark.parametrize("last", [7.0, -7.0])
def test_largest_eigenvalue_of_a_quadratic_has_its_sign(last):
    torch.manual_seed(0)
    curvatures = torch.tensor([1.0, 3.0, last, 0.0], dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q
    a, b = torch.randn(1, 2, dtype=torch.float64), torch.randn(2, dtype=torch.float64)
    a.requires_grad_(), b.requires_grad_()
    x = rotation @ torch.cat([a.flatten(), b])
    found = sharpness.largest_eigenvalue((curvatures * x.square()).sum() / 2, [a, b], steps=60)
    assert found == pytest.approx(last, rel=1e-6)
