"""Keys that DeePMD-kit's training input got after the contract was written, up to version 3.2.0.

What gives data or steps another meaning is honoured. The rest is admitted with its default, as a
document that DeePMD-kit writes back holds every key, and refused by name with any other setting.
"""

from __future__ import annotations

from typing import Any

from dargs import Argument

from nvnmd.inputs.contract_parts import ABSENT, key
from nvnmd.inputs.rule import SECTION, Rule, honoured, only, refused

DESCRIPTOR = "model[standard]/descriptor[se_atten]"
FITTING = "model[standard]/fitting_net[ener]"
NUMBER = [float, int]
# More names of keys that the contract has
ALIASES = {
    "training/numb_steps": ("num_step", "num_steps", "numb_step"),
    f"{DESCRIPTOR}/smooth_type_embdding": ("smooth_type_embedding",),
}
GRADIENT = "the step is Adam's on each batch's own gradient"
TORCH = "a setting of DeePMD-kit's other backends"
MEAN_SQUARE = "the loss is the mean square of the errors"
ONE_MODEL = "one model is trained from its own document"

# Keys that no document may have: path, types, meaning, and why
REFUSED: tuple[tuple[str, Any, str, str], ...] = (
    ("model/model_dict", dict, "Models of several tasks, by name.", ONE_MODEL),
    ("model/shared_dict", dict, "What the models of several tasks share.", ONE_MODEL),
    ("model/finetune_head", str, "The task whose model is trained on.", ONE_MODEL),
    ("training/model_prob", dict, "How often each task is trained.", ONE_MODEL),
    ("training/num_epoch_dict", dict, "Passes over the data of each task.", ONE_MODEL),
    (f"{DESCRIPTOR}/lmax", int, "Greatest degree of the angular moments.", TORCH),
)
# Path, types, default, meaning, and why no other setting is admitted
FIXED: tuple[tuple[str, Any, Any, str, str], ...] = (
    ("learning_rate[exp]/smooth", bool, False, "Decay at every step instead of in stairs.",
     "the rate falls in stairs"),
    *((f"loss[ener]/{end}_pref_h", NUMBER, 0.0, "Weight of the error of second derivatives.",
       "second derivatives are no label here") for end in ("start", "limit")),
    ("loss[ener]/use_default_pf", bool, False, "Take 1 where atom_pref.npy is missing.",
     "a weighted force needs atom_pref.npy"),
    ("loss[ener]/use_huber", bool, False, "Weigh large errors less.", MEAN_SQUARE),
    ("loss[ener]/huber_delta", [float, list[float]], 0.01, "Where use_huber begins.", MEAN_SQUARE),
    ("loss[ener]/loss_func", str, "mse", "Mean square or mean absolute errors.", MEAN_SQUARE),
    ("loss[ener]/f_use_norm", bool, False, "Take the length of a force's error.", MEAN_SQUARE),
    ("loss[ener]/intensive_ener_virial", bool, False, "Divide energies by the squared number of "
     "atoms.", "energies and virials count per atom"),
    ("training/training_data/min_pair_dist", float, 0.0, "Leave out frames with a pair of atoms "
     "nearer than this, in Å.", "every frame counts; `nvnmd check` names frames with near pairs"),
    ("training/stat_file_mode", str, "update", "What becomes of the statistics' file.",
     "a stat_file is written if it is missing, and else read"),
    ("training/save_dir", [str, None], None, "Folder of the checkpoints.",
     "checkpoints go into the output folder"),
    ("training/ckpt_keep_ratio", [float, None], None, "Share of the checkpoints that is kept.",
     "max_ckpt_keep says how many checkpoints are kept"),
    ("training/enable_ema", bool, False, "Average the parameters over the steps.", GRADIENT),
    ("training/ema_decay", float, 0.999, "Decay of that average.", GRADIENT),
    ("training/ema_ckpt_keep", [int, None], None, "Checkpoints of that average.", GRADIENT),
    ("training/change_bias_after_training", bool, False, "Fit the energies of the types again at "
     "the end.", "the types' energies are those of the data's statistics"),
    ("training/disp_avg", bool, False, "Show errors averaged since the last line.",
     "the errors shown are those of one batch"),
    ("training/acc_freq", int, 1, "Batches whose gradients are summed before a step.", GRADIENT),
    *((f"training/{name}", dtype, default, text, TORCH) for name, dtype, default, text in (
        ("zero_stage", int, 0, "How parameters are spread over workers."),
        ("neighbor_graph_method", str, "auto", "How neighbours are listed."),
        ("enable_compile", bool, False, "Compile the model."),
        ("enable_tf32", bool, False, "Compute products in TF32."))),
    ("model/preset_out_bias", [dict, None], None, "Energies of the types, by output.",
     "fitting_net/atom_ener gives energies of lone atoms"),
    ("model[standard]/model_branch_alias", list, [], "Names of a branch.", ONE_MODEL),
    ("model[standard]/info", dict, {}, "Notes on the model.", "notes are keys that begin with _"),
    ("model[standard]/bridging_method", [str, None], None, "A potential for short distances.",
     "the hardware adds no table to the network"),
    ("model[standard]/bridging_r_inner", float, 0.5, "Where that potential is alone.",
     "the hardware adds no table to the network"),
    ("model[standard]/bridging_r_outer", float, 0.8, "Where that potential ends.",
     "the hardware adds no table to the network"),
    (f"{DESCRIPTOR}/env_protection", float, 0.0, "Number in Å added to distances before dividing "
     "by them.", "distances are clamped from below instead"),
    (f"{DESCRIPTOR}/trainable_ln", bool, True, "Train the attention's normalisation.",
     "there are no attention layers in the hardware"),
    (f"{DESCRIPTOR}/ln_eps", [float, None], None, "Least deviation of that normalisation.",
     "there are no attention layers in the hardware"),
    (f"{DESCRIPTOR}/use_econf_tebd", bool, False, "Embed the types by their electrons.",
     "the types have a net of their own"),
    (f"{DESCRIPTOR}/use_tebd_bias", bool, False, "Add a bias to the types' vectors.",
     "the types have a net of their own"),
    (f"{FITTING}/default_fparam", [list[float], None], None, "Parameters of frames without any.",
     "there are no frame parameters"),
    (f"{FITTING}/dim_case_embd", int, 0, "Length of a vector that tells data sets apart.",
     ONE_MODEL),
    ("optimizer/type", str, "Adam", "The optimizer.", "the optimizer is Adam"),
    ("optimizer/adam_beta1", float, 0.9, "Decay of the gradient's mean.", "Adam's usual numbers"),
    ("optimizer/adam_beta2", float, 0.999, "Decay of its square's mean.", "Adam's usual numbers"),
    ("optimizer/weight_decay", float, 0.0, "Share of a weight taken off in a step.", GRADIENT),
    *((f"validating/{name}", dtype, default, "Of a validation over all frames, which keeps the "
       "best model.", "no such validation; `nvnmd test` measures errors over all frames")
      for name, dtype, default in (
        ("full_validation", bool, False), ("ema_full_validation", bool, False),
        ("validation_freq", int, 5000), ("save_best", bool, True),
        ("save_best_dir", [str, None], None), ("max_best_ckpt", int, 1),
        ("validation_metric", str, "E:MAE"), ("full_val_file", str, "val.log"),
        ("full_val_start", NUMBER, 0.5), ("compiled_infer", bool, False),
        ("tf32_infer", bool, False), ("amp_infer", bool, False))),
)


