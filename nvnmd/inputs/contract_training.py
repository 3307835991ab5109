"""The input contract: learning rate, loss, training and the section `nvnmd`."""

from __future__ import annotations

from dargs import Argument, Variant

from nvnmd.inputs.contract_parts import ABSENT, NUMBER, SEED, choice, key


def learning_rate_section() -> Argument:
    """The section `learning_rate`."""
    exp = choice("exp", [
        key("start_lr", float, "Learning rate of the first step.", 1e-3),
        key("stop_lr", float, "Learning rate aimed at for the last step; with a decay_rate the "
            "least one.", 1e-8),
        key("decay_steps", int, "Steps between two reductions.", 5000),
        key("decay_rate", [float, None], "Factor of a reduction, instead of the one that leads "
            "from start_lr to stop_lr.", None),
    ], "Exponential decay in stairs.")
    return key("learning_rate", dict, "How the learning rate falls during the training.", ABSENT,
               fields=[key("scale_by_worker", str, "How the rate grows with the number of "
                           "workers: linear, sqrt or none.", "linear")],
               variants=[Variant("type", [exp], optional=True, default_tag="exp",
                                 doc="How it falls.")])


def _pair(name: str, what: str, start: float, limit: float,
          dtype: object = None) -> list[Argument]:
    """Start and limit of a prefactor."""
    types = NUMBER if dtype is None else dtype
    return [key(f"start_pref_{name}", types, f"Weight of the {what} error at the start; where "
                "start and limit are 0 it is left out.", start),
            key(f"limit_pref_{name}", types, f"Weight of the {what} error as the learning rate "
                "goes to 0.", limit)]


def _common_terms() -> list[Argument]:
    return [*_pair("v", "virial", 0.0, 0.0), *_pair("ae", "atomic energy", 0.0, 0.0),
            *_pair("pf", "force (each atom's weighted by atom_pref.npy)", 0.0, 0.0),
            key("relative_f", [float, None], "Divide a force error by the force's length plus "
                "this number in eV/Å.", ABSENT),
            key("enable_atom_ener_coeff", bool, "Weigh the atoms' energies with "
                "atom_ener_coeff.npy before summing them.", False)]


def loss_variant() -> Variant:
    """The key `type` of a loss with what each type takes."""
    ener = choice("ener", [
        *_pair("e", "energy", 0.02, 1.0), *_pair("f", "force", 1000, 1.0), *_common_terms(),
        *_pair("gf", "generalised force (drdq.npy)", 0.0, 0.0, float),
        key("numb_generalized_coord", int, "Number of generalised coordinates.", 0),
    ], "Energies, forces, virials.")
    spin = choice("ener_spin", [
        *_pair("e", "energy", 0.02, 1.0), *_pair("fr", "atoms' force", 1000, 1.0),
        *_pair("fm", "magnetic force", 10000, 10.0), *_common_terms(),
    ], "Energies and forces of systems with spins.")
    dos = choice("dos", [
        *_pair("dos", "density of states", 0.0, 0.0),
        *_pair("cdf", "summed density of states", 0.0, 0.0),
        *_pair("ados", "atomic density of states", 1.0, 1.0),
        *_pair("acdf", "summed atomic density of states", 0.0, 0.0),
    ], "Densities of states.")
    tensor = choice("tensor", [
        key("pref", NUMBER, "Weight of the frames' tensors."),
        key("pref_atomic", NUMBER, "Weight of the atoms' tensors."),
    ], "Dipoles and polarizabilities.")
    return Variant("type", [ener, spin, dos, tensor], optional=True, default_tag="ener",
                   doc="What errors are weighed.")


def _data_keys() -> list[Argument]:
    return [
        key("systems", [str, list[str]], "Folders at or below which every system is taken; one "
            "or a list, relative to the working directory."),
        key("set_prefix", str, "What the names of a system's sets begin with.", "set"),
        key("batch_size", [str, list[int], int], "Frames per step: one number, one per system, "
            '"auto" (the least that gives 32 atoms), "auto:N" (the least that gives N atoms), '
            '"max:N" (the most that give N atoms), "filter:N" (the same without systems of more '
            'than N atoms) or "mixed:N" (N frames drawn from all systems).', "auto"),
        key("auto_prob", str, "How systems are drawn: prob_uniform, prob_sys_size (in proportion "
            "to their batches), or prob_sys_size;BEGIN:END:WEIGHT;... for blocks of them.",
            "prob_sys_size", alias=["auto_prob_style"]),
        key("sys_probs", [list[float], None], "Probability of each system, instead of auto_prob.",
            None, alias=["sys_weights"]),
    ]


