"""The settings of a run, as frozen dataclasses made once from validated input."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class DescriptorConfig:
    """The NVNMD variant of the se_e2_a descriptor.

    Attributes
    ----------
    sel : tuple of int
        Neighbour slots per neighbour type (version 0).
    rcut, rcut_smth : float
        Cut-off radius and start of the smoothing, in Å.
    neuron : tuple of int
        Widths of the embedding net; the last is M1.
    axis_neuron : int
        M2, the number of wrapped columns per row of the descriptor.
    seed : int or None
        Seed of the initial weights.
    set_davg_zero : bool
        Whether the mean of the radial values is 0 instead of the data's; in version 1 it is.
    trainable : bool
        Whether `train-cnn` trains the embedding nets.
    exclude_types : tuple of pairs of int
        Types that are no neighbours of each other, ascending; of a float network only.
    """

    sel: tuple[int, ...]
    rcut: float
    rcut_smth: float
    neuron: tuple[int, ...] = (8, 16, 32)
    axis_neuron: int = 4
    seed: int | None = None
    set_davg_zero: bool = False
    trainable: bool = True
    exclude_types: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, kw_only=True)
class FittingConfig:
    """The fitting net: hidden widths (tanh4, skips where widths are equal) and seed.

    `rcond` is that of the least squares that give the energy of each type
    (`nvnmd.network.statistics.energy_bias`). `trainable` says of every layer whether it is
    trained; None stands for all. `atom_ener` holds an energy of a lone atom in eV for each type,
    None where the data decide; empty for none (`nvnmd.network.vacuum`).
    """

    neuron: tuple[int, ...] = (128, 128, 128)
    seed: int | None = None
    rcond: float | None = None
    trainable: tuple[bool, ...] | None = None
    atom_ener: tuple[float | None, ...] = ()

    @property
    def fixed_layers(self) -> list[int]:
        """The layers that are not trained."""
        return [layer for layer, on in enumerate(self.trainable or ()) if not on]


@dataclass(frozen=True, kw_only=True)
class LearningRateConfig:
    """Exponential decay from `start_lr` to `stop_lr`, in steps of `decay_steps`.

    With a `decay_rate` each step takes that factor, and `stop_lr` is the least rate. A warm-up
    rises from `warmup_start_factor` times `start_lr`. What several workers make of the rate,
    `scale_by_worker` says: "linear", "sqrt" or "none".
    """

    start_lr: float = 1e-3
    stop_lr: float = 1e-8
    decay_steps: int = 5000
    decay_rate: float | None = None
    scale_by_worker: str = "linear"
    warmup_start_factor: float = 0.0


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Prefactors of the loss's terms at the start and in the limit.

    The terms: energy, force, virial, atomic energy, force with a weight per atom, generalised
    force (`nvnmd.inputs.loss_terms`). With a `relative_f` in eV/Å a force error counts relative
    to the force's length plus it. With `enable_atom_ener_coeff` the energy is a weighted sum of
    the atomic energies. `numb_generalized_coord` is the number of generalised coordinates.
    """

    start_pref_e: float = 0.02
    limit_pref_e: float = 1.0
    start_pref_f: float = 1000.0
    limit_pref_f: float = 1.0
    start_pref_v: float = 0.0
    limit_pref_v: float = 0.0
    start_pref_ae: float = 0.0
    limit_pref_ae: float = 0.0
    start_pref_pf: float = 0.0
    limit_pref_pf: float = 0.0
    start_pref_gf: float = 0.0
    limit_pref_gf: float = 0.0
    relative_f: float | None = None
    enable_atom_ener_coeff: bool = False
    numb_generalized_coord: int = 0


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """What to train on, for how long, and what to write when.

    `batch_size` holds one number of frames per system; `auto_prob` or `sys_probs` say how often
    each is drawn (`nvnmd.data.probability`). With `mixed_batch` every frame of a batch is drawn
    so, from any system. For `warmup_steps` the learning rate rises from 0. A gradient longer than
    `gradient_max_norm` is cut to it; 0 for none. `stat_file` keeps the statistics of the data
    from run to run (`nvnmd.training.statistics_file`). `tensorboard` and what follows it: see
    `nvnmd.training.tf_monitor`.
    """

    systems: tuple[str, ...]
    batch_size: tuple[int, ...]
    numb_steps: int
    seed: int | None = None
    disp_file: str = "lcurve.out"
    disp_freq: int = 1000
    save_freq: int = 1000
    save_ckpt: str = "model.ckpt"
    max_ckpt_keep: int = 5
    disp_training: bool = True
    time_training: bool = True
    validation_systems: tuple[str, ...] = ()
    validation_batch_size: tuple[int, ...] = ()
    validation_numb_btch: int = 1
    auto_prob: str = "prob_sys_size"
    sys_probs: tuple[float, ...] | None = None
    validation_auto_prob: str = "prob_sys_size"
    validation_sys_probs: tuple[float, ...] | None = None
    warmup_steps: int = 0
    gradient_max_norm: float = 0.0
    set_prefix: str = "set"
    validation_set_prefix: str = "set"
    stat_file: str | None = None
    tensorboard: bool = False
    tensorboard_log_dir: str = "log"
    tensorboard_freq: int = 1
    profiling: bool = False
    profiling_file: str = "timeline.json"
    enable_profiler: bool = False
    mixed_batch: bool = False


