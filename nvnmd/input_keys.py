"""The keys of an input document: names, types, defaults, limits and meanings, as a dargs tree.

Names, types and defaults are those of DeePMD-kit, so that its users' documents work unchanged. A
key whose other settings have no meaning for an NVNMD model is kept, and admits only the setting
that NVNMD has; the reason stands in its limit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dargs import Argument

Check = Callable[[Any], bool]

SECTIONS = ("nvnmd", "learning_rate", "loss", "training", "model")
NO_PARALLEL = "this program trains in one process"


def _required(name: str, dtype: Any, doc: str, check: Check | None = None, limit: str = "",
              alias: Sequence[str] = ()) -> Argument:
    return Argument(name, dtype, doc=doc, extra_check=check, extra_check_errmsg=limit, alias=alias)


def _optional(name: str, dtype: Any, default: Any, doc: str, check: Check | None = None,
              limit: str = "", alias: Sequence[str] = ()) -> Argument:
    return Argument(name, dtype, optional=True, default=default, doc=doc, extra_check=check,
                    extra_check_errmsg=limit, alias=alias)


def _absent(name: str, dtype: Any, doc: str, check: Check | None = None, limit: str = "",
            alias: Sequence[str] = ()) -> Argument:
    """An optional key without a default of its own (it depends on other keys)."""
    return Argument(name, dtype, optional=True, doc=doc, extra_check=check,
                    extra_check_errmsg=limit, alias=alias)


def _fixed(name: str, dtype: Any, allowed: Sequence[Any], why: str) -> Argument:
    """A DeePMD-kit key of which NVNMD knows one setting, `allowed[0]` (or an equal spelling)."""
    shown = " or ".join(_spell(value) for value in allowed)
    return Argument(name, dtype, optional=True, default=allowed[0],
                    doc=f"Only {shown}: {why}.", extra_check=lambda value: value in allowed,
                    extra_check_errmsg=f"{shown} ({why})")


def _inert(name: str, dtype: Any, why: str) -> Argument:
    """A key that may have any value, because nothing here depends on it."""
    return Argument(name, dtype, optional=True, doc=f"Accepted; has no effect: {why}.")


def _spell(value: Any) -> str:
    import json

    return json.dumps(value)


def _positive(value: float) -> bool:
    return value > 0


def _not_negative(value: float) -> bool:
    return value >= 0


def _is_seed(value: int | None) -> bool:
    return value is None or 0 <= value < 2**32


SEED_LIMIT = "null or an integer from 0 to 4294967295"


def nvnmd_section() -> Argument:
    """The section that makes a document an NVNMD one."""
    stage = "the command (train-cnn, train-qnn) sets it; written back for DeePMD-kit's readers"
    return Argument("nvnmd", dict, [
        _required("version", int,
                  "0: one set of nets per atom type, up to 4 types. 1: type embedding, up to 32.",
                  lambda v: v in (0, 1), "0 or 1"),
        _required("max_nnei", int, "Neighbours that the hardware holds per atom: 128 or 256.",
                  lambda v: v in (128, 256), "128 or 256"),
        _required("net_size", int, "Width of the fitting net's hidden layers: 128.",
                  lambda v: v == 128, "128, the only size of the fitting net"),
        _absent("sel", list[int],
                "Neighbour slots per atom type, in the order of type_map; their sum is at most "
                "max_nnei. Here or in model/descriptor.", lambda v: all(n > 0 for n in v),
                "positive integers"),
        _absent("rcut", float,
                "Cut-off radius in Å, at most 8 (the tables end there). Here or in "
                "model/descriptor; 6.0 if in neither.", lambda v: 0 < v <= 8,
                "a radius above 0 and at most 8 Å, where the tables end"),
        _absent("rcut_smth", float,
                "Distance in Å from which the switch fades neighbours out. Here or in "
                "model/descriptor; 0.5 if in neither.", _positive, "a distance above 0 Å"),
        _absent("type_map", list[str],
                "Element names; their order numbers the types. Here or in model.",
                lambda v: len(v) > 0, "at least one element name"),
        _inert("config_file", str, stage),
        _inert("weight_file", str, stage),
        _inert("map_file", str, stage),
        _fixed("enable", bool, [True], "this program trains NVNMD models only"),
        _inert("restore_descriptor", bool, stage),
        _inert("restore_fitting_net", bool, stage),
        _inert("quantize_descriptor", bool, stage),
        _inert("quantize_fitting_net", bool, stage),
    ], doc="What the hardware and the model have in common.")


def learning_rate_section() -> Argument:
    """The decay of the learning rate."""
    return Argument("learning_rate", dict, [
        _fixed("type", str, ["exp"], "the learning rate decays exponentially"),
        _optional("start_lr", float, 1e-3, "Learning rate of the first step; 0 trains nothing.",
                  _not_negative, "a number of at least 0"),
        _optional("stop_lr", float, 1e-8, "Learning rate aimed at for the last step.",
                  _not_negative, "a number of at least 0"),
        _optional("decay_steps", int, 5000, "Steps between two reductions of the learning rate.",
                  _positive, "an integer above 0"),
        _fixed("decay_rate", [float, None], [None],
               "the rate follows from start_lr, stop_lr and the number of steps"),
        _inert("scale_by_worker", str, NO_PARALLEL),
    ], optional=True, doc="How the learning rate falls during the training.")


def loss_section() -> Argument:
    """The prefactors of the loss."""
    def prefactor(name: str, default: float, term: str, end: str) -> Argument:
        return _optional(name, float, default,
                         f"Weight of the {term} error {end}; where start and limit are 0 the "
                         f"{term} is left out.", _not_negative, "a number of at least 0")

    pairs = [("e", 0.02, 1.0, "energy"), ("f", 1000.0, 1.0, "force"), ("v", 0.0, 0.0, "virial")]
    known = [prefactor(f"{side}_pref_{key}", value, term, end)
             for key, start, limit, term in pairs
             for side, value, end in (("start", start, "at the start"),
                                      ("limit", limit, "as the learning rate goes to 0"))]
    other = [_fixed(f"{side}_pref_{key}", float, [0.0], f"{what} are not trained on")
             for key, what in (("ae", "atomic energies"), ("pf", "per-atom force weights"),
                               ("gf", "generalised forces"))
             for side in ("start", "limit")]
    return Argument("loss", dict, [
        _fixed("type", str, ["ener"], "an NVNMD model gives energies"),
        *known, *other,
        _fixed("relative_f", [float, None], [None], "force errors are absolute"),
        _fixed("enable_atom_ener_coeff", bool, [False], "every atom counts once"),
        _fixed("numb_generalized_coord", int, [0], "generalised forces are not trained on"),
    ], optional=True, doc="Weights of the terms of the loss; they move from start to limit in "
                          "proportion to the learning rate.")


def _is_batch_size(value: Any) -> bool:
    if isinstance(value, str):
        head, colon, count = value.partition(":")
        return head == "auto" and (not colon or (count.isdecimal() and int(count) > 0))
    return all(n > 0 for n in (value if isinstance(value, list) else [value]))


BATCH_LIMIT = 'a positive integer, one per system, "auto" or "auto:N"'


def data_keys(old_place: bool = False) -> list[Argument]:
    """The keys that name data: in `training_data`, `validation_data` and, of old, in `training`."""
    doc = ("One folder below which every system is taken, or a list of system folders; relative "
           "to the working directory.")
    systems = (_absent if old_place else _required)(
        "systems", [list[str], str], doc, lambda v: len(v) > 0, "at least one folder")
    return [
        systems,
        _absent("batch_size", [list[int], int, str],
                'Frames per step: one number for every system, a list with one per system, "auto" '
                '(the least that gives 32 atoms) or "auto:N" (the least that gives N atoms). '
                '"auto" if not given.', _is_batch_size, BATCH_LIMIT),
        _fixed("set_prefix", str, ["set"], "the sets of a system are its folders set.*"),
        Argument("auto_prob", str, optional=True, default="prob_sys_size",
                 alias=["auto_prob_style"], doc='Only "prob_sys_size": a system is drawn in '
                 "proportion to its number of batches.",
                 extra_check=lambda v: v == "prob_sys_size",
                 extra_check_errmsg='"prob_sys_size" (systems are drawn by their size)'),
        Argument("sys_probs", [list[float], None], optional=True, default=None,
                 alias=["sys_weights"], doc="Only null: systems are drawn by their size.",
                 extra_check=lambda v: v is None,
                 extra_check_errmsg="null (systems are drawn by their size)"),
    ]


def training_section() -> Argument:
    """Data, length and output of a training."""
    validation = [*data_keys(),
                  _optional("numb_btch", int, 1, "Batches averaged for a validation error.",
                            _positive, "an integer above 0", alias=["numb_batch"])]
    return Argument("training", dict, [
        Argument("training_data", dict, data_keys(), optional=True, doc="The data to train on."),
        Argument("validation_data", [dict, None], validation, optional=True, default=None,
                 doc="The data that errors are shown for; none by default."),
        *data_keys(old_place=True),
        _required("numb_steps", int, "Number of steps; each uses one batch.", _not_negative,
                  "an integer of at least 0", alias=["stop_batch"]),
        _optional("seed", [int, None], None, "Seed of the order of the frames, and of the initial "
                  "weights where model/*/seed is not given.", _is_seed, SEED_LIMIT),
        _optional("disp_file", str, "lcurve.out", "Name of the learning curve's file, in the "
                  "output folder.", lambda v: bool(v.rsplit("/", 1)[-1]), "a file name"),
        _optional("disp_freq", int, 1000, "Steps between two lines of the learning curve.",
                  _positive, "an integer above 0"),
        _optional("save_freq", int, 1000, "Steps between two checkpoints.", _positive,
                  "an integer above 0"),
        _optional("save_ckpt", str, "model.ckpt", "Prefix of the checkpoints' names, in the output "
                  "folder.", lambda v: bool(v.rsplit("/", 1)[-1]), "a file name"),
        _optional("max_ckpt_keep", int, 5, "Checkpoints kept; older ones are deleted.", _positive,
                  "an integer above 0"),
        _optional("disp_training", bool, True, "Show the errors while training."),
        _optional("time_training", bool, True, "Show the time while training."),
        _inert("numb_test", int, "DeePMD-kit's older versions tested on so many frames"),
        _fixed("profiling", bool, [False], "there is no profiler"),
        _inert("profiling_file", str, "there is no profiler"),
        _fixed("enable_profiler", bool, [False], "there is no profiler"),
        _fixed("tensorboard", bool, [False], "no TensorBoard log is written"),
        _inert("tensorboard_log_dir", str, "no TensorBoard log is written"),
        _inert("tensorboard_freq", int, "no TensorBoard log is written"),
        _fixed("opt_type", str, ["Adam"], "the optimizer is Adam"),
    ], doc="What to train on, for how long, and what to write when.")


def _nets_keys() -> list[Argument]:
    return [
        _fixed("resnet_dt", bool, [False], "NVNMD's skips carry no factor"),
        _fixed("precision", str, ["default", "float64"], "the float model is binary64"),
        _fixed("trainable", bool, [True], "every weight of the float model is trained"),
        _absent("seed", [int, None], "Seed of the initial weights; training/seed if not given.",
                _is_seed, SEED_LIMIT),
    ]


def model_section() -> Argument:
    """The model as DeePMD-kit writes it back; all is fixed but the reach of the descriptor."""
    descriptor = Argument("descriptor", dict, [
        _fixed("type", str, ["se_a", "se_e2_a"], "version 0 has this descriptor"),
        _absent("sel", list[int], "See nvnmd/sel.", lambda v: all(n > 0 for n in v),
                "positive integers"),
        _absent("rcut", float, "See nvnmd/rcut.", lambda v: 0 < v <= 8,
                "a radius above 0 and at most 8 Å, where the tables end"),
        _absent("rcut_smth", float, "See nvnmd/rcut_smth.", _positive, "a distance above 0 Å"),
        _fixed("neuron", list[int], [[8, 16, 32]], "the widths of NVNMD's embedding net"),
        Argument("axis_neuron", int, optional=True, default=4, alias=["n_axis_neuron"],
                 doc="Only 4: the columns that NVNMD keeps per row.",
                 extra_check=lambda v: v == 4,
                 extra_check_errmsg="4 (the columns that NVNMD keeps per row)"),
        _fixed("activation_function", str, ["tanh"], "NVNMD's embedding net"),
        _fixed("type_one_side", bool, [True], "one embedding net per neighbour type"),
        *_nets_keys(),
        _fixed("exclude_types", list, [[]], "every pair of types interacts"),
        _fixed("env_protection", float, [0.0], "distances are clamped from below instead"),
        _fixed("set_davg_zero", bool, [False], "the mean is taken from the data"),
    ], optional=True, doc="The descriptor.")
    fitting = Argument("fitting_net", dict, [
        _fixed("type", str, ["ener"], "an NVNMD model gives energies"),
        Argument("neuron", list[int], optional=True, default=[128, 128, 128], alias=["n_neuron"],
                 doc="Only [128, 128, 128]: the widths of NVNMD's fitting net.",
                 extra_check=lambda v: v == [128, 128, 128],
                 extra_check_errmsg="[128, 128, 128] (the widths of NVNMD's fitting net)"),
        _fixed("activation_function", str, ["tanh", "tanh4"],
               "both mean tanh4, NVNMD's polynomial in the place of tanh"),
        *_nets_keys(),
        _fixed("numb_fparam", int, [0], "there are no frame parameters"),
        _fixed("numb_aparam", int, [0], "there are no atomic parameters"),
        _fixed("rcond", [float, None], [None], "the energy bias is a plain least-squares fit"),
        _fixed("atom_ener", list, [[]], "the energy bias comes from the data"),
        _fixed("use_aparam_as_mask", bool, [False], "there are no atomic parameters"),
    ], optional=True, doc="The fitting net.")
    return Argument("model", dict, [
        _fixed("type", str, ["standard"], "one descriptor and one fitting net"),
        _absent("type_map", list[str], "See nvnmd/type_map.", lambda v: len(v) > 0,
                "at least one element name"),
        descriptor, fitting,
    ], optional=True, doc="The model; not needed where the section nvnmd has sel, rcut, rcut_smth "
                          "and type_map.")


def document_tree() -> Argument:
    """The whole document."""
    return Argument("input", dict, [nvnmd_section(), learning_rate_section(), loss_section(),
                                    training_section(), model_section()])
