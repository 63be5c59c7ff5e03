"""`likeness.py`: an answer beside a sketch of what is right; errors are seen, one is named, and honest ones are left alone."""

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

from gradbench.compare import Truth
from gradbench.judge import judge_one
from gradbench.likeness import entry, holds, liken
from gradbench.oracle import consult
from gradbench.query import Operator, Query, Question
from gradbench.record import Outcome, Record
from gradbench.sketch import Probes, Sketch

SIZE = 1000
RADIUS = 1e-9
TRUTH = np.random.default_rng(0).standard_normal(SIZE)


def sketch(truth=TRUTH, shape=None, bits=None, whole=2, radius=RADIUS, words="estimated", seed="a"):
    """What a reference would have found, its errors within its radius."""
    count = (truth.size - 1).bit_length()
    probes = Probes(seed, truth.size, whole, tuple(reversed(range(count)))[:bits])
    error = radius * np.random.default_rng(1).uniform(-1, 1, len(probes))
    known = np.full(len(probes), words, "U12")
    return Sketch(probes, shape or truth.shape, probes.sums(truth) + error, np.full(len(probes), radius), known)


def compared(answer, **options):
    dtype = options.pop("dtype", "float64")
    sigma = options.pop("sigma", np.full(SIZE, 1e-17))
    own = options.pop("own", {})
    return liken(answer, options.pop("given", None) or sketch(**options), dtype, sigma, own)


def wrong(*places, by=1e-5):
    answer = TRUTH.copy()
    answer[list(places)] += by
    return answer


def test_an_honest_answer_is_like_its_sketch():
    found = compared(TRUTH)
    assert (found.known, found.off, found.nonfinite, found.tells, found.difference) == (2, 0, 0, True, None)
    assert 1e-9 < found.visible < 1e-8
    assert found.missed < 1e-5
    assert "2 projections agree" in found.sentence("x", sketch())


@pytest.mark.parametrize("place", [0, 1, 2, 511, 512, 513, 998, 999])
@pytest.mark.parametrize("by", [1e-7, -1e-3, 1e6])
def test_one_wrong_entry_is_named(place, by):
    found = compared(wrong(place, by=by))
    assert found.off == 2
    assert found.stretch == (place, place + 1)
    assert found.difference.worst == place
    assert abs(found.difference.right - TRUTH[place]) <= found.difference.allowed + 1e-9 * abs(by)
    assert found.difference.answered == TRUTH[place] + by
    assert f"wrong: x[{place}], which is" in found.sentence("x", sketch())


def test_any_single_entry_is_named_whatever_the_size():
    for size in (1, 2, 3, 5, 64, 65):
        truth = TRUTH[:size]
        for place in range(size):
            answer = truth.copy()
            answer[place] -= 1.0
            found = liken(answer, sketch(truth), "float64", None, {})
            assert found.difference.worst == place, size


@pytest.mark.parametrize("places", [(0, 999), (3, 4), (510, 511, 512), tuple(range(1000))])
def test_several_wrong_entries_are_said_to_be_several(places):
    found = compared(wrong(*places))
    assert found.off == 2
    assert found.several
    assert found.difference is None
    assert found.stretch[0] <= min(places) <= max(places) < found.stretch[1]
    assert "several entries" in found.sentence("x", sketch())


def test_several_wrong_entries_close_together_are_located():
    found = compared(wrong(900, 901, 902))
    assert found.stretch == (900, 904)
    assert "several entries from x[900] to x[903]" in found.sentence("x", sketch())


def test_two_errors_that_look_like_one_are_not_named():
    # Opposite in sign and far apart: masks that have both see the difference alone.
    for seed in range(50):
        given = sketch(seed=str(seed))
        weights = given.probes.direction(0)
        answer = wrong(17, by=1.0)
        answer[800] -= 0.5 * weights[17] / weights[800]
        found = liken(answer, given, "float64", None, {})
        assert found.off == 2
        assert found.difference is None, seed


def test_without_masks_an_error_is_seen_and_only_located_as_far_as_they_go():
    assert compared(wrong(700), bits=0).stretch == (0, 1000)
    found = compared(wrong(700), given=replace(sketch(bits=4), remark="no time to name entries: 6 digits"))
    assert found.stretch == (640, 704)
    sentence = found.sentence("x", replace(sketch(bits=4), remark="no time to name entries: 6 digits"))
    assert sentence.endswith("wrong: one entry or several from x[640] to x[703] (no time to name entries: 6 digits)")


