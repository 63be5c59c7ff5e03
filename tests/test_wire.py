from __future__ import annotations

import json

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gradbench.wire import FORMATS, array_from_json, array_to_json

KINDS = st.sampled_from([np.float64, np.float32, np.float16, np.complex128, np.int64, np.uint8, np.bool_])


@given(hnp.arrays(KINDS, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=6)))
def test_every_array_comes_back_bit_by_bit(array):
    back = array_from_json(json.loads(json.dumps(array_to_json(array), allow_nan=False)))
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    # A NaN keeps no payload in the short form; every other bit stays.
    np.testing.assert_array_equal(back, array)
    if array.dtype.kind == "f":
        kept = ~np.isnan(array)
        assert (np.signbit(back) == np.signbit(array))[kept].all()


@pytest.mark.parametrize("dtype", sorted(FORMATS))
@pytest.mark.parametrize("size", [3, 1000])
def test_every_format_travels_short_and_long(dtype, size):
    array = (np.arange(size) % 7).astype(FORMATS[dtype])
    back = array_from_json(json.loads(json.dumps(array_to_json(array))))
    assert back.dtype == array.dtype
    assert back.tobytes() == array.tobytes()


def test_signed_zero_infinities_and_subnormals_survive():
    array = np.array([-0.0, np.inf, -np.inf, 5e-324, 1.7976931348623157e308])
    assert array_from_json(array_to_json(array)).tobytes() == array.tobytes()


def test_bfloat16_is_exact():
    array = np.array([1.0078125, -3e38], ml_dtypes.bfloat16)
    assert array_from_json(array_to_json(array)).tobytes() == array.tobytes()


@pytest.mark.parametrize(
    "value",
    [
        {"dtype": "float64", "shape": [2], "data": [1.0]},
        {"dtype": "object", "shape": [1], "data": [1]},
        {"dtype": "float64", "shape": [-1], "data": []},
        {"dtype": "float64", "shape": [10**12], "data": [1.0]},
        {"dtype": "float64", "shape": [2], "base64": "AAAA"},
        {"dtype": "complex128", "shape": [1], "data": [1.0]},
        {"dtype": "float64", "shape": [1], "data": ["one"]},
        {},
    ],
)
def test_what_is_no_array_is_refused(value):
    with pytest.raises((ValueError, KeyError, TypeError)):
        array_from_json(value)


def test_an_array_of_objects_can_not_travel():
    with pytest.raises(TypeError, match="object"):
        array_to_json(np.array([object()]))
