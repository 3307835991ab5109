"""What an accelerator needs of a board's FPGA, and whether the board has it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

from nvnmd.boards.application import ATOMS_HEAD
from nvnmd.boards.catalog import BoardType
from nvnmd.errors import InputError
from nvnmd.hdl.budget import FAMILIES, Budget, Family, count_budget, total
from nvnmd.hdl.export import config_for
from nvnmd.hdl.pace import buffers_for
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.pipeline.loadbus import LANE_BITS, LANES
from nvnmd.hdl.presets import PRESETS
from nvnmd.quantize.model import Model

LINK_WORDS = 1024
"""Words of a slot's memories on an FPGA with an echo, and at least: two memories, for requests and
replies, hold two slots each."""


def link_words(cfg: AcceleratorConfig) -> int:
    """Words of a slot's memories with which an atom of `max_nnei` neighbours passes the link."""
    longest = ATOMS_HEAD + 1 + LANES * cfg.max_nnei
    return max(LINK_WORDS, 1 << (longest - 1).bit_length())


@dataclass(frozen=True)
class Need:
    """Blocks that an accelerator takes of an FPGA's family, and those of the board.

    Attributes
    ----------
    multipliers, memories : int
        Blocks needed, the link's memories included; logic is not counted.
    bits : int
        Of all its memories, small ones and the link's too.
    family : Family
        Names the blocks.
    board : BoardType
    """

    multipliers: int
    memories: int
    bits: int
    family: Family
    board: BoardType

    @property
    def fits(self) -> bool:
        """The board has as many."""
        return (self.multipliers <= self.board.multipliers
                and self.memories <= self.board.memories)

    def __str__(self) -> str:
        return (f"{self.multipliers} of {self.board.multipliers} {self.family.multiplier}, "
                f"{self.memories} of {self.board.memories} {self.family.memory}")

    @property
    def bits_available(self) -> int:
        """Bits of the board's memory blocks."""
        return self.board.memories * self.family.block_bits


def need_of(cfg: AcceleratorConfig, board: BoardType, counted: Budget | None = None) -> Need:
    """Count what a configuration needs of a board's FPGA; takes seconds.

    Parameters
    ----------
    counted : Budget, optional
        The accelerator's, where it was counted before: it is the same for every FPGA.

    Raises
    ------
    InputError
        The board has no FPGA.
    """
    family = next((family for family in FAMILIES if family.name == board.fpga), None)
    if family is None:
        raise InputError(f"board: {board.name} has no FPGA, expected a board that has one")
    whole = total(count_budget(cfg)) if counted is None else counted
    link = 2 * link_words(cfg)
    return Need(whole.multiplier_blocks(family),
                whole.memory_blocks(family) + 2 * family.memory_blocks(LANE_BITS, link),
                whole.bits + 2 * LANE_BITS * link, family, board)


def check_fit(cfg: AcceleratorConfig, board: BoardType) -> Need:
    """Refuse what does not fit, with the figures.

    Raises
    ------
    InputError
        The FPGA has too few blocks.
    """
    need = need_of(cfg, board)
    if not need.fits:
        raise InputError(
            f"the model does not fit the board {board.name}: NVNMD version {cfg.version}, "
            f"{cfg.ntypes} types, {cfg.max_nnei} neighbours with fold {cfg.fold} and "
            f"{cfg.fit_cols * cfg.fit_rows} fitting multipliers take {need}, {need.bits:,} memory "
            f"bits where its blocks have {need.bits_available:,}; expected a smaller "
            "model, a larger fold or a larger board (`nvnmd boards`)")
    return need


def check_model(model: Model, board: BoardType) -> None:
    """Refuse a model whose smallest accelerator does not fit the board, with the figures."""
    check_fit(config_for(model, fold=model.m1, fit_cols=LANES, weights_once=True,
                         family=board.fpga), board)


@dataclass(frozen=True)
class DeepmdModel:
    """A model as DeePMD-kit makes it: full-size nets, the vendor's tables.

    Attributes
    ----------
    version, types, neighbors : int
        NVNMD version, types and neighbours that the accelerator's memories hold.
    """

    version: int
    types: int
    neighbors: int

    def config(self) -> AcceleratorConfig:
        """The smallest accelerator for it: one lane, the fitting array of the preset `small`."""
        small = PRESETS["small"]
        sizes = AcceleratorConfig(
            version=self.version, ntypes=self.types, max_nnei=self.neighbors, fold=small.fold,
            fit_cols=small.fit_cols, fit_rows=small.fit_rows, fit_atoms=small.fit_atoms,
            weights_once=small.weights_once,
            store_neighbors=2 * self.neighbors)
        return replace(sizes, **asdict(buffers_for(sizes)))


DEEPMD_MODELS = tuple(
    DeepmdModel(version, types, neighbors)
    for version, counts in ((0, (1, 2, 4)), (1, (32,)))
    for types in counts for neighbors in (128, 256))
"""Versions, and the types and neighbours that their memories are sized for."""


def deepmd_needs(boards: Sequence[BoardType]) -> Iterator[tuple[DeepmdModel, list[Need]]]:
    """What an unmodified DeePMD-kit model takes of each board, model by model; a second each."""
    for model in DEEPMD_MODELS:
        cfg = model.config()
        counted = total(count_budget(cfg))
        yield model, [need_of(cfg, board, counted) for board in boards]
