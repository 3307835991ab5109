"""What an accelerator needs of a board's FPGA, and whether the board has it."""

from __future__ import annotations

from dataclasses import dataclass

from nvnmd.boards.catalog import BoardType
from nvnmd.errors import InputError
from nvnmd.hdl.budget import FAMILIES, count_budget, total
from nvnmd.hdl.params import AcceleratorConfig

LINK_WORDS = 1024
"""Words of a slot's memories on an FPGA: four memories of twice as many 32-bit words in all."""


@dataclass(frozen=True)
class Need:
    """Blocks that an accelerator takes of an FPGA's family, and those of the board.

    Attributes
    ----------
    multipliers, memories : int
        Blocks needed, the link's memories included; logic is not counted.
    multiplier, memory : str
        Their names.
    board : BoardType
    """

    multipliers: int
    memories: int
    multiplier: str
    memory: str
    board: BoardType

    @property
    def fits(self) -> bool:
        """The board has as many."""
        return (self.multipliers <= self.board.multipliers
                and self.memories <= self.board.memories)

    def __str__(self) -> str:
        return (f"{self.multipliers} of {self.board.multipliers} {self.multiplier}, "
                f"{self.memories} of {self.board.memories} {self.memory}")


def need_of(cfg: AcceleratorConfig, board: BoardType) -> Need:
    """Count what a configuration needs of a board's FPGA; takes seconds.

    Raises
    ------
    InputError
        The board has no FPGA.
    """
    family = next((family for family in FAMILIES if family.name == board.fpga), None)
    if family is None:
        raise InputError(f"board: {board.name} has no FPGA, expected a board that has one")
    whole = total(count_budget(cfg))
    link = 2 * family.memory_blocks(32, 2 * LINK_WORDS)
    return Need(whole.multiplier_blocks(family), whole.memory_blocks(family) + link,
                family.multiplier, family.memory, board)


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
            f"{cfg.fit_cols * cfg.fit_rows} fitting multipliers take {need}; expected a smaller "
            "model, a larger fold or a larger board (`nvnmd boards`)")
    return need