def _patterns() -> Argument:
    return key("rglob_patterns", [list[str], None], "Names or patterns, such as *_train; of the "
               "systems below the folders only those are taken whose path ends so.", None)


def _honoured() -> dict[str, list[Argument]]:
    """New keys by the section they are in."""
    return {
        "training/training_data": [_patterns()], "training/validation_data": [_patterns()],
        "training": [key("numb_epoch", NUMBER, "Passes over the data, in place of numb_steps.",
                         ABSENT, alias=["num_epoch", "num_epochs", "numb_epochs"])],
        "learning_rate": [
            key("stop_lr_ratio", [float, None], "stop_lr over start_lr, in place of stop_lr.",
                None),
            key("warmup_steps", int, "As training/warmup_steps.", ABSENT),
            key("warmup_ratio", [float, None], "Share of the steps in which the learning rate "
                "rises, in place of warmup_steps.", None),
            key("warmup_start_factor", float, "Share of start_lr that it rises from.", 0.0)],
    }


def add_later_keys(sections: dict[str, Argument]) -> None:
    """Add the keys to the contract's sections, by their names."""
    sections["optimizer"] = key("optimizer", dict, "How a step follows from the gradient.", ABSENT)
    sections["validating"] = key("validating", dict, "Validation over all frames.", ABSENT)
    for path, fields in _honoured().items():
        _section(sections, path).extend_subfields(fields)
    for path, dtype, default, doc, _ in FIXED:
        where, _, name = path.rpartition("/")
        _section(sections, where).extend_subfields([key(name, dtype, doc, default)])
    for path, dtype, doc, _ in REFUSED:
        where, _, name = path.rpartition("/")
        _section(sections, where).extend_subfields([key(name, dtype, doc, ABSENT)])
    for path, names in ALIASES.items():
        where, _, name = path.rpartition("/")
        field = _section(sections, where)[name]
        field.alias = [*field.alias, *names]
    # where stop_lr_ratio says it
    stop = _section(sections, "learning_rate[exp]")["stop_lr"]
    stop.dtype = (*stop.dtype, type(None))


