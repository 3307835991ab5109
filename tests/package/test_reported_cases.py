"""What users have reported, case by case, and the test that holds the right outcome of each."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]

CASES = {
    "01: an old Verilator is first on PATH": (
        "package/test_external_tools.py::test_old_program_first_on_path",
        "sim/test_simulators.py::test_build_among_other_programs_and_blanks"),
    "02: numb_copy.npy says how often a frame is drawn": (
        "data/test_deepmd_layouts.py::test_copies_of_frames_are_drawn_as_often",),
    "03: systems that are links to folders": (
        "data/test_deepmd_layouts.py::test_links_to_folders_are_systems",
        "data/test_deepmd_layouts.py::test_links_that_a_copy_has_lost"),
    "04: decay_rate with a stair longer than the training": (
        "inputs/test_later_keys.py::test_a_long_stair_with_its_own_rate_stays_as_it_is",),
    "05: a terminal that cannot show every letter": (
        "cli/test_terminal.py::test_letters_that_cannot_be_shown",
        "cli/test_terminal.py::test_every_text_file_is_opened_in_utf8",
        "cli/test_terminal.py::test_export_where_nothing_is_usual"),
    "06: open and periodic frames in one file": (
        "data/test_convert_frames.py::test_open_and_periodic_frames_are_systems_of_their_own",),
    "09: labels beyond energy, force and virial": (
        "data/test_convert_frames.py::test_every_label_of_a_system_is_kept",
        "data/test_convert_frames.py::test_labels_that_nothing_uses_are_named"),
    "11: Verilog without pragmas that older programs refuse": (
        "hdl/test_export.py::test_no_pragma_that_a_linter_may_not_know", "sim/test_rtl_full.py"),
    "13: type.raw as numpy.savetxt writes it": (
        "data/test_deepmd_layouts.py::test_types_as_numpy_writes_them",),
    "16: keys of DeePMD-kit's later releases": (
        "inputs/test_later_keys.py::test_parent_folders_in_a_list",
        "inputs/test_later_keys.py::test_patterns_choose_systems",
        "inputs/test_later_keys.py::test_sizes_of_batches_by_atoms",
        "inputs/test_later_keys.py::test_a_negative_probability_shares_the_rest",
        "inputs/test_later_keys.py::test_passes_over_the_data_in_place_of_steps",
        "docs/test_deepmd_data.py"),
    "17: documents of NVNMD's first release": (
        "inputs/test_later_keys.py::test_documents_of_the_first_release",),
    "18: keys in a wrong place": ("inputs/test_input_together.py",),
    "21: a VERILATOR_ROOT of a user's own": (
        "package/test_external_tools.py::test_environment_of_a_user_s_own_copy",
        "sim/test_simulators.py::test_build_among_other_programs_and_blanks"),
    "restart: a continued training has the bits of one that ran through": (
        "training/test_restart_property.py::test_continued_is_the_same_training",),
}


@pytest.mark.parametrize("case", CASES)
def test_every_case_has_its_test(case):
    """The tests that are named are there."""
    for name in CASES[case]:
        file, _, function = name.partition("::")
        tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
        tests = [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)
                 and node.name.startswith("test_")]
        assert tests, name
        assert not function or function in tests, name
