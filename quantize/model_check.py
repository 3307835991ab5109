"""Do the parts of a model file fit one another?"""

from __future__ import annotations

import math

import numpy as np

from nvnmd.quantize.model_data import ModelData
from nvnmd.quantize.ops import trunc_flt
from nvnmd.quantize.widths import VENDOR_WIDTHS

FLT_ARRAYS = ("table_u", "table_u_grad", "table_g", "table_g_grad", "inv_std", "type_gain",
              "minus_avg")
"""What a model holds as flt values."""


def check_model(model: ModelData) -> None:
    """Compare every shape with the model's own sizes.

    Raises
    ------
    ValueError
        A part does not fit, with what was found and what was expected.
    """
    _check_settings(model)
    n = model.ntypes
    tables = 1 if model.version else n
    m1, radial = model.m1, 3 if model.sub_version == 2 else 2
    expected = {
        "table_u": (tables, model.u_layout.rows, radial, 4),
        "table_u_grad": (tables, model.u_layout.rows, radial, 4),
        "table_g": (tables, model.s_layout.rows, m1, 4),
        "table_g_grad": (tables, model.s_layout.rows, m1, 4),
        "t_bias_atom_e": (n,),
    }
    if model.own_slopes:
        del expected["table_u_grad"], expected["table_g_grad"]
    # a model of model.pb holds neither
    known = n if model.embedding else len(model.davg)
    expected |= {"davg": (known, 2), "dstd": (known, 2)}
    if known not in (0, n):
        raise ValueError(f"davg has {known} rows, expected {n}")
    if model.version:
        width = model.t_ebd.shape[-1] if model.t_ebd is not None else 0
        expected |= {
            "inv_std": (n, 2), "type_gain": (n, n, m1), "t_ebd": (n, width),
            "tweight": (width, model.width),
        }  # fmt: skip
    if model.sub_version == 2:
        expected["minus_avg"] = (n,)
    arrays = {name: getattr(model, name) for name in expected}
    if model.seen is not None:
        parts = {"distance": (n, n), "u": (2,), "s": (n, 2), "d": (n, m1 * model.axis_neuron, 2)}
        arrays |= {f"seen.{name}": getattr(model.seen, name) for name in parts}
        expected |= {f"seen.{name}": shape for name, shape in parts.items()}
    for name, shape in expected.items():
        found = arrays[name].shape
        if found != shape:
            raise ValueError(f"{name} has shape {found}, expected {shape}")
    inputs = m1 * model.axis_neuron
    for layer, (w, b) in enumerate(zip(model.fit_weights, model.fit_biases, strict=True)):
        if w.shape != (tables, inputs, w.shape[-1]) or b.shape != (tables, w.shape[-1]):
            raise ValueError(
                f"fitting layer {layer} has shapes {w.shape} and {b.shape}, expected "
                f"{inputs} inputs of {tables} nets"
            )
        inputs = w.shape[-1]
    if inputs != 1:
        raise ValueError(f"the last fitting layer has {inputs} outputs, expected 1")
    if model.embedding and len(model.embedding) != tables:
        raise ValueError(f"{len(model.embedding)} embedding nets, expected {tables}")
    for net in model.embedding:
        _check_net(net, 1, m1, "an embedding net")
    # of the vendor's width every word is
    for name in FLT_ARRAYS if model.widths != VENDOR_WIDTHS else ():
        values = getattr(model, name)
        if values is not None and np.any(trunc_flt(values, model.widths.flt_frac) != values):
            raise ValueError(f"{name} has more than {model.widths.flt_frac} fraction bits")


def _check_settings(model: ModelData) -> None:
    if model.version not in (0, 1):
        raise ValueError(f"NVNMD version {model.version}, expected 0 or 1")
    counts = (*model.sel, model.max_nnei, model.axis_neuron)
    if not model.type_map or not all(isinstance(name, str) for name in model.type_map):
        raise ValueError("its type map names no types")
    if not all(type(k) is int and 0 <= k <= 1 << 16 for k in counts) or not sum(model.sel):
        raise ValueError(f"sel, max_nnei and axis_neuron are {counts}, not usable")
    if len(model.sel) != (1 if model.version else model.ntypes):
        raise ValueError(f"sel has {len(model.sel)} entries for {model.ntypes} types")
    if not (math.isfinite(model.rcut) and 0 <= model.rcut_smth < model.rcut):
        raise ValueError(f"rcut {model.rcut} and rcut_smth {model.rcut_smth}")


def _check_net(net: tuple, inputs: int, outputs: int, what: str) -> None:
    for w, b in net:
        if w.ndim != 2 or w.shape[0] != inputs or b.shape != w.shape[1:]:
            raise ValueError(f"{what} has a layer of shapes {w.shape} and {b.shape}")
        inputs = w.shape[1]
    if net and inputs != outputs:
        raise ValueError(f"{what} has {inputs} outputs, expected {outputs}")