def training_section() -> Argument:
    """The section `training`."""
    validation = [*_data_keys(), key("numb_btch", int, "Batches averaged for a validation error.",
                                     1, alias=["numb_batch"])]
    mixed = [
        key("output_prec", str, "Number format of the parameters: float32.", "float32"),
        key("compute_prec", str, "Number format of the computation: float16 or bfloat16."),
    ]
    optimizer = Variant("opt_type", [
        choice("Adam", [], "Adam."),
        choice("LKF", [key("kf_blocksize", int, "Block size of the filter.", ABSENT)],
               "A layer-wise Kalman filter."),
    ], optional=True, default_tag="Adam", doc="The optimizer.")
    return key("training", dict, "What to train on, for how long, and what to write when.", fields=[
        key("training_data", dict, "The data to train on.", ABSENT, fields=_data_keys()),
        key("validation_data", [dict, None], "The data that errors are shown for.", None,
            fields=validation),
        key("mixed_precision", dict, "Parameters and computation in two number formats.", ABSENT,
            fields=mixed),
        key("numb_steps", int, "Number of steps; each uses one batch.", alias=["stop_batch"]),
        key("seed", SEED, "Seed of the order of the frames.", ABSENT),
        key("disp_file", str, "File of the learning curve.", "lcurve.out"),
        key("disp_freq", int, "Steps between two lines of the learning curve.", 1000),
        key("save_freq", int, "Steps between two checkpoints.", 1000),
        key("save_ckpt", str, "What the checkpoints' names begin with.", "model.ckpt"),
        key("max_ckpt_keep", int, "Checkpoints kept; older ones are deleted.", 5),
        key("disp_training", bool, "Show the errors while training.", True),
        key("time_training", bool, "Show the time while training.", True),
        key("profiling", bool, "Write a profile of the training.", False),
        key("profiling_file", str, "File of that profile.", "timeline.json"),
        key("enable_profiler", bool, "Write a profile for TensorBoard.", False),
        key("tensorboard", bool, "Write a TensorBoard log.", False),
        key("tensorboard_log_dir", str, "Folder of the TensorBoard log.", "log"),
        key("tensorboard_freq", int, "Steps between two entries of the TensorBoard log.", 1),
        key("data_dict", dict, "Data for each task's name.", ABSENT),
        key("fitting_weight", dict, "Weight of each task's name.", ABSENT),
        key("warmup_steps", int, "Steps in which the learning rate rises from 0 to start_lr.",
            ABSENT),
        key("gradient_max_norm", float, "Length that a longer gradient is cut to; 0 for none.",
            ABSENT),
        key("stat_file", str, "File in which the data's statistics are kept for the next run.",
            ABSENT),
    ], variants=[optimizer])


def nvnmd_section() -> Argument:
    """The section `nvnmd`."""
    stage = "Whether the parameters of the {} are taken from weight_file."
    quantized = "Whether the {} computes as the hardware does."
    return key("nvnmd", dict, "What the hardware and the model have in common.", ABSENT, fields=[
        key("version", int, "0: one set of nets per atom type, up to 4 types. 1: type embedding, "
            "up to 32."),
        key("max_nnei", int, "Neighbours that the hardware holds per atom."),
        key("net_size", int, "Width of the fitting net's hidden layers."),
        key("map_file", str, "File of the tables that stand for the embedding nets."),
        key("config_file", str, "File of the settings of the hardware."),
        key("weight_file", str, "File of the weights."),
        key("enable", bool, "Whether the model is one for the hardware."),
        key("restore_descriptor", bool, stage.format("descriptor")),
        key("restore_fitting_net", bool, stage.format("fitting net")),
        key("quantize_descriptor", bool, quantized.format("descriptor")),
        key("quantize_fitting_net", bool, quantized.format("fitting net")),
    ])