@dataclass(frozen=True, kw_only=True)
class StatisticsConfig:
    """Of what the normalisation is taken: `nbatch` batches of each system; and the least deviation.
    """

    nbatch: int = 10
    protect: float = 0.01


@dataclass(frozen=True, kw_only=True)
class Switches:
    """What of a model is restored and what is quantized (`nvnmd.inputs.stage`).

    None where a document says nothing: false in `train-cnn`, true in `train-qnn`.
    """

    restore_descriptor: bool | None = None
    restore_fitting_net: bool | None = None
    quantize_descriptor: bool | None = None
    quantize_fitting_net: bool | None = None


@dataclass(frozen=True, kw_only=True)
class StageFiles:
    """Paths of a stage's files, None for none."""

    config_file: str | None = None
    weight_file: str | None = None
    map_file: str | None = None


@dataclass(frozen=True, kw_only=True)
class PrecisionConfig:
    """Number formats of the nets in `train-cnn`: "float64" or "float32".

    `compute` is the format that hidden layers compute in with mixed precision, "float16" or
    "bfloat16", where both nets are "float32"; None without.
    """

    descriptor: str = "float64"
    fitting: str = "float64"
    compute: str | None = None


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One validated NVNMD input document.

    Attributes
    ----------
    version : int
        NVNMD version: 0 (one net per type, up to 4 types) or 1 (type embedding, up to 32).
    max_nnei : int
        Neighbour capacity of the hardware, 128 or 256.
    type_map : tuple of str
        Element names in the order of the type indices.
    tables : str
        Layout of the tables: "vendor", "octave" or "octave8".
    normalized : dict
        The whole document with defaults filled in, as it is written back.
    sub_version : int
        SUB_VERSION of version 1: 1, or 2 for the vendor's newer arithmetic.
    device : str
        The device that files of SUB_VERSION 2 are laid out for, "vu9p" or "vu13p".
    source : str
        Name of the document, for messages.
    stage : {"none", "cnn", "qnn"}
        The stage that the document's switches ask for; "none" where it has none.
    cnn_folder : str or None
        Folder of the continuous stage that the document names.
    switches, files : Switches, StageFiles
        What the document says of the stage; after `nvnmd.inputs.read.for_stage` complete.
    """

    version: int
    max_nnei: int
    type_map: tuple[str, ...]
    descriptor: DescriptorConfig
    fitting: FittingConfig
    learning_rate: LearningRateConfig
    loss: LossConfig
    training: TrainingConfig
    statistics: StatisticsConfig = field(default_factory=StatisticsConfig)
    precision: PrecisionConfig = field(default_factory=PrecisionConfig)
    normalized: dict = field(default_factory=dict, compare=False, repr=False)
    tables: str = "vendor"
    sub_version: int = 1
    device: str = "vu9p"
    source: str = field(default="input", compare=False, repr=False)
    stage: str = field(default="none", compare=False, repr=False)
    cnn_folder: str | None = field(default=None, compare=False, repr=False)
    switches: Switches = field(default_factory=Switches, compare=False, repr=False)
    files: StageFiles = field(default_factory=StageFiles, compare=False, repr=False)

    @property
    def ntypes(self) -> int:
        """Number of atom types."""
        return len(self.type_map)
