import pytest

from mtl_d2.tasks.base import TaskKind
from mtl_d2.tasks.registry import is_known, task_kind


def test_a_kind_that_cannot_be_evaluated_or_built_is_refused_where_it_is_registered():
    class Unfinished(TaskKind):
        name = "unfinished"
        record_key = sample_key = "unfinished"

        def build_layers(self, cfg, shapes):
            return None

    with pytest.raises(TypeError, match="Unfinished must have tools and truth and build_head"):
        task_kind(Unfinished)
    assert not is_known("unfinished")
