"""Named choices of folds: how many multipliers an accelerator takes, and for which FPGA."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nvnmd.errors import InputError
from nvnmd.hdl.budget import FAMILIES, Family
from nvnmd.hdl.export import config_for
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.quantize.model import Model


@dataclass(frozen=True)
class Preset:
    """Folds for an FPGA family; sizes come from the model.

    Attributes
    ----------
    name : str
        What `--preset` takes.
    family : Family
        The part it is meant for.
    fold, fit_cols, fit_rows, fit_atoms : int
        See `AcceleratorConfig`.
    weights_once : bool
        See `AcceleratorConfig`; ignored if more than one row is asked for.
    """

    name: str
    family: Family
    fold: int
    fit_cols: int
    fit_rows: int
    fit_atoms: int
    weights_once: bool = False

    def config(self, model: Model, **changes: Any) -> AcceleratorConfig:
        """The accelerator for a model.

        A model of smaller nets takes no more lanes, columns and rows than it has channels and
        outputs.

        Parameters
        ----------
        model : Model
            Gives the sizes.
        **changes
            Fields of `AcceleratorConfig` that replace those of the preset; None keeps the preset's.
        """
        chosen: dict[str, Any] = {
            "fold": min(self.fold, model.m1),
            "fit_cols": min(self.fit_cols, model.width),
            "fit_rows": min(self.fit_rows, model.width),
            "fit_atoms": self.fit_atoms,
            "family": self.family.name,
        }
        chosen |= {name: value for name, value in changes.items() if value is not None}
        chosen.setdefault("weights_once", self.weights_once and chosen["fit_rows"] == 1)
        return config_for(model, **chosen)


_ECP5, _SERIES7, _ULTRASCALE = FAMILIES
PRESETS = {preset.name: preset for preset in (
    Preset("large", _ULTRASCALE, 1, 128, 8, 2),
    Preset("medium", _SERIES7, 4, 128, 2, 1),
    Preset("small", _ECP5, 32, 32, 1, 1, weights_once=True),
    Preset("tiny", _ECP5, 16, 16, 1, 1, weights_once=True),
)}
DEFAULT = "small"


def preset(name: str) -> Preset:
    """A preset by its name.

    Raises
    ------
    InputError
        There is none of that name.
    """
    if name not in PRESETS:
        raise InputError(f"preset: got {name}, expected one of {', '.join(PRESETS)}")
    return PRESETS[name]
