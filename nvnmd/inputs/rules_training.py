"""The rules for the sections `learning_rate`, `loss` and `training`."""

from __future__ import annotations

from nvnmd.inputs.limits import (
    OWN_FILE,
    SEED_LIMIT,
    STYLES,
    are_probabilities,
    is_batch_size,
    is_name,
    is_plain_batch_size,
    is_seed,
    is_style,
    names_file,
    names_own_file,
    not_negative,
)
from nvnmd.inputs.rule import COUNT, SECTION, WEIGHT, Rule, honoured, only, refused
from nvnmd.inputs.rules_model import ENERGY

MULTI = "one model is trained at a time; deployable is one whose model/type is standard"


def _learning_rate_and_loss() -> dict[str, Rule]:
    ends = ("start", "limit")
    return {
        "learning_rate": SECTION,
        "learning_rate/type": only("exp", why="the learning rate decays exponentially"),
        "learning_rate/scale_by_worker": honoured(
            "With one worker the three are the same.",
            lambda v: v in ("linear", "sqrt", "none"), '"linear", "sqrt" or "none"'),
        "learning_rate[exp]/start_lr": honoured("0 trains nothing.", not_negative,
                                                 "a number of at least 0"),
        "learning_rate[exp]/stop_lr": WEIGHT,
        "learning_rate[exp]/decay_steps": COUNT,
        "learning_rate[exp]/decay_rate": honoured("", lambda v: v is None or 0 < v <= 1,
                                                   "null or a factor above 0 and at most 1"),
        "learning_rate_dict": refused(MULTI), "loss_dict": refused(MULTI),
        "loss": SECTION, "loss/type": only("ener", why="an NVNMD model gives energies"),
        **{f"loss[{name}]": refused(ENERGY) for name in ("ener_spin", "dos", "tensor")},
        **{f"loss[ener]/{end}_pref_{term}": WEIGHT
           for term in ("e", "f", "v", "ae", "pf", "gf") for end in ends},
        "loss[ener]/relative_f": honoured("The force column of the learning curve is relative "
                                           "then, too.", lambda v: v is None or v > 0,
                                           "null or a number above 0"),
        "loss[ener]/enable_atom_ener_coeff": honoured(
            "In the losses and their learning curves and in the energy bias; test and the hardware "
            "sum plainly."),
        "loss[ener]/numb_generalized_coord": honoured("", not_negative,
                                                       "an integer of at least 0"),
    }


def _data(validation: bool = False) -> dict[str, Rule]:
    size = honoured('"mixed:N" in both versions, for systems of any composition.', is_batch_size,
                     'a positive integer, one per system, "auto", "auto:N", "max:N", "filter:N" '
                     'or "mixed:N"')
    if validation:
        size = honoured('"mixed:N" is for training data only.', is_plain_batch_size,
                         'a positive integer, one per system, "auto", "auto:N", "max:N" or '
                         '"filter:N"')
    return {
        "systems": honoured("Folders, or FILE.hdf5#/PATH; frames may differ in composition "
                             "(the mixed layout).", lambda v: len(v) > 0, "at least one folder"),
        "set_prefix": honoured("The sets are the folders <prefix>.* of a system.", is_name,
                                "a name without a slash"),
        "batch_size": size,
        "auto_prob": honoured("Not together with sys_probs.", is_style, STYLES),
        "sys_probs": honoured("Of sum 1; systems with a negative one share what the others leave, "
                              "in proportion to their batches.", are_probabilities,
                              "numbers whose sum, without negative ones, is at most 1"),
    }


def _training() -> dict[str, Rule]:
    plain = {
        "numb_steps": honoured("Or numb_epoch.", not_negative, "an integer of at least 0"),
        "seed": honoured("Also of the initial weights where no other seed is given.", is_seed,
                          SEED_LIMIT),
        "disp_file": honoured("In the output folder; only the last part of the path counts.",
                               names_own_file, OWN_FILE),
        "disp_freq": COUNT, "save_freq": COUNT, "max_ckpt_keep": COUNT,
        "save_ckpt": honoured("In the output folder; only the last part of the path counts.",
                               names_own_file, OWN_FILE),
        "disp_training": honoured("With false the learning curve stays empty, and the validation "
                                  "data are not looked at."),
        "time_training": SECTION,
        "opt_type": only("Adam", why="the optimizer is Adam"),
        "profiling": honoured("A Chrome trace of 20 steps after the first: TensorFlow's "
                               "operations and this program's functions."),
        "profiling_file": honoured("In the output folder; only the last part of the path counts.",
                                    names_own_file, OWN_FILE),
        "enable_profiler": honoured("Of 20 steps after the first, in tensorboard_log_dir."),
        "tensorboard": honoured(
            "Errors of the training batches and the learning rate in train/, and with every line "
            "of the learning curve those of the validation data in test/. Nothing is deleted: each "
            "run writes a new file."),
        "tensorboard_log_dir": honoured("Relative to the output folder.", bool, "a folder"),
        "tensorboard_freq": COUNT,
        "mixed_precision": honoured("In train-cnn; both nets' precision is float32 with it."),
        "mixed_precision/output_prec": only("float32", why="the one format of the parameters"),
        "mixed_precision/compute_prec": honoured(
            "Of the nets' layers but the last of a fitting net.",
            lambda v: v in ("float16", "bfloat16"), '"float16" or "bfloat16"'),
        "data_dict": refused(MULTI), "fitting_weight": refused(MULTI),
        "warmup_steps": honoured("The loss keeps its prefactors of the start meanwhile, and the "
                                  "decay begins after it.", not_negative,
                                  "an integer of at least 0"),
        "gradient_max_norm": honoured("", not_negative, "a number of at least 0"),
        "stat_file": honoured(
            "An npz file of this program, relative to the working directory. train-cnn writes it "
            "if it is missing, and else takes mean, deviation and energy bias from it; other "
            "settings than those it was written with are an error.", names_file, "a file name"),
    }
    parts = ("training/training_data", "training/validation_data")
    return {
        "training": SECTION, **dict.fromkeys(parts, SECTION),
        "training[LKF]": refused("the optimizer is Adam"),
        **{f"{part}/{name}": rule for part in parts
           for name, rule in _data(validation=part is parts[1]).items()},
        "training/validation_data/numb_btch": COUNT,
        **{f"training/{name}": rule for name, rule in plain.items()},
        # of old, data were named in `training` itself
        **{f"training/{name}": rule for name, rule in _data().items()},
        "training/numb_test": Rule("warned", "Of older versions of DeePMD-kit; no effect, and a "
                                   "warning names what takes its place."),
    }


def training_rules() -> dict[str, Rule]:
    """Return the rules for how the model is trained, and on what."""
    return {**_learning_rate_and_loss(), **_training()}
