"""What this program does with each key of the input contract: honours it, admits one setting, or
refuses it by name.

The loader goes by this table, and docs/input.md prints it. A key without a line of its own belongs
to a section or a choice that is refused as a whole.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from nvnmd.system_probability import blocks_of

Check = Callable[[Any], bool]

DESCRIPTOR = "model[standard]/descriptor"
FITTING = "model[standard]/fitting_net"
DESCRIPTOR_TYPES = {0: ("se_a", "se_e2_a"), 1: ("se_atten", "dpa1")}


@dataclass(frozen=True)
class Rule:
    """What becomes of a key.

    Attributes
    ----------
    kind : {"honoured", "only", "refused", "warned"}
        Done as it says; admitted with one of `values`; not admitted; without effect, which a
        warning says.
    note : str
        Why, or what it means here beyond the contract.
    values : tuple
        The settings that ``only`` admits; the first is that of a document without the key.
    check, limit : callable, str
        Further bounds of an honoured key, and how a message names them.
    """

    kind: Literal["honoured", "only", "refused", "warned"]
    note: str = ""
    values: tuple[Any, ...] = ()
    check: Check | None = None
    limit: str = ""

    @property
    def expected(self) -> str:
        """What an ``only`` key admits, and why, for a message."""
        shown = " or ".join(json.dumps(value) for value in self.values)
        return f"{shown} ({self.note})"


def _honoured(note: str = "", check: Check | None = None, limit: str = "") -> Rule:
    return Rule("honoured", note, check=check, limit=limit)


def _only(*values: Any, why: str) -> Rule:
    return Rule("only", why, values)


def _refused(why: str) -> Rule:
    return Rule("refused", why)


def _positive(value: float) -> bool:
    return value > 0


def _not_negative(value: float) -> bool:
    return value >= 0


def _is_seed(value: int | None) -> bool:
    return value is None or 0 <= value < 2**32


def _is_batch_size(value: Any) -> bool:
    if isinstance(value, str):
        head, _, count = value.partition(":")
        if value == "auto":
            return True
        return head in ("auto", "mixed") and count.isdecimal() and int(count) > 0
    return all(n > 0 for n in (value if isinstance(value, list) else [value]))


def _is_plain_batch_size(value: Any) -> bool:
    return _is_batch_size(value) and not str(value).startswith("mixed")


def _is_style(value: str) -> bool:
    try:
        blocks_of(value)
    except ValueError:
        return False
    return True


def _are_probabilities(value: list[float] | None) -> bool:
    return value is None or (min(value, default=-1.0) >= 0 and abs(sum(value) - 1.0) < 1e-6)


def _are_pairs(value: list[Any]) -> bool:
    return all(isinstance(pair, list) and len(pair) == 2
               and all(isinstance(kind, int) and not isinstance(kind, bool) for kind in pair)
               for pair in value)


def _is_name(value: str) -> bool:
    return bool(value) and "/" not in value


def _names_file(value: str) -> bool:
    return bool(value.rsplit("/", 1)[-1])


AUTO_FACTOR = 1.1
SEL_LIMIT = 'positive integers, "auto" or "auto:FACTOR"'
STYLES = '"prob_uniform", "prob_sys_size" or "prob_sys_size;BEGIN:END:WEIGHT;..."'
LEFT_OUT = "Left out: false in train-cnn, true in train-qnn."
QUANTIZED = "False in train-cnn; true or left out in train-qnn, where one of the two may be false."
SECTION = _honoured()
SEED = _honoured("training/seed if not given.", _is_seed,
                 "null or an integer from 0 to 4294967295")
WEIGHT = _honoured("", _not_negative, "a number of at least 0")
COUNT = _honoured("", _positive, "an integer above 0")
RCUT = _honoured("Here or in model/descriptor; 6.0 if in neither. At most 8, where the tables end.",
                 lambda v: 0 < v <= 8, "a radius above 0 and at most 8 Å, where the tables end")
RCUT_SMTH = _honoured("Here or in model/descriptor; 0.5 if in neither.", _positive,
                      "a distance above 0 Å")
PRECISION = _honoured(
    "In train-cnn: the net's parameters have this format and it computes in it; default is "
    "float64. What is quantized computes as the hardware does.",
    lambda v: v in ("default", "float64", "float32"),
    '"default", "float64" or "float32" (in float16 the steps of a training are lost)')
NO_FACTOR = _only(False, why="NVNMD's skips carry no factor")
MULTI = "one model is trained at a time; deployable is one whose model/type is standard"
ENERGY = "the hardware computes energies and forces; deployable is the type ener"


def auto_factor(text: str) -> float:
    """Return the factor of ``auto`` or ``auto:FACTOR``.

    Raises
    ------
    ValueError
        It is neither, or the factor is below 1.
    """
    head, colon, number = text.partition(":")
    factor = float(number) if colon else AUTO_FACTOR
    if head != "auto" or not (1.0 <= factor < math.inf):
        raise ValueError(text)
    return factor


def _is_sel(value: Any) -> bool:
    if isinstance(value, str):
        try:
            return auto_factor(value) >= 1.0
        except ValueError:
            return False
    return all(n > 0 for n in (value if isinstance(value, list) else [value]))


def _model() -> dict[str, Rule]:
    table = "the hardware adds no table to the network; deployable is the network alone"
    alone = "one descriptor and one fitting net; deployable is standard"
    return {
        "model": SECTION,
        "model/type": _only("standard", why="one descriptor and one fitting net"),
        **{f"model[{name}]": _refused(alone) for name in
           ("multi", "frozen", "pairtab", "pairwise_dprc", "linear_ener")},
        "model/type_map": _honoured("Here or in nvnmd.", lambda v: len(v) > 0,
                                    "at least one element name"),
        "model/data_stat_nbatch": _honoured(
            "Drawn by training/seed; the energy bias, the nearest distance and the most "
            "neighbours come from every frame.", _positive, "an integer above 0"),
        "model/data_stat_protect": _honoured("", _positive, "a number above 0"),
        "model/data_bias_nsample": _only(10, why="no command changes the bias of a trained model"),
        **{f"model/{name}": _refused(table)
           for name in ("use_srtab", "smin_alpha", "sw_rmin", "sw_rmax")},
        "model/srtab_add_bias": _only(True, why="there is no short-range table"),
        "model/pair_exclude_types": _honoured(
            "Added to the descriptor's exclude_types.", _are_pairs, "pairs of type indices"),
        "model/atom_exclude_types": _only([], why="every atom has an energy in the hardware"),
        "model/type_embedding": _refused("version 0 has a net per type, and version 1 embeds the "
                                         "types in its own way without this section"),
        "model/modifier": _refused("the hardware has no long-range sum; deployable is the model "
                                   "without it"),
        "model/compress": _refused("the tables of NVNMD take the place of a compressed model"),
        "model/spin": _refused("the hardware knows no spins; deployable are energies and forces "
                               "of atoms"),
    }


def _descriptor(kind: str, version: int) -> dict[str, Rule]:
    at = f"{DESCRIPTOR}[{kind}]"
    rules = {
        "sel": _honoured("See nvnmd/sel; auto counts over the training data.", _is_sel, SEL_LIMIT),
        "rcut": RCUT, "rcut_smth": RCUT_SMTH,
        "neuron": _only([8, 16, 32], why="the widths of NVNMD's embedding net"),
        "axis_neuron": _only(4, why="the columns that NVNMD keeps per row"),
        "activation_function": _only("tanh", why="NVNMD's embedding net"),
        "type_one_side": _only(True, why="one embedding net for all centre types"),
        "resnet_dt": NO_FACTOR, "precision": PRECISION, "trainable": _honoured(
            "The embedding nets, in version 1 with the net of the pairs of types; train-qnn trains "
            "the fitting nets only in any case."), "seed": SEED,
        "exclude_types": _honoured(
            "By a float descriptor; a quantized one has no such pairs, so train-qnn refuses all "
            "but [].", _are_pairs, "pairs of type indices"),
    }
    if version == 0:
        rules["env_protection"] = _only(0.0, why="distances are clamped from below instead")
        rules["set_davg_zero"] = _honoured()
    else:
        none = "there are no attention layers in the hardware"
        rules |= {
            "attn": _only(128, why=none), "attn_layer": _only(0, why=none),
            "attn_dotr": _only(True, why=none), "attn_mask": _only(False, why=none),
            "post_ln": _only(True, why=none), "ffn": _only(False, why=none),
            "ffn_embed_dim": _only(1024, why=none), "scaling_factor": _only(1.0, why=none),
            "head_num": _only(1, why=none), "normalize": _only(True, why=none),
            "temperature": _refused(none), "return_rot": _only(False, why=none),
            "concat_output_tebd": _only(False, why="the hardware's fitting net takes the "
                                                   "descriptor alone"),
            "stripped_type_embedding": _only(True, why="the types have a net of their own"),
            "smooth_type_embdding": _only(False, why="the types' net does not depend on the "
                                                     "distance"),
            "set_davg_zero": _only(True, why="version 1 has no mean"),
            "tebd_dim": _only(8, why="the hardware's length"),
            "tebd_input_mode": _only("strip", why="the types have a net of their own"),
        }
    return {f"{at}/{name}": rule for name, rule in rules.items()}


def _descriptors(version: int) -> dict[str, Rule]:
    mine, other = ("se_e2_a", "se_atten") if version == 0 else ("se_atten", "se_e2_a")
    none = {name: _refused(f"the hardware has the descriptors se_e2_a (version 0) and se_atten "
                           f"without attention (version 1), not {name}")
            for name in ("loc_frame", "se_e3", "se_a_tpe", "se_e2_r", "hybrid", "se_atten_v2",
                         "dpa2", "se_a_ebd_v2", "se_a_mask")}
    none[other] = _refused(f"the descriptor of nvnmd/version {1 - version}")
    return {
        DESCRIPTOR: SECTION,
        f"{DESCRIPTOR}/type": _only(*DESCRIPTOR_TYPES[version],
                                    why=f"the descriptor of version {version}"),
        **{f"{DESCRIPTOR}[{name}]": rule for name, rule in none.items()},
        **_descriptor(mine, version),
    }


def _fitting() -> dict[str, Rule]:
    rules = {
        "numb_fparam": _only(0, why="there are no frame parameters"),
        "numb_aparam": _only(0, why="there are no atomic parameters"),
        "neuron": _only([128, 128, 128], why="the widths of NVNMD's fitting net"),
        "activation_function": _only("tanh", "tanh4", why="both mean tanh4, NVNMD's polynomial in "
                                                          "the place of tanh"),
        "precision": PRECISION, "resnet_dt": NO_FACTOR,
        "trainable": _honoured("In both stages."),
        "rcond": _honoured("", lambda v: v is None or 0 <= v < 1,
                           "null or a number of at least 0 and below 1"),
        "seed": SEED,
        "atom_ener": _honoured(
            "The energy that the net gives to a descriptor of zeros; in version 0 that of a lone "
            "atom if set_davg_zero is true."),
        "layer_name": _refused("the nets of the hardware share no layers"),
        "use_aparam_as_mask": _only(False, why="there are no atomic parameters"),
    }
    return {
        FITTING: SECTION, f"{FITTING}/type": _only("ener", why="an NVNMD model gives energies"),
        **{f"{FITTING}[{name}]": _refused(ENERGY) for name in ("dos", "polar", "dipole")},
        **{f"{FITTING}[ener]/{name}": rule for name, rule in rules.items()},
    }


def _learning_rate_and_loss() -> dict[str, Rule]:
    ends = ("start", "limit")
    return {
        "learning_rate": SECTION,
        "learning_rate/type": _only("exp", why="the learning rate decays exponentially"),
        "learning_rate/scale_by_worker": _honoured(
            "With one worker the three are the same.",
            lambda v: v in ("linear", "sqrt", "none"), '"linear", "sqrt" or "none"'),
        "learning_rate[exp]/start_lr": _honoured("0 trains nothing.", _not_negative,
                                                 "a number of at least 0"),
        "learning_rate[exp]/stop_lr": WEIGHT,
        "learning_rate[exp]/decay_steps": COUNT,
        "learning_rate[exp]/decay_rate": _honoured("", lambda v: v is None or 0 < v <= 1,
                                                   "null or a factor above 0 and at most 1"),
        "learning_rate_dict": _refused(MULTI), "loss_dict": _refused(MULTI),
        "loss": SECTION, "loss/type": _only("ener", why="an NVNMD model gives energies"),
        **{f"loss[{name}]": _refused(ENERGY) for name in ("ener_spin", "dos", "tensor")},
        **{f"loss[ener]/{end}_pref_{term}": WEIGHT
           for term in ("e", "f", "v", "ae", "pf", "gf") for end in ends},
        "loss[ener]/relative_f": _honoured("The force column of the learning curve is relative "
                                           "then, too.", lambda v: v is None or v > 0,
                                           "null or a number above 0"),
        "loss[ener]/enable_atom_ener_coeff": _honoured(
            "In the losses and their learning curves and in the energy bias; test and the hardware "
            "sum plainly."),
        "loss[ener]/numb_generalized_coord": _honoured("", _not_negative,
                                                       "an integer of at least 0"),
    }


def _data(validation: bool = False) -> dict[str, Rule]:
    size = _honoured('"mixed:N" in both versions, for systems of any composition.', _is_batch_size,
                     'a positive integer, one per system, "auto", "auto:N" or "mixed:N"')
    if validation:
        size = _honoured('"mixed:N" is for training data only.', _is_plain_batch_size,
                         'a positive integer, one per system, "auto" or "auto:N"')
    return {
        "systems": _honoured("Folders, or FILE.hdf5#/PATH; frames may differ in composition "
                             "(the mixed layout).", lambda v: len(v) > 0, "at least one folder"),
        "set_prefix": _honoured("The sets are the folders <prefix>.* of a system.", _is_name,
                                "a name without a slash"),
        "batch_size": size,
        "auto_prob": _honoured("Not together with sys_probs.", _is_style, STYLES),
        "sys_probs": _honoured("At least 0, of sum 1.", _are_probabilities,
                               "numbers of at least 0 whose sum is 1"),
    }


def _training() -> dict[str, Rule]:
    plain = {
        "numb_steps": _honoured("", _not_negative, "an integer of at least 0"),
        "seed": _honoured("Also of the initial weights where model/*/seed is not given.", _is_seed,
                          "null or an integer from 0 to 4294967295"),
        "disp_file": _honoured("In the output folder; only the last part of the path counts.",
                               _names_file, "a file name"),
        "disp_freq": COUNT, "save_freq": COUNT, "max_ckpt_keep": COUNT,
        "save_ckpt": _honoured("In the output folder; only the last part of the path counts.",
                               _names_file, "a file name"),
        "disp_training": SECTION, "time_training": SECTION,
        "opt_type": _only("Adam", why="the optimizer is Adam"),
        "profiling": _honoured("A Chrome trace of 20 steps after the first: TensorFlow's "
                               "operations and this program's functions."),
        "profiling_file": _honoured("In the output folder; only the last part of the path counts.",
                                    _names_file, "a file name"),
        "enable_profiler": _honoured("Of 20 steps after the first, in tensorboard_log_dir."),
        "tensorboard": _honoured(
            "Errors of the training batches and the learning rate in train/, and with every line "
            "of the learning curve those of the validation data in test/. Nothing is deleted: each "
            "run writes a new file."),
        "tensorboard_log_dir": _honoured("Relative to the output folder.", bool, "a folder"),
        "tensorboard_freq": COUNT,
        "mixed_precision": _honoured("In train-cnn; both nets' precision is float32 with it."),
        "mixed_precision/output_prec": _only("float32", why="the one format of the parameters"),
        "mixed_precision/compute_prec": _honoured(
            "Of the nets' layers but the last of a fitting net.",
            lambda v: v in ("float16", "bfloat16"), '"float16" or "bfloat16"'),
        "data_dict": _refused(MULTI), "fitting_weight": _refused(MULTI),
        "warmup_steps": _honoured("The loss keeps its prefactors of the start meanwhile, and the "
                                  "decay begins after it.", _not_negative,
                                  "an integer of at least 0"),
        "gradient_max_norm": _honoured("", _not_negative, "a number of at least 0"),
        "stat_file": _honoured(
            "An npz file of this program, relative to the working directory. train-cnn writes it "
            "if it is missing, and else takes mean, deviation and energy bias from it; other "
            "settings than those it was written with are an error.", _names_file, "a file name"),
    }
    parts = ("training/training_data", "training/validation_data")
    return {
        "training": SECTION, **dict.fromkeys(parts, SECTION),
        "training[LKF]": _refused("the optimizer is Adam"),
        **{f"{part}/{name}": rule for part in parts
           for name, rule in _data(validation=part is parts[1]).items()},
        "training/validation_data/numb_btch": COUNT,
        **{f"training/{name}": rule for name, rule in plain.items()},
        # of old, data were named in `training` itself
        **{f"training/{name}": rule for name, rule in _data().items()},
        "training/numb_test": Rule("warned", "Of older versions of DeePMD-kit; no effect, and a "
                                   "warning names what takes its place."),
    }


def _nvnmd() -> dict[str, Rule]:
    return {
        "nvnmd": SECTION,
        "nvnmd/version": _honoured("", lambda v: v in (0, 1), "0 or 1"),
        "nvnmd/max_nnei": _honoured("", lambda v: v in (128, 256), "128 or 256"),
        "nvnmd/net_size": _only(128, why="the only size of the fitting net"),
        "nvnmd/enable": _only(True, why="false is the training of another program's model, which "
                                        "no hardware of NVNMD holds"),
        "nvnmd/config_file": _honoured("train-cnn writes it, into the folder of its output; "
                                       "train-qnn reads it. Or none."),
        "nvnmd/weight_file": _honoured("Read where something is restored; else none."),
        "nvnmd/map_file": _honoured("Read where the descriptor is quantized; else none."),
        "nvnmd/restore_descriptor": _honoured("With the statistics; both stay as they are. "
                                              + LEFT_OUT),
        "nvnmd/restore_fitting_net": _honoured("With the energy of each type; the training begins "
                                               "there, else with weights drawn anew. " + LEFT_OUT),
        "nvnmd/quantize_descriptor": _honoured("With the tables of map_file; needs "
                                               "restore_descriptor. " + QUANTIZED),
        "nvnmd/quantize_fitting_net": _honoured(QUANTIZED),
        "nvnmd/sel": _honoured("Here or in model/descriptor; the sum is at most max_nnei, and in "
                               "version 1 it is all that counts.",
                               _is_sel, SEL_LIMIT),
        "nvnmd/rcut": RCUT, "nvnmd/rcut_smth": RCUT_SMTH,
        "nvnmd/type_map": _honoured("Here or in model.", lambda v: len(v) > 0,
                                    "at least one element name"),
    }


@functools.cache
def table(version: int = 0) -> dict[str, Rule]:
    """Return the rules of a version: contract path -> rule; one table, to be read only."""
    return {**_nvnmd(), **_learning_rate_and_loss(), **_training(), **_model(),
            **_descriptors(version), **_fitting()}


def find_rule(rules: Mapping[str, Rule], path: str) -> Rule:
    """Return the rule of a key: its own, or that of the refused section or choice it is in.

    Raises
    ------
    KeyError
        The table says nothing of it.
    """
    if path in rules:
        return rules[path]
    parts = re.findall(r"/?[^/\[]+|\[\w+\]", path)
    for end in range(len(parts) - 1, 0, -1):
        above = rules.get("".join(parts[:end]))
        if above is not None and above.kind == "refused":
            return above
    raise KeyError(path)
