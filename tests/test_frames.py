from __future__ import annotations

import io
import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradbench import frames
from gradbench.query import Operator, Query
from gradbench.record import Outcome, Record
from gradbench.wire import FORMATS, LARGE, array_from_json, array_to_json

BIG = np.linspace(0, 1, 3 * LARGE)


def sent(value):
    """What comes out of a pipe that the frame of a value went into."""
    stream = io.BytesIO(b"".join(map(bytes, frames.packed(value))))
    line = stream.readline()
    found = frames.unpacked(line.rstrip(b"\n"), lambda length: bytearray(stream.read(length)))
    assert stream.read() == b""
    return found


def kept(value):
    """What comes back from a line of a file."""
    line = b"".join(map(bytes, frames.stored(value)))
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    return frames.loaded(line)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text() | st.just('{"\0bulk":0}') | st.just("\0bulk"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text().filter(lambda k: k != "\0bulk"), inner),
    max_leaves=12,
)


@given(JSON, st.booleans())
def test_every_value_comes_back_with_and_without_large_arrays_beside_it(value, is_large):
    whole = {"value": value, "array": array_to_json(BIG if is_large else BIG[:3])}
    for found in (sent(whole), kept(whole)):
        assert found["value"] == value
        assert array_from_json(found["array"]).tobytes() == (BIG if is_large else BIG[:3]).tobytes()


@pytest.mark.parametrize("dtype", sorted(FORMATS))
def test_a_large_array_of_every_format_comes_back_bit_by_bit(dtype):
    array = (np.arange(LARGE + 5) % 7).astype(FORMATS[dtype]).reshape(-1, 1)
    for found in (sent, kept):
        back = array_from_json(found({"a": array_to_json(array)})["a"])
        assert back.dtype == array.dtype
        assert back.shape == array.shape
        assert back.tobytes() == array.tobytes()


def test_a_large_array_is_plain_base64_in_a_file_that_any_reader_of_json_understands():
    line = b"".join(map(bytes, frames.stored({"a": array_to_json(BIG)})))
    assert len(json.loads(line)["a"]["base64"]) == 4 * BIG.nbytes // 3


def test_several_large_arrays_keep_their_places():
    arrays = {f"x{n}": BIG + n for n in range(4)}
    record = Record(
        "q", Outcome.ANSWERED, {**arrays, "none": None, "short": BIG[:2]}, message='"base64":"' + "A" * 70_000
    )
    for found in (sent, kept):
        back = Record.from_json(found(record.to_json()))
        assert back.message == record.message
        assert all(np.array_equal(back.answer[name], array) for name, array in arrays.items())


@pytest.mark.parametrize("line", [b"", b"x", b"5 -1", b"3"])
def test_what_is_no_frame_is_refused(line):
    with pytest.raises(ValueError, match=r".+"):
        frames.unpacked(line, lambda length: b"[1}"[: max(0, length)])


@pytest.mark.parametrize(
    "text",
    [
        b'{"base64":{"\\u0000bulk":7},"pad":"%s","big":{"base64":"%s"}}',  # bytes that aren't there
        b'{"base64":{"\\u0000bulk":-1},"pad":"%s","big":{"base64":"%s"}}',
        b'{"pad":"%s","big":{"base64":"%s="}}',  # no base64
    ],
)
def test_a_line_with_bytes_that_are_not_there_or_are_no_base64_is_refused(text):
    with pytest.raises(ValueError, match=r".+"):
        frames.loaded(text % (b"A" * LARGE, b"A" * (LARGE + 4)))


def test_what_only_looks_like_base64_stays_text_which_no_array_is_read_from():
    found = frames.loaded(b'{"base64":"%s*","big":"%s"}' % (b"A" * LARGE, b"A" * LARGE))
    assert found["base64"] == "A" * LARGE + "*"
    with pytest.raises(ValueError, match=r".+"):
        array_from_json({"dtype": "uint8", "shape": [3], "base64": found["base64"]})


def test_an_answer_of_a_million_numbers_takes_at_most_three_times_its_size_at_any_stage():
    answer = np.random.default_rng(0).standard_normal(10**6)
    record = Record("q", Outcome.ANSWERED, {"x": answer})
    peaks = {}

    def measured(name, stage):
        tracemalloc.start()
        found = stage()
        peaks[name] = tracemalloc.get_traced_memory()[1] / answer.nbytes
        tracemalloc.stop()
        return found

    def discarded():
        size = 0
        for piece in frames.stored(record.to_json()):
            size += len(piece)
        return size

    buffers = measured("packing", lambda: frames.packed(record.to_json()))
    stream = io.BytesIO(b"".join(map(bytes, buffers)))

    def received():
        def read(length):
            found = bytearray(length)
            stream.readinto(found)
            return found

        return Record.from_json(frames.unpacked(stream.readline(), read))

    assert np.array_equal(measured("receiving", received).answer["x"], answer)
    measured("storing", discarded)
    line = b"".join(map(bytes, frames.stored(record.to_json())))
    back = measured("loading", lambda: Record.from_json(frames.loaded(line)))
    assert np.array_equal(back.answer["x"], answer)
    # What is there already (the answer itself, or the line it is read from) counts as well.
    there = {"packing": 1, "storing": 1, "receiving": 0, "loading": len(line) / answer.nbytes}
    assert max(peaks[name] + there[name] for name in peaks) <= 3, peaks


def test_a_digest_does_not_depend_on_the_order_of_keys_and_sees_every_bit():
    one = Query("q", "x * k", {"x": BIG}, {"k": BIG[:2]}, Operator.VALUE, "float64")
    turned = dict(reversed(one.to_json().items()))
    assert frames.digest(turned) == frames.digest(one.to_json())
    other = BIG.copy()
    other[-1] = np.nextafter(other[-1], 2)
    assert Query(**{**one.__dict__, "inputs": {"x": other}}).digest != one.digest


def test_something_that_can_not_travel_is_said_to():
    with pytest.raises(TypeError, match="set can't travel"):
        frames.packed({"a": {1, 2}})
