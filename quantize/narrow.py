"""A model in narrower formats than it was made for."""

from __future__ import annotations

from dataclasses import replace

from nvnmd.quantize.model import Model
from nvnmd.quantize.model_check import FLT_ARRAYS
from nvnmd.quantize.ops import trunc_flt
from nvnmd.quantize.widths import Widths


def narrowed(model: Model, widths: Widths) -> Model:
    """The model with these widths; its flt values are cut, toward zero.

    Weights and biases of the fitting nets stay as they are: they are quantized where they are used.

    Parameters
    ----------
    model : Model
        Of any widths.
    widths : Widths
        None of them wider than the model's.

    Raises
    ------
    ValueError
        One is wider: the bits that were cut are gone.
    """
    for name, bits in widths.to_dict().items():
        if bits > getattr(model.widths, name):
            raise ValueError(f"{name} is {bits}, expected at most the model's "
                             f"{getattr(model.widths, name)}")
    cut = {name: trunc_flt(getattr(model, name), widths.flt_frac) for name in FLT_ARRAYS
           if getattr(model, name) is not None}
    return replace(model, widths=widths, **cut)
