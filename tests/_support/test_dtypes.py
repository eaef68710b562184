"""Dtypes by name: as every library knows them, and refused by name where nothing computes in them."""

import sys

import array_api_strict
import numpy as np
import pytest

from npresnext._support.dtypes import DTYPES, as_dtype, numpy_dtype
from npresnext.errors import InvalidTypeError, MissingExtraError


@pytest.mark.parametrize("name", DTYPES)
def test_a_dtype_is_found_by_its_name_and_by_itself(name):
    pytest.importorskip("ml_dtypes")
    dtype = as_dtype(name)
    assert isinstance(dtype, np.dtype) and dtype.name == name and as_dtype(dtype) == dtype
    assert numpy_dtype(name) == dtype


def test_a_dtype_belongs_to_the_library_that_is_asked():
    assert as_dtype("float32", array_api_strict) is array_api_strict.float32
    assert as_dtype(array_api_strict.float64) == as_dtype(np.float64) == np.dtype("float64")


@pytest.mark.parametrize("dtype", ["float", "int64", "complex64", float, np.int32, None])
def test_dtypes_in_which_nothing_computes_are_refused_by_name(dtype):
    with pytest.raises(InvalidTypeError, match="one of float16, bfloat16, float32, float64, but is"):
        as_dtype(dtype)


def test_bfloat16_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(MissingExtraError, match=r"dtype bfloat16 needs ml_dtypes: pip install 'npresnext\[bfloat16\]'"):
        as_dtype("bfloat16")
    with pytest.raises(MissingExtraError, match="reading float8_e5m2 needs ml_dtypes"):
        numpy_dtype("float8_e5m2", "reading float8_e5m2")
