"""The .npz reader against NumPy's own, and headers that lie."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from npresnext.errors import FileFormatError, InvalidValueError
from npresnext.io import load, save
from npresnext.io.dtypes import ITEMSIZE, stored_dtype

from tests.support.archives import npy, zipped


@given(
    arrays=st.dictionaries(
        st.text("abc.XYZ019_", min_size=1).filter(lambda name: ".." not in name.split("/")),
        hnp.arrays(
            hnp.boolean_dtypes() | hnp.integer_dtypes() | hnp.floating_dtypes(sizes=(16, 32, 64)),
            hnp.array_shapes(min_dims=0, min_side=0, max_dims=4),
        ),
        max_size=4,
    ),
    compress=st.booleans(),
)
def test_what_numpy_wrote_is_read_as_numpy_reads_it(tmp_path_factory, arrays, compress):
    path = tmp_path_factory.mktemp("npz") / "state.npz"
    (np.savez_compressed if compress else np.savez)(path, **arrays)
    state = load(path)
    assert list(state) == list(arrays)
    for name, array in arrays.items():
        assert state[name].dtype == array.dtype and state[name].shape == array.shape
        assert np.ascontiguousarray(state[name]).tobytes() == np.ascontiguousarray(array).tobytes()


def test_arrays_in_fortrans_order_are_read(tmp_path):
    array = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    np.savez(tmp_path / "state.npz", w=array, v=array.astype(">f4"))
    state = load(tmp_path / "state.npz")
    assert np.array_equal(state["w"], array) and np.array_equal(state["v"], array)


def test_numpy_reads_what_we_wrote(tmp_path):
    weight = np.random.default_rng(0).standard_normal((4, 3))
    save(tmp_path / "state.npz", {"a.b": weight, "c": weight.T}, metadata={"k": "v"})
    with np.load(tmp_path / "state.npz", allow_pickle=False) as archive:
        assert np.array_equal(archive["a.b"], weight) and np.array_equal(archive["c"], weight.T)


@pytest.mark.parametrize("name", [name for name in ITEMSIZE if name.startswith("float8")])
def test_floats_of_8_bits_have_no_place_in_the_format(tmp_path, name):
    """NumPy would write some of them as <f1, which nobody reads."""
    pytest.importorskip("ml_dtypes")
    with pytest.raises(InvalidValueError, match=f"w has dtype {name}, which an .npz file cannot hold"):
        save(tmp_path / "state.npz", {"w": np.zeros(2, stored_dtype(name))})
    assert not list(tmp_path.iterdir())


def test_an_array_of_objects_is_refused_and_not_unpickled(tmp_path):
    np.savez(tmp_path / "objects.npz", w=np.array([{"a": 1}], dtype=object))
    with pytest.raises(FileFormatError, match="Python objects"):
        load(tmp_path / "objects.npz")


@pytest.mark.parametrize(
    "content, message",
    [
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }\n"), "its header says 4,000,000,0"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", bytes(9)), "9 bytes of data"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }\n"), "no plain array"),
        (npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }\n", bytes(4)), "no plain array"),
        (npy("{'descr': False, 'fortran_order': False, 'shape': (1,), }\n", bytes(4)), "no plain array"),
        (npy("{'descr': 'zz', 'fortran_order': False, 'shape': (1,), }\n", bytes(4)), "the dtype zz"),
        (npy("{'descr': '<M8', 'fortran_order': False, 'shape': (1,), }\n", bytes(8)), "the dtype <M8"),
        (npy("{'descr': '<U4', 'fortran_order': False, 'shape': (1,), }\n", bytes(16)), "the dtype <U4"),
        (npy("__import__('os').system('true')\n"), "no plain array"),
        (npy("(" * 5000), "no plain array"),
        (npy("-" * 9000 + "1"), "no plain array"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'more': 1}\n", bytes(8)), "no plain array"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2)}\n", bytes(8)), "no plain array"),
        (npy("{'descr': '<f4', 'descr': '<f4', 'shape': (2,)}\n", bytes(8)), "no plain array"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} 1\n", bytes(8)), "no plain array"),
        (npy("{'descr': '4f4', 'fortran_order': False, 'shape': (1,), }\n", bytes(16)), "no plain array"),
        (
            npy("{'descr': '<f4', 'fortran_order': False, 'shape': (%s,), }\n" % ("9" * 5000), bytes(4)),
            "no plain array",
        ),
        (npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n", bytes(8)), "Python objects"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 4611686018427387904), }\n"), "has the shape"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }\n" % ("1, " * 70), bytes(4)), "has the shape"),
        (b"\x93NUMPY\x01\x00\xff\xff", "header of 65,535 bytes"),
        (b"not an array", "no .npy file"),
        (b"", "no .npy file"),
    ],
)
def test_a_header_that_lies_is_refused(tmp_path, content, message):
    with pytest.raises(FileFormatError, match=message):
        load(zipped(tmp_path / "lies.npz", {"w.npy": content}))


@pytest.mark.parametrize(
    "header",
    [
        "{'shape': (2, 3), 'fortran_order': False, 'descr': '<f4'}",  # another order of the keys
        '{"descr": "<f4", "fortran_order": False, "shape": (2, 3)}',
        "{'descr':'<f4','fortran_order':False,'shape':(2,3)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 3L), }",  # Python 2
        "{'descr': 'float32', 'fortran_order': False, 'shape': (2, 3,)}  \n\n",
        "{  'descr' : u'<f4' , 'fortran_order' : False , 'shape' : ( 2 , 3 ) }",
        "{'descr': 'f4', 'fortran_order': False, 'shape': (2,3), }",
    ],
)
@pytest.mark.filterwarnings("ignore:Reading")  # NumPy's, where Python 2 wrote the file
def test_headers_of_other_writers_are_read_as_numpy_reads_them(tmp_path, header):
    values = np.arange(6, dtype="<f4").reshape(2, 3)
    path = zipped(tmp_path / "other.npz", {"w.npy": npy(header, values.tobytes())})
    assert np.array_equal(load(path)["w"], np.load(path, allow_pickle=False)["w"])
    assert np.array_equal(load(path)["w"], values) and load(path)["w"].dtype == values.dtype


@pytest.mark.parametrize(
    "name", ["w:0", "dense/kernel:0", "a/../b", "a..b", "..a", "block 1\\w", "xy:z:0", "é", "w.npy"]
)
def test_names_that_stay_inside_the_archive_are_saved_and_loaded(tmp_path, name):
    save(tmp_path / "state.npz", {name: np.arange(3.0)})
    assert list(load(tmp_path / "state.npz")) == [name]
    with np.load(tmp_path / "state.npz") as archive:
        assert archive.files == [name]


@pytest.mark.parametrize("name", ["../w", "a/../../w", "/w", "C:w", "C:\\w", "c:/w", "\\w"])
def test_names_that_lead_out_are_refused_before_anything_is_written(tmp_path, name):
    with pytest.raises(InvalidValueError, match="path out of it"):
        save(tmp_path / "state.npz", {name: np.zeros(1)})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["no json", "[1]", '{"a": 1}', "[" * 100_000])
def test_metadata_that_is_none_is_refused(tmp_path, text):
    np.savez(tmp_path / "state.npz", w=np.zeros(1), __metadata__=np.frombuffer(text.encode(), np.uint8))
    with pytest.raises(FileFormatError, match="metadata"):
        load(tmp_path / "state.npz")