@pytest.mark.parametrize("lie", [0 * TRUTH, -TRUTH, 1.01 * TRUTH, TRUTH + 1e-6 * np.resize([1, -1], SIZE), TRUTH[::-1]])
def test_a_lie_about_every_entry_is_seen(lie):
    found = compared(lie)
    assert found.off == 2
    assert found.several


def test_what_is_not_a_number_is_named_and_fails():
    answer = wrong()
    answer[[5, 900]] = np.nan, np.inf
    found = compared(answer)
    assert (found.off, found.nonfinite, found.stretch) == (2, 2, (5, 901))
    assert found.sentence("x", sketch()) == "2 of 1000 not finite, the first is x[5]"


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_rounding_is_never_called_wrong_and_a_lie_is(dtype):
    kind = np.dtype(getattr(ml_dtypes, dtype, None) or dtype)
    unit, told = float(ml_dtypes.finfo(kind).eps), 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        truth = rng.standard_normal(SIZE) * 10.0 ** rng.uniform(-3, 3)
        sigma = unit * rng.uniform(0.3, 1) * np.abs(truth)
        answer = (truth + 2 * sigma * rng.standard_normal(SIZE)).astype(kind)
        given = sketch(truth, seed=str(seed), radius=1e-12)
        found = liken(answer, given, dtype, sigma, {})
        assert found.off == 0, seed
        told += found.tells
        assert not found.tells or liken((-answer.astype(float)).astype(kind), given, dtype, sigma, {}).off > 0
        common = (truth * (1 + 4 * unit)).astype(kind)  # all of them too large
        assert liken(common, given, dtype, sigma, {}).off == 0, seed
    assert told > (200 if dtype == "bfloat16" else 295)


def test_without_a_model_of_rounding_a_rule_of_thumb_stands_in():
    found = compared(TRUTH.astype(np.float32), sigma=None, dtype="float32")
    assert (found.off, found.rule) == (0, "projections: 3 roots of the squares of (256 ulp of the largest) + 3r")
    assert compared(wrong(3, by=1e-2).astype(np.float32), sigma=None, dtype="float32").off == 2


def test_a_tolerance_of_somebodys_own_counts():
    own = {"rtol": 1e-3, "atol": 1e-6, "reason": "as the manual says"}
    found = compared(TRUTH * 1.001, own=own)
    assert found.off == 0
    assert "rtol 0.001 + atol 1e-06: as the manual says" in found.rule
    assert compared(TRUTH * 1.01, own=own).off == 2


def test_answers_that_scatter_are_given_room():
    room = np.full(SIZE, 1e-4)
    assert liken(wrong(3, by=5e-5), sketch(), "float64", None, {}, room).off == 0
    assert liken(wrong(3, by=5e-2), sketch(), "float64", None, {}, room).off == 2


def test_a_tolerance_above_every_projection_tells_nothing():
    found = compared(TRUTH, radius=1e3)
    assert (found.off, found.tells, found.is_zero) == (0, False, True)
    found = compared(TRUTH, radius=8.0)
    assert not found.tells
    assert "exceeds half" in found.sentence("x", sketch()) or found.is_zero
    zero = liken(np.zeros(SIZE), sketch(np.zeros(SIZE)), "float64", None, {})
    assert (zero.tells, zero.is_zero) == (False, True)
    assert "0 as far as anyone can see" in zero.sentence("x", sketch())


def test_where_nothing_is_known_nothing_is_said():
    found = compared(wrong(3), words="kink")
    assert (found.known, found.off) == (0, 0)
    assert found.sentence("x", sketch()) == "finite differences have no answer, because f has a kink there"


def test_entries_have_the_names_that_people_give_them():
    assert entry("W", (3, 4), 7) == "W[1, 3]"
    assert entry("b", (), 0) == "b"


def truth_of(array, radius=0.0):
    nothing = np.full(array.shape, np.nan)
    kinds = np.full(array.shape, "number"), np.full(array.shape, "ball")
    return Truth(array, 0 * array, np.full(array.shape, radius), nothing, nothing, *kinds)


def test_a_sketch_is_held_to_its_own_error_bar():
    assert holds(sketch(), truth_of(TRUTH))
    assert not holds(sketch(), truth_of(wrong(3)))
    assert holds(sketch(), truth_of(wrong(3), 1e-5))
    unknown = replace(truth_of(TRUTH), kind=np.where(np.arange(SIZE) == 4, "set", "number"))
    assert holds(sketch(), unknown) is None


