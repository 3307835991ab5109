"""Documents that cannot be read, or hold what no document may."""

from __future__ import annotations

import os

import pytest

from nvnmd.cli.main import main
from nvnmd.errors import InputError
from nvnmd.inputs.json_text import read_json
from nvnmd.inputs.read import load_input


@pytest.mark.parametrize(("text", "line"), [
    ('{"a": 1,\n  "b" 2}', "line 2, column 7: not JSON, expecting ':' delimiter"),
    ("", "line 1, column 1: not JSON, expecting value; the file is empty"),
    ('{"a": 1, // a note\n "b": 2}', "JSON has no comments: notes are keys that begin with _"),
    ("[1]", r"got \[1\], expected a section"),
    ("[" * 100000, "nested too deeply"),
    ('{"a": ' + "7" * 5000 + "}", "got an integer of 5000 digits"),
])
def test_unreadable_json(tmp_path, text, line):
    path = tmp_path / "in.json"
    path.write_text(text)
    with pytest.raises(InputError, match=line):
        read_json(path)


def test_the_mark_of_windows_editors_is_no_text(tmp_path):
    path = tmp_path / "in.json"
    path.write_bytes(b'\xef\xbb\xbf{"a":\r\n 1}\r\n')
    assert read_json(path) == {"a": 1}


def test_unusable_values_are_named_with_their_paths(tmp_path):
    path = tmp_path / "in.json"
    path.write_text('{"a": 1, "_a": 1, "b": {"c": NaN, "d": [1, -Infinity, 1e999], "_e": NaN}, '
                    '"a": 2, "f": {"g": {"h": 1, "h": 1}}, "i": ["x\\u0000", "\\ud800"], "_a": 2}')
    with pytest.raises(InputError) as caught:
        read_json(path)
    found = [line.removeprefix(f"{path}: ") for line in str(caught.value).splitlines()]
    assert found == [
        "a: given twice in one section, expected once",
        "b/c: got NaN, expected finite numbers only",
        "b/d/1: got -Infinity, expected finite numbers only",
        "b/d/2: got Infinity, expected finite numbers only",
        "f/g/h: given twice in one section, expected once",
        'i/0: got "x\\u0000", expected text without \\u0000 or half a character',
        'i/1: got "\\ud800", expected text without \\u0000 or half a character',
    ]


def test_a_key_with_a_line_end_gives_one_line(tmp_path, capsys):
    path = tmp_path / "in.json"
    path.write_text('{"line\\nend": 1, "nvnmd": {}, "training": {}}')
    assert main(["check", str(path), "--no-data"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith(f"nvnmd: error: {path}: line\\nend: got an unknown key")
    assert all(line.startswith(f"nvnmd: error: {path}: ") for line in lines)


def test_unreadable_file(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_input(tmp_path / "none.json")
    with pytest.raises(InputError, match="cannot be read"):
        load_input(tmp_path)
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="byte 0 is not UTF-8"):
        load_input(tmp_path / "bytes.json")


def test_a_document_is_a_regular_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(InputError, match=r"pipe\.json: cannot be read \(it is a pipe, exp"):
        read_json(tmp_path / "pipe.json")
    with pytest.raises(InputError, match=r"/dev/zero: cannot be read \(it is a device"):
        read_json("/dev/zero")
    with open(tmp_path / "large.json", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(InputError, match=r"large\.json: it has more than 67108864 bytes"):
        read_json(tmp_path / "large.json")
