"""The way back: the input document of a run, as its output folder keeps it."""

from __future__ import annotations

from typing import Any

from nvnmd.inputs.config import RunConfig, StageFiles
from nvnmd.inputs.stage import settled


def normalized_document(config: RunConfig) -> dict[str, Any]:
    """The document of a run with every default written out, in DeePMD-kit's long form.

    The keys of the section `nvnmd` that name a stage's files and switches are those of the run;
    before `for_stage` a document that names no stage is written back as one of train-cnn without
    files.
    """
    switches, named = vars(settled(config.switches, config.stage)), vars(config.files)
    if config.stage == "none":
        given = {key: value for key, value in vars(config.switches).items() if value is not None}
        switches, named = (given, named) if given else (switches, vars(StageFiles()))
    files = {key: value or "none" for key, value in named.items()}
    descriptor, fitting, training = config.descriptor, config.fitting, config.training
    kind: dict[str, Any] = {"type": "se_a", "sel": list(descriptor.sel)}
    if config.version == 1:
        # as DeePMD-kit's readers know it; without attention
        kind = {"type": "se_atten", "tebd_input_mode": "strip", "sel": descriptor.sel[0],
                "attn": 128, "attn_layer": 0, "attn_dotr": True, "attn_mask": False}
    newer: dict[str, Any] = {}
    if config.sub_version == 2:
        del kind["tebd_input_mode"]
        kind |= {"stripped_type_embedding": True, "smooth_type_embdding": True}
        newer = {"sub_version": 2, "device": config.device}
    data: dict[str, Any] = {"training_data": {
        "systems": list(training.systems),
        "batch_size": (f"mixed:{training.batch_size[0]}" if training.mixed_batch
                       else list(training.batch_size)),
        "set_prefix": training.set_prefix, "auto_prob": training.auto_prob,
        "sys_probs": _list(training.sys_probs)}}
    if training.validation_systems:
        data["validation_data"] = {"systems": list(training.validation_systems),
                                   "batch_size": list(training.validation_batch_size),
                                   "set_prefix": training.validation_set_prefix,
                                   "auto_prob": training.validation_auto_prob,
                                   "sys_probs": _list(training.validation_sys_probs),
                                   "numb_btch": training.validation_numb_btch}
    plain = {key: getattr(training, key) for key in (
        "numb_steps", "seed", "disp_file", "disp_freq", "save_ckpt", "save_freq", "max_ckpt_keep",
        "disp_training", "time_training", "warmup_steps", "gradient_max_norm", "tensorboard",
        "tensorboard_log_dir", "tensorboard_freq", "profiling", "profiling_file",
        "enable_profiler")}
    if training.stat_file is not None:
        plain["stat_file"] = training.stat_file
    precision = config.precision
    if precision.compute is not None:
        plain["mixed_precision"] = {"output_prec": precision.fitting,
                                    "compute_prec": precision.compute}
    # no key of DeePMD-kit's: only where its reader must not go on without it
    tables = {} if config.tables == "vendor" else {"tables": config.tables}
    return {
        "nvnmd": {"version": config.version, **newer, "max_nnei": config.max_nnei,
                  "net_size": fitting.neuron[0], **tables, **files, "enable": True, **switches},
        "learning_rate": {"type": "exp", **vars(config.learning_rate)},
        "loss": {"type": "ener", **vars(config.loss)},
        "training": {**plain, **data},
        "model": {
            "type_map": list(config.type_map),
            "data_stat_nbatch": config.statistics.nbatch,
            "data_stat_protect": config.statistics.protect,
            "descriptor": {**kind, "rcut": descriptor.rcut,
                           "rcut_smth": descriptor.rcut_smth, "neuron": list(descriptor.neuron),
                           "axis_neuron": descriptor.axis_neuron, "type_one_side": True,
                           "resnet_dt": False, "set_davg_zero": descriptor.set_davg_zero,
                           "precision": precision.descriptor,
                           "trainable": descriptor.trainable, "seed": descriptor.seed,
                           "exclude_types": [list(pair) for pair in descriptor.exclude_types]},
            "fitting_net": {"neuron": list(fitting.neuron), "resnet_dt": False,
                            "trainable": fitting.trainable is None or list(fitting.trainable),
                            "atom_ener": list(fitting.atom_ener),
                            "precision": precision.fitting,
                            "rcond": fitting.rcond, "seed": fitting.seed},
        },
    }


def _list(values: tuple[float, ...] | None) -> list[float] | None:
    return None if values is None else list(values)
