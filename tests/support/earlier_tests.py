"""Where each test of commit 8005bc7 is today: under its name, under another, or gone for a reason.

    python tests/support/earlier_tests.py

collects the tests of this folder and holds them against `tests/fixtures/tests_8005bc7.txt.gz`, the
list that pytest collected there. Files have moved to rooms since; only their names and those of the
tests are compared. Exit code 1 if a test is missing and no reason stands here.
"""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

EARLIER = Path(__file__).resolve().parents[1] / "fixtures" / "tests_8005bc7.txt.gz"
# pytest numbers parameters that are no text, so that one more or less renames those after it
_NUMBERED = re.compile(r"\b(value|data|text|switches)\d+\b")

_MISTAKE = r"test_input.py::test_each_mistake_is_one_line\[training/training_data/"
_FITS = "test_input.py::test_probabilities_that_do_not_fit_the_systems"
# what a test was called, and all that it is now
RENAMED: list[tuple[str, tuple[str, ...]]] = [
    (r"test_docs.py::test_links_and_commands_exist\[(.+)\]",
     (r"test_docs.py::test_links[\1]", r"test_docs.py::test_quoted_files_exist[\1]",
      r"test_docs.py::test_commands_exist[\1]")),
    # words of a message
    (r"(test_hostile_models.py::test_claims_of_an_array\[.-data-claims the shape \(10+,\))"
     r" with 0 bytes\]", (r"\1 of float64, but 0 bytes]",)),
    (r"(test_hostile_models.py::test_claims_of_an_array\[.-data-)with 15 bytes\]",
     (r"\1but 15 bytes follow]",)),
    (r"(test_input_json.py::test_unreadable_json\[-line 1, column 1: not JSON, expecting value)\]",
     (r"\1; the file is empty]",)),
    (r"(test_input_together.py::test_an_unknown_key_is_told_where_it_belongs\[training/training_data/"
     r"seed)-the nearest is \"set_prefix\"\]",
     (r"\1-it is one of model/descriptor, model/fitting_net, nvnmd or training]",)),
    (rf"({_MISTAKE}sys_probs-value-.+: got \[0.5, 0.6\], expected numbers) of at least 0 whose "
     r"sum\]",
     (r"\1 whose sum, without]",)),
    # a function of another name is called
    (r"(test_part_stages.py::test_the_command_trains_what_the_switches_say\[switches-train-qnn-)"
     r"train_cnn\]", (r"\1train_fixed_fitting]",)),
    # found once the systems are: a name may be a pattern of several
    (rf"{_MISTAKE}auto_prob-(prob_sys_size;0:3:1)-.+",
     (rf"{_FITS}[auto_prob-\1-blocks within the 2]",)),
    (rf"{_MISTAKE}auto_prob-(prob_sys_size;0:2:1;1:2:1)-.+",
     (rf"{_FITS}[auto_prob-\1-every system in]",)),
    (rf"{_MISTAKE}auto_prob-(prob_sys_size;0:1:0;1:2:0)-.+",
     (rf"{_FITS}[auto_prob-\1-a weight above]",)),
    (rf"{_MISTAKE}sys_probs-value-.+got \[1.0\].+",
     (rf"{_FITS}[sys_probs-value-2 numbers, one for each system]",)),
    # rooms may have rooms
    (r"test_packaging.py::test_rooms_are_one_level_deep",
     ("test_packaging.py::test_every_folder_is_a_room", "test_rooms.py::test_no_room_looks_up",
      "test_rooms.py::test_every_folder_is_in_the_table")),
    # neither nvnmd/max_nnei (128) nor training/numb_steps (or numb_epoch) must be there
    (r"test_input_reference.py::test_schema_asks_for_required_keys",
     ("test_input_reference.py::test_schema_takes_documents_of_the_first_release",)),
    # more sizes than one
    (r"(test_cli.py::test_mistakes_in_the_document\[nvnmd-max_nnei-512-.+: got 512, expected )"
     r"128 or 256(-train-.nn\])", (r"\g<1>32, 64, 128 or 256; the nearest is 256\2",)),
    (r"(test_input.py::test_each_mistake_is_one_line\[nvnmd/max_nnei-100-.+: got 100, expected )"
     r"128 or 256\]", (r"\g<1>32, 64, 128 or 256]",)),
    (r"(test_input.py::test_each_mistake_is_one_line\[nvnmd/net_size-64-.+: got 64, expected 128 )"
     r"\(the only size\]", (r"\1= 32 features times 4]",)),
    (r"(test_input.py::test_each_mistake_is_one_line\[model/descriptor/neuron-value-.+, expected )"
     r"\[8, 16, 32\]\]", (r"\1three widths]",)),
    (r"(test_input.py::test_each_mistake_is_one_line\[model/descriptor/axis_neuron-16-.+, "
     r"expected )4\]", (r"\g<1>2 or 4]",)),
    (r"(test_input.py::test_each_mistake_is_one_line\[model/fitting_net/neuron-value-.+, expected )"
     r"\[128, 128, 128\]\]", (r"\g<1>1 to 4 widths of 128]",)),
    # one more parameter
    (r"test_hdl_arith.py::test_multiplier\[(\d)\]",
     (r"test_hdl_arith.py::test_multiplier[UltraScale+-bits0-\1]",)),
    (r"test_hdl_descriptor.py::test_floor_to_data\[(\d+)\]",
     (r"test_hdl_descriptor.py::test_to_data[\1-False]",
      r"test_hdl_descriptor.py::test_to_data[\1-True]")),
    (r"(test_hdl_fitnet_integers.py::test_integers_equal_the_spec\[0\.\d+)\]", (r"\1-False]",)),
    (r"(test_hdl_forward.py::test_neighbor_forward\[\d-\d)\]", (r"\1-False]",)),
    (r"(test_rtl_full.py::test_fixture\[128-32-32)\]", (r"\1-cpp]",)),
    (r"(test_rtl_full.py::test_fixture\[256-8-128)\]", (r"\1-cocotb]",)),
    # by how it is shown
    (r"test_demo.py::test_summary",
     ("test_demo.py::test_summary_where_the_output_is_piped",
      "test_demo.py::test_summary_on_a_terminal")),
    # words of a message
    (r"(test_train_restart.py::test_damaged_checkpoints_are_one_line\[weights/.+-change\d-)"
     r"the array (.+) does not hold finite numbers only\]",
     (r"\1weights/\2 holds other than finite numbers]",)),
]
_SIZES = "has more than one setting now (test_sizes.py)"
_ONE = "test_input_policy.py::test_a_key_with_one_setting_refuses_others_by_name"
GONE = {
    f"{_ONE}[nvnmd/net_size]": _SIZES,
    f"{_ONE}[model[standard]/descriptor[se_e2_a]/neuron]": _SIZES,
    f"{_ONE}[model[standard]/descriptor[se_e2_a]/axis_neuron]": _SIZES,
    f"{_ONE}[model[standard]/fitting_net[ener]/neuron]": _SIZES,
    "test_input.py::test_each_mistake_is_one_line[nvnmd/max_nnei-value-nvnmd/max_nnei: missing "
    "key, expected an integer]": "no mistake any more, 128 is taken (test_later_keys.py)",
}


