import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mtl_d2.prediction.stages import Background, Sink, ordered


def test_results_come_in_order_and_few_are_begun():
    begun = []
    with ThreadPoolExecutor(3) as pool:
        results = ordered(pool, lambda i: -i, (begun.append(i) or i for i in range(20)), ahead=4)
        assert [next(results), next(results)] == [0, -1]
        assert len(begun) <= 7
        assert list(results) == [-i for i in range(2, 20)]


def test_what_is_raised_in_the_background_is_raised_here():
    def items():
        yield 1
        raise ValueError("broken")

    iterator = iter(Background(items(), 2))
    assert next(iterator) == 1
    with pytest.raises(ValueError, match="broken"):
        next(iterator)


def test_closing_ends_the_iterator_in_the_background():
    closed = threading.Event()

    def items():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    background = Background(items(), 2)
    next(iter(background))
    background.close()
    assert closed.wait(5)


def test_a_sink_takes_all_in_order_and_tells_what_failed():
    taken = []
    with ThreadPoolExecutor(2) as pool:
        sink = Sink(taken.append, 3)
        for i in range(10):
            sink.put(pool.submit(lambda i=i: i))
        sink.close()
        assert taken == list(range(10))
        failing = Sink(lambda value: 1 / value, 3)
        failing.put(pool.submit(lambda: 0))
        with pytest.raises(ZeroDivisionError):
            failing.close()
