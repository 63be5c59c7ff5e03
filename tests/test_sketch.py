"""`sketch.py`: directions that anybody can draw again, and what they say of an array that isn't told entry by entry."""

import json

import numpy as np
import pytest

from gradbench.record import Outcome, Record
from gradbench.sketch import Probes, Sketch, direction, missed

SIZES = [1, 2, 3, 64, 65, 1000]


def probes(size, seed="a", whole=2):
    return Probes(seed, size, whole, tuple(reversed(range((size - 1).bit_length()))))


def test_a_direction_depends_on_its_text_and_nothing_else():
    assert np.array_equal(direction("a", 100), direction("a", 100))
    assert np.array_equal(direction("a", 100), direction("a", 200)[:100])
    assert not np.array_equal(direction("a", 100), direction("b", 100))
    # The bits that records were made with: another generator would judge them by other directions.
    kept = ["0x1.fa475413f2568p-1", "-0x1.79b73cf5afed2p-1", "0x1.f583067e2c36ep-1"]
    assert [float(x).hex() for x in direction("seed", 3)] == kept


@pytest.mark.parametrize("size", SIZES)
def test_sums_are_products_with_the_directions(size):
    found, x = probes(size), np.random.default_rng(1).standard_normal(size)
    directions = [found.direction(i) for i in range(len(found))]
    np.testing.assert_allclose(found.sums(x), [x @ v for v in directions], rtol=1e-12, atol=1e-12)
    roots = [np.sqrt(np.sum((x * v) ** 2)) for v in directions]
    np.testing.assert_allclose(found.roots(x.reshape(-1, 1)), roots, rtol=1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_masks_spell_the_index(size):
    found = probes(size)
    for index in {0, size // 3, size - 1}:
        seen = [found.direction(found.whole + i)[index] != 0 for i in range(len(found.bits))]
        assert int("0" + "".join(str(int(one)) for one in seen), 2) == index


def test_a_sketch_goes_through_a_record_and_comes_back():
    found = probes(70)
    words = np.array(["estimated"] * (len(found) - 1) + ["kink"], "U11")
    sketch = Sketch(found, (7, 10), np.arange(len(found)) / 3, np.full(len(found), 1e-9), words, "late", 1e-8, 1e-6)
    record = Record(
        "q",
        Outcome.ANSWERED,
        {},
        margin={"x": sketch.margin()},
        status={"x": words},
        notes={"sketch": {"x": sketch.notes()}},
    )
    again = Record.from_json(json.loads(json.dumps(record.to_json())))
    read = Sketch.kept(again.margin["x"], again.status["x"], again.notes["sketch"]["x"], (7, 10))
    assert (read.probes, read.shape, read.remark, read.visible, read.missed) == (found, (7, 10), "late", 1e-8, 1e-6)
    assert np.array_equal(read.values, sketch.values)
    assert read.known.tolist() == [True] * (len(found) - 1) + [False]
    assert len(json.dumps(record.to_json())) < 2000


def test_the_probability_of_a_miss_bounds_what_is_missed():
    error, room = np.array([1.0, -0.8, 0.3]), 0.2
    trials = [Probes(str(seed), 3).sums(error) for seed in range(4000)]
    rate = np.mean([(np.abs(sums) <= room).all() for sums in trials])
    assert 0 < rate <= missed([room, room], 1.0)
    assert missed([room, np.inf], 1.0) == pytest.approx(0.2)
    assert missed([2.0], 1.0) == missed([], 1.0) == missed([0.1], 0.0) == 1.0
