"""Ranges of numbers, held against a plain set of them."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from simulator.spans import Spans

RANGE = st.tuples(st.integers(1, 60), st.integers(0, 12)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@given(st.lists(RANGE, max_size=40), st.integers(0, 80))
def test_spans_are_a_set_of_numbers(ranges, bound):
    spans, naive = Spans(), set()
    for first, last in ranges:
        spans.add(first, last)
        naive |= set(range(first, last + 1))
    assert {n for first, last in spans.ranges() for n in range(first, last + 1)} == naive
    assert [n in spans for n in range(100)] == [n in naive for n in range(100)]
    assert (len(spans), spans.top) == (len(naive), max(naive, default=0))
    assert spans.upto == next(n for n in range(100) if n + 1 not in naive)
    above = [n for first, last in spans.ranges(bound) for n in range(first, last + 1)]
    assert above == sorted(n for n in naive if n > bound)
    holes = [n for first, last in spans.holes(bound) for n in range(first, last + 1)]
    assert holes == [n for n in range(1, bound + 1) if n not in naive]
    listed = list(spans.ranges())
    assert all(a[1] + 1 < b[0] for a, b in pairwise(listed)), "touching ranges are one"
