import pytest
from detectron2.utils.events import EventStorage
from torch.nn import functional as F


@pytest.fixture(autouse=True)
def storage():
    with EventStorage() as events:
        yield events


@pytest.fixture
def float64(monkeypatch):
    """Binary cross entropy in its input's precision; torch takes that of the target, single in detectron2's losses."""
    entropy = F.binary_cross_entropy_with_logits
    monkeypatch.setattr(F, "binary_cross_entropy_with_logits", lambda x, y, **options: entropy(x, y.to(x), **options))