def _section(sections: dict[str, Argument], path: str) -> Argument:
    """The section of a path, choices in brackets."""
    head, *rest = path.split("/")
    found = Argument("document", dict, list(sections.values()))
    for part in (head, *rest):
        name, _, choice = part.removesuffix("]").partition("[")
        inner = found.sub_fields.get(name)
        if inner is None:
            inner = next(field for variant in found.sub_variants.values()
                         for one in variant.choice_dict.values()
                         for field in one.sub_fields.values() if field.name == name)
        found = inner
        if choice:
            found = next(variant.choice_dict[choice] for variant in found.sub_variants.values()
                         if choice in variant.choice_dict)
    return found


def later_rules(version: int) -> dict[str, Rule]:
    """Return the rules for these keys."""
    steps = "a number of steps above 0"
    found = {path: only(default, why=why) for path, _, default, _, why in FIXED
             if version == 1 or not path.startswith(DESCRIPTOR)}
    found |= {path: refused(why) for path, _, _, why in REFUSED
              if version == 1 or not path.startswith(DESCRIPTOR)}
    for part in ("training/training_data", "training/validation_data"):
        found[f"{part}/rglob_patterns"] = honoured(
            "As pathlib's rglob.", lambda v: v is None or (
                len(v) > 0 and all(one and not one.startswith("/") for one in v)),
            "null or at least one pattern of a relative path")
    # of old, data were named in `training` itself
    for name in ("rglob_patterns", "min_pair_dist"):
        found[f"training/{name}"] = found[f"training/training_data/{name}"]
    return found | {
        "optimizer": SECTION, "validating": SECTION,
        "training/numb_epoch": honoured(
            "Steps in which the system of most batches for its probability gives each of them "
            "this many times.", lambda v: v > 0, "a number above 0"),
        "learning_rate[exp]/stop_lr": honoured("", lambda v: v is None or v >= 0,
                                                "a number of at least 0"),
        "learning_rate/stop_lr_ratio": honoured(
            "", lambda v: v is None or 0 < v <= 1, "null or a factor above 0 and at most 1"),
        "learning_rate/warmup_steps": honoured("Here or in training.", lambda v: v >= 0,
                                                f"0 or {steps}"),
        "learning_rate/warmup_ratio": honoured(
            "", lambda v: v is None or 0 <= v < 1, "null or a share of at least 0 and below 1"),
        "learning_rate/warmup_start_factor": honoured(
            "", lambda v: 0 <= v <= 1, "a factor from 0 to 1"),
    }
