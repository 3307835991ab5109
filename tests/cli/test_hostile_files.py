"""Hostile pickles: nothing runs, no claim takes memory, each is refused in one line."""

from __future__ import annotations

import builtins
import copyreg
import os
import pickle
import resource
import struct
import subprocess
import sys

import numpy as np
import pytest

from nvnmd.deepmd.files import read_dict, write_dict
from nvnmd.errors import ModelFileError

HEADER = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
NDARRAY = b"cnumpy\nndarray\n"
DTYPE = b"cnumpy\ndtype\n"
RECONSTRUCT = b"cnumpy._core.multiarray\n_reconstruct\n"
SCALAR = b"cnumpy._core.multiarray\nscalar\n"


def npy(pickled: bytes, header: bytes = HEADER) -> bytes:
    """An npy file around a pickle."""
    text = header + b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + pickled


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Builds:
    """Pickles as an object with a state that its class would take in."""

    def __init__(self, make, state):
        self.parts = make, (), state

    def __reduce__(self):
        return self.parts


def wrapped(value) -> bytes:
    array = np.empty(1, dtype=object)
    array[0] = {"x": value}
    return npy(pickle.dumps(array, protocol=4))


def nested(value) -> bytes:
    inner = np.empty(2, dtype=object)
    inner[:] = [value, 1.0]
    return wrapped(inner)


def refuse(tmp_path, data: bytes, *words: str) -> str:
    """The file is refused in one line that holds the words, and nothing has left a trace."""
    path = tmp_path / "weight.npy"
    path.write_bytes(data)
    with pytest.raises(ModelFileError) as caught:
        read_dict(path)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 400
    assert message.startswith(f"{path}: not a readable DeePMD-kit file: ")
    for word in words:
        assert word in message
    assert sorted(p.name for p in tmp_path.iterdir()) == ["weight.npy"]
    return message


def test_a_hostile_pickle_does_run_elsewhere(tmp_path):
    """The proof's own check: plain NumPy runs what the reader refuses."""
    path = tmp_path / "weight.npy"
    path.write_bytes(wrapped(Calls(os.mkdir, str(tmp_path / "ran"))))
    np.load(path, allow_pickle=True)
    assert (tmp_path / "ran").is_dir()


@pytest.mark.parametrize("where", [wrapped, nested])
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("posix.system", ("touch {}/ran",)),
        ("builtins.eval", ("open('{}/ran', 'w')",)),
        ("builtins.exec", ("open('{}/ran', 'w')",)),
        ("builtins.getattr", ("x", "y")),
        ("subprocess.Popen", (["touch", "{}/ran"],)),
        ("numpy._core.multiarray.fromfile", ("{}/weight.npy",)),
        ("numpy.load", ("{}/weight.npy", None, True)),
        ("copyreg.constructor", (object,)),
        ("copyreg._reconstructor", (object, object, None)),
        ("builtins.bytearray", (10**12,)),
        ("collections.OrderedDict", ()),
        ("builtins.set", ("ab",)),
    ],
)
def test_calls_are_refused_by_name(tmp_path, where, name, arguments):
    module, function = name.rsplit(".", 1)
    __import__(module)
    call = getattr(sys.modules[module], function)
    texts = [a.format(tmp_path) if isinstance(a, str) else a for a in arguments]
    texts = [[w.format(tmp_path) for w in a] if isinstance(a, list) else a for a in texts]
    message = refuse(tmp_path, where(Calls(call, *texts)))
    assert "not admitted" in message


def test_dotted_names(tmp_path):
    """Attributes of what is admitted are not admitted."""
    for text in (b"numpy\nndarray.tofile", b"numpy\ndtype.__reduce__", b"numpy\nndarray.__init__"):
        module, name = text.split(b"\n")
        push = b"\x8c" + bytes([len(module)]) + module + b"\x8c" + bytes([len(name)]) + name
        refuse(tmp_path, npy(b"\x80\x04" + push + b"\x93."), name.decode())