def question(dtype="float64"):
    inputs = {"x": np.ones((10, 100), dtype)}
    return Question(Query("q", "sum(sin(x))", inputs, {}, Operator.GRADIENT, dtype), "case", 1)


def kept(given):
    notes = {"sketch": {"x": given.notes()}}
    return Record(
        "q",
        Outcome.ANSWERED,
        {},
        "finite-difference",
        margin={"x": given.margin()},
        status={"x": given.words},
        notes=notes,
    )


def verdicts(answer, given=None, records=(), dtype="float64"):
    told = Record("q", Outcome.ANSWERED, {"x": answer}, "torch")
    found = judge_one(question(dtype), [told, kept(given or sketch()), *records], {}, {})
    return {verdict.record.target: verdict.findings[0] for verdict in found}


GOOD = TRUTH.reshape(10, 100)


def test_judging_from_records_alone_passes_names_and_says_by_whom():
    found = verdicts(GOOD)
    assert (found["torch"].ruling, found["torch"].source) == ("pass", "finite-difference")
    assert "projections" in found["torch"].tolerance
    assert (found["finite-difference"].ruling, found["finite-difference"].source) == ("unjudged", "finite-difference")
    one = verdicts(wrong(523).reshape(10, 100))["torch"]
    assert (one.ruling, one.reason) == ("fail", "wrong")
    assert "x[5, 23]" in one.detail
    close = verdicts(wrong(523, by=1e-8).reshape(10, 100), sketch(radius=1e-11))["torch"]
    assert (close.ruling, close.reason) == ("fail", "inaccurate")


@pytest.mark.parametrize(
    ("answer", "ruling", "reason"),
    [
        (None, "fail", "wrong"),
        (GOOD[None], "fail", "shape"),
        (GOOD.astype(np.float32), "fail", "dtype"),
        (np.sqrt(np.abs(GOOD)) + np.where(np.sign(GOOD) < 0, np.nan, 0), "fail", "non-finite"),
    ],
)
def test_what_is_no_answer_fails(answer, ruling, reason):
    found = verdicts(answer)["torch"]
    assert (found.ruling, found.reason) == (ruling, reason)


def test_a_sketch_that_says_nothing_leaves_an_answer_open():
    assert verdicts(GOOD, sketch(words="singular"))["torch"].ruling == "unjudged"
    found = verdicts(GOOD, sketch(radius=1e4))["torch"]
    assert (found.ruling, found.reason) == ("inconclusive", "uninformative")


def test_a_proof_is_believed_before_a_sketch_and_the_sketch_judged_by_it():
    certified = np.full((10, 100), "certified", "U12")
    ball = Record(
        "q", Outcome.ANSWERED, {"x": GOOD}, "ball", status={"x": certified}, margin={"x": {"radius": 0 * GOOD}}
    )
    found = verdicts(GOOD, records=[ball])
    assert (found["torch"].ruling, found["torch"].source) == ("pass", "ball")
    assert (found["finite-difference"].ruling, found["finite-difference"].source) == ("pass", "ball")
    shifted = verdicts(GOOD, replace(sketch(), values=sketch().values + 1e-3), [ball])
    assert shifted["torch"].ruling == "pass"
    assert shifted["finite-difference"].ruling == "fail"


def test_a_million_unknown_entries_are_not_made_beside_a_sketch():
    noise = Record("q", Outcome.ANSWERED, {"x": GOOD}, "noise", margin={"x": {"sigma": 1e-17 + 0 * GOOD}})
    oracle = consult(question(), {"finite-difference": kept(sketch()), "noise": noise})
    assert not oracle.truths
    assert set(oracle.sketches) == set(oracle.sigma) == {"x"}
    assert verdicts(GOOD, records=[noise])["torch"].ruling == "pass"


def test_an_undecided_proof_leaves_it_to_the_sketch():
    words = np.full((10, 100), "undecided", "U12")
    ball = Record("q", Outcome.ANSWERED, {"x": GOOD}, "ball", status={"x": words}, margin={"x": {"radius": 0 * GOOD}})
    assert verdicts(GOOD, records=[ball])["torch"].source == "finite-difference"
    assert verdicts(-GOOD, records=[ball])["torch"].ruling == "fail"