def plain(name: str) -> str:
    """File and test of an id, without the folder and the numbers that pytest gives parameters."""
    file, test = name.strip().split("::", 1)
    return f"{file.rsplit('/', 1)[-1]}::{_NUMBERED.sub(lambda m: m[1], test)}"


def collected() -> list[str]:
    """The tests of the current folder."""
    done = subprocess.run([sys.executable, "-P", "-m", "pytest", "--collect-only", "-q"],
                          capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if "::" in line]


def main() -> int:
    """Print where each test is; 1 if some are missing."""
    earlier = gzip.decompress(EARLIER.read_bytes()).decode().splitlines()
    now = collected()
    there = Counter(plain(name) for name in now)
    kept, missing, renamed = 0, [], []
    for name in map(plain, earlier):
        if there[name] > 0:
            # of two that are alike but for a number both must be there
            there[name] -= 1
            kept += 1
            continue
        for pattern, today in RENAMED:
            if re.fullmatch(pattern, name):
                names = [re.sub(pattern, new, name) for new in today]
                renamed.append((name, names))
                missing += [new for new in names if new not in there]
                break
        else:
            if name not in GONE:
                missing.append(name)
    for name, names in renamed:
        print(f"{name}\n  -> " + "\n  -> ".join(names))
    for name, why in GONE.items():
        print(f"{name}\n  gone: {why}")
    for name in missing:
        print(f"missing: {name}")
    print(f"{len(earlier)} tests then: {kept} as they were, {len(renamed)} of other names, "
          f"{len(GONE)} gone, {len(missing)} missing; {len(now)} tests now")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