def test_states_reach_nothing(tmp_path):
    """A state for a class or function would change it for the whole program."""
    for target in (NDARRAY, DTYPE, RECONSTRUCT, SCALAR):
        for state in (b"}(Vx\nI1\nu", b"(N}(V__call__\nNut"):
            refuse(tmp_path, npy(target + state + b"b."), "not admitted")
    assert np.ndarray is type(np.zeros(1)) and np.dtype("f8").itemsize == 8


def test_reductions_of_what_is_admitted(tmp_path):
    """numpy.ndarray, dtype, _reconstruct and scalar called in ways that arrays do not."""
    cases = {
        NDARRAY + b"((L99999999999L\ntR.": "",
        NDARRAY + b"((I4\nt(Vf8\ntR.": "",
        NDARRAY + b")\x81.": "NEWOBJ",
        DTYPE + b"((lp0\n(VO\nVx\nttR.": "not admitted",
        DTYPE + b"(VV99999999999\ntR.": "not admitted",
        DTYPE + b"(Vf8,O\ntR.": "not admitted",
        DTYPE + b"(Vf8\nI0\nI1\ntR(I3\nV<\n(Vx\ntNNI-1\nI-1\nI0\ntb.": "with fields",
        RECONSTRUCT + b"(" + DTYPE + b"(I0\ntVb\ntR.": "no plain array",
        RECONSTRUCT + b"(" + NDARRAY + b"(I0\ntVb\ntR.": "without content",
        SCALAR + b"(" + DTYPE + b"(VO\ntRVx\ntR.": "unknown form",
        SCALAR + b"(" + DTYPE + b"(Vf8\ntRC\x04abcdtR.": "unknown form",
    }
    for pickled, words in cases.items():
        refuse(tmp_path, npy(b"\x80\x03" + pickled), words)


def array_pickle(shape: bytes, content: bytes, kind: bytes = b"f8") -> bytes:
    """The pickle of an array that claims a shape."""
    data = b"B" + struct.pack("<I", len(content)) + content
    made = RECONSTRUCT + b"(" + NDARRAY + b"(I0\ntC\x01btR"
    return (b"\x80\x03}Vx\n" + made + b"(I1\n(" + shape + b"t" + DTYPE + b"(V" + kind
            + b"\nI0\nI1\ntRI00\n" + data + b"tbs.")  # fmt: skip


def test_an_honest_array_of_that_form_is_read(tmp_path):
    """The cases below are refused for their claims, not for their form."""
    path = tmp_path / "weight.npy"
    path.write_bytes(npy(array_pickle(b"I2\nI1\n", np.array([1.5, 2.5]).tobytes())))
    found = read_dict(path)["x"]
    np.testing.assert_array_equal(found, [[1.5], [2.5]])
    assert type(found) is np.ndarray and found.dtype == np.float64


@pytest.mark.parametrize(
    "shape",
    [
        b"L1000000000000L\n",
        b"I3\n",
        b"I-1\n",
        b"I00\n",
        b"L%dL\n" % 2**70,
        b"L%dL\nL%dL\n" % (2**33, 2**33),
        b"I1\n" * 40,
    ],
)
def test_claimed_shapes(tmp_path, shape):
    refuse(tmp_path, npy(array_pickle(shape, b"12345678" * 2)), "shape")


@pytest.mark.parametrize("kind", [b"O", b"V8", b"M8", b"S4", b"U4", b"c8", b"f16", b"O,f8"])
def test_other_types(tmp_path, kind):
    refuse(tmp_path, npy(array_pickle(b"I1\n", b"12345678", kind)))


def test_sizes_are_claims_until_checked(tmp_path):
    """Lengths of strings and places in the memo take no memory beyond the file's size."""
    size = struct.pack("<Q", 1 << 40)
    cases = {
        "bytes": b"\x80\x04\x8e" + size + b"abc.",
        "text": b"\x80\x04\x8d" + size + b"abc.",
        "array of bytes": b"\x80\x05\x96" + size + b"abc.",
        "number": b"\x80\x02\x8b\xff\xff\xff\x7f\x01.",
        "frame": b"\x80\x04\x95" + size + b"}.",
        "memo": b"\x80\x02}r\xff\xff\xff\x7f.",
        "memo in text": b"}p2000000000\n.",
        "digits": b"I" + b"9" * 100000 + b"\n.",
    }
    for name, pickled in cases.items():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        refuse(tmp_path, npy(pickled))
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown < 64 << 10, name  # KiB


