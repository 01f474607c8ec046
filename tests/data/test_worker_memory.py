import subprocess
import sys

import pytest

from mtl_d2.data import worker_memory

SAMPLES = """
import resource, runpy, sys, numpy
runpy.run_path(sys.argv[1])["keep_freed_memory"]()
def sample():
    blocks = [numpy.ones(6 << 20, numpy.uint8) for _ in range(4)]
sample(); sample()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    sample()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere memory is left to the system")
def test_a_worker_writes_a_sample_where_the_last_one_was():
    run = subprocess.run(
        [sys.executable, "-c", SAMPLES, worker_memory.__file__], capture_output=True, text=True, check=True
    )
    assert int(run.stdout) < 600  # pages; 61440 are written


FROZEN = """
import gc, runpy, sys
standing = [[] for _ in range(1000)]
runpy.run_path(sys.argv[1])["spare_what_stands"]()
later = [[] for _ in range(1000)]
looked_at = set(map(id, gc.get_objects()))
print(sum(id(one) in looked_at for one in standing), sum(id(one) in looked_at for one in later))
"""


def test_a_workers_garbage_collector_looks_at_what_it_makes_and_not_at_what_stood_before():
    run = subprocess.run(
        [sys.executable, "-c", FROZEN, worker_memory.__file__], capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["0", "1000"]
