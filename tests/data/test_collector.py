"""Records are made without searches for garbage in cycles."""

import gc

import pytest

from mtl_d2.data.collector import collection_paused
from mtl_d2.data.reading import read_records


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_afterwards_as_it_was_also_after_an_error(enabled):
    was_enabled = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with pytest.raises(ZeroDivisionError), collection_paused():
            _ = 1 // int(gc.isenabled())
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if was_enabled else gc.disable)()


def test_readers_are_called_while_it_is_paused(own_sets):
    seen = []
    own_sets("own_train", lambda: seen.append(gc.isenabled()) or [{"file_name": "a.jpg"}])
    read_records("own_train")
    assert seen == [False]