def test_claims_of_the_header(tmp_path):
    for shape in (b"(1000000000000,)", b"(0,)", b"(2,)", b"(1, 1)", b"(-1,)"):
        refuse(tmp_path, npy(b"N.", HEADER.replace(b"(1,)", shape)), "shape")
    refuse(tmp_path, b"\x93NUMPY\x02\x00\xff\xff\xff\x7f{")
    refuse(tmp_path, npy(b"N.", HEADER.replace(b"(1,)", b"__import__('os').mkdir('ran')")))


def test_cycles_and_shared_parts(tmp_path):
    """A list that holds itself is refused; parts shared a billion-fold are taken once."""
    itself: list = []
    itself.append(itself)
    refuse(tmp_path, wrapped(itself), "contains itself")
    circle: dict = {}
    circle["again"] = circle
    refuse(tmp_path, wrapped(circle), "contains itself")
    loop = np.empty(1, dtype=object)
    loop[0] = {"x": loop}
    refuse(tmp_path, npy(pickle.dumps(loop, protocol=4)))
    nest = b"]" * 20000 + b"a" * 19999 + b"."
    refuse(tmp_path, npy(b"\x80\x04" + nest), "deeper")
    laughs: list = [1.0]
    for _ in range(10):
        laughs = [laughs] * 1000
    path = tmp_path / "weight.npy"
    path.write_bytes(wrapped(laughs))
    assert len(read_dict(path)["x"]) == 1000


def test_extension_codes_and_persistent_objects(tmp_path):
    copyreg.add_extension("os", "system", 0xEE)
    try:
        refuse(tmp_path, npy(b"\x80\x02\x82\xee(Vtouch ran\ntR."), "EXT1", "not admitted")
    finally:
        copyreg.remove_extension("os", "system", 0xEE)
    refuse(tmp_path, npy(b"Px\n."), "PERSID")
    refuse(tmp_path, npy(b"(ios\nsystem\n."), "INST")
    refuse(tmp_path, npy(b"(cos\nsystem\nVtouch ran\no."), "OBJ")
    refuse(tmp_path, wrapped(Builds(Calls, {"a": 1})), "not admitted")


def test_parts_that_are_no_numbers(tmp_path):
    refuse(tmp_path, wrapped(np.empty(1, dtype=object)), "objects inside")
    refuse(tmp_path, nested(1.0), "objects")
    refuse(tmp_path, wrapped({1: 2}), "no string")
    refuse(tmp_path, wrapped(1j))
    refuse(tmp_path, npy(NDARRAY + b"."), "ArrayType")


def test_every_cut_of_a_file_is_refused(tmp_path):
    whole = tmp_path / "weight.npy"
    write_dict(whole, {"a": np.arange(6.0).reshape(2, 3), "b": np.float64(1.0), "c": [1, "x"]})
    data = whole.read_bytes()
    for cut in range(0, len(data) - 1):
        refuse(tmp_path, data[:cut])
    rng = np.random.default_rng(5)
    for _ in range(300):
        mutant = bytearray(data)
        for place in rng.integers(80, len(data), 3):
            mutant[place] = rng.integers(256)
        whole.write_bytes(mutant)
        try:
            read_dict(whole)
        except ModelFileError as error:
            assert "\n" not in str(error)


def test_the_command_line_says_one_line(tmp_path):
    for name in ("config.npy", "weight.npy", "map.npy"):
        (tmp_path / name).write_bytes(wrapped(Calls(builtins.eval, f"open('{tmp_path}/ran','w')")))
    done = subprocess.run([sys.executable, "-m", "nvnmd", "import", str(tmp_path), "-o", "m.nvnmd"],
                          capture_output=True, text=True, cwd=tmp_path)  # fmt: skip
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "builtins.eval" in line and not (tmp_path / "ran").exists()
