"""The settings of a float model as DeePMD-kit's `config.npy` holds them."""

from __future__ import annotations

from typing import Any

import numpy as np

from nvnmd.deepmd.modelpb_blocks import DEVICE_UNITS, FILE_NNEI
from nvnmd.inputs.config import RunConfig
from nvnmd.network.math import NumpyMath
from nvnmd.network.model import nix
from nvnmd.network.nets import switch
from nvnmd.network.weights import FloatWeights
from nvnmd.quantize.table_layout import VENDOR

# Widths and sizes of the NVNMD computer that are the same for every model.
_NBIT = {
    "NBIT_FLTD": 29, "NBIT_FLTS": 1, "NBIT_FLTE": 8, "NBIT_FLTF": 20, "NBIT_FLTM": 21,
    "NBIT_FLTH": 22, "NBIT_FIXD": 32, "NBIT_FIXD_FL": 23, "NBIT_SPE": 2, "NBIT_LST": 15,
    "NBIT_CRD": 32, "NBIT_CRD_FL": 24, "NBIT_CRD3": 96, "NBIT_ATOM": 98, "NBIT_ENE": 32,
    "NBIT_ENE_FL": 23, "NBIT_FRC": 32, "NBIT_FRC_FL": 19, "NBIT_VRL": 32, "NBIT_VRL_FL": 19,
    "NBIT_FIT_DATA": 27, "NBIT_FIT_DATA_FL": 23, "NBIT_FIT_SHORT_FL": 19, "NBIT_FIT_WEIGHT": 18,
    "NBIT_FIT_DISP": 3, "NBIT_FIT_WXDB": 29, "NBIT_SEL": 8, "NBIT_SPE_MAX": 8, "NBIT_LST_MAX": 16,
    "NBIT_ADDR": 32, "NBIT_SYS": 32, "NBIT_BYPASS_DATA": 32, "NBIT_CFG": 64, "NBIT_NET": 72,
    "NBIT_MODEL_HEAD": 32, "NBIT_IDX_S2G": 9, "NBIT_NEIB": 9,
}  # fmt: skip
# Most types that the hardware of each version holds, and bits of a type index
_TYPES = {0: 4, 1: 32}
_TYPE_BITS = {0: 2, 1: 5}
# Width of a type vector
_TYPE_WIDTH = 8
LAYOUT_ENTRY = "NVNMD_TABLES"
"""Entry of `ctrl` that names the layout of tables that are not the vendor's."""


def s_range(weights: FloatWeights, rcut: float, rcut_smth: float) -> tuple[float, float]:
    """Return the least and the largest s that the training data can give.

    Parameters
    ----------
    weights : FloatWeights
        Statistics and smallest distance.
    rcut, rcut_smth : float
        Å.
    """
    sw, _ = switch(NumpyMath(), np.float64(weights.min_nbor_dist), rcut_smth, rcut)
    mean, deviation = weights.davg[:, 0], weights.dstd[:, 0]
    nearest = (sw / weights.min_nbor_dist - mean) / deviation
    return float(np.min(-mean / deviation)), float(np.max(nearest))


def _seed(seed: int | None) -> int:
    """DeePMD-kit's seed is 1 where none is given."""
    return 1 if seed is None else seed


def deepmd_config(config: RunConfig, weights: FloatWeights) -> dict[str, Any]:
    """Return the dictionary of `config.npy` for a float model.

    Parameters
    ----------
    config : RunConfig
        The run.
    weights : FloatWeights
        The trained model.
    """
    dscp, fitn = config.descriptor, config.fitting
    ntypes = config.ntypes
    smin, smax = s_range(weights, dscp.rcut, dscp.rcut_smth)
    newer = config.sub_version == 2
    units = DEVICE_UNITS[config.device] if newer else config.max_nnei // 2
    capacity = FILE_NNEI if newer else config.max_nnei
    types, shared = _TYPES[config.version], config.version == 1
    blocks = 1 if shared else types
    bits = dict(_NBIT)
    bits["NBIT_SEL"] = (units * blocks - 1).bit_length()
    bits["NBIT_SPE"] = _TYPE_BITS[config.version]
    bits["NBIT_ATOM"] = bits["NBIT_CRD3"] + bits["NBIT_SPE"]
    if newer:
        bits["NBIT_NSTEP"] = 8
    layers = len(fitn.neuron) + 1
    extra: dict[str, Any] = {} if shared else {"ntypex": 1, "ntypex_max": 1}
    if dscp.exclude_types:
        # not one of DeePMD-kit's keys: only where a reader must not go on without it
        extra["exclude_types"] = [list(pair) for pair in dscp.exclude_types]
    return {
        "dscp": {
            "sel": dscp.sel[0] if shared else list(dscp.sel),
            "rcut": float(dscp.rcut),
            "rcut_smth": float(dscp.rcut_smth),
            "neuron": list(dscp.neuron),
            "resnet_dt": False,
            "axis_neuron": dscp.axis_neuron,
            "type_one_side": True,
            "rc_lim": 0.5,
            "rc_max": 8.0,
            "M1": dscp.neuron[-1],
            "M2": dscp.axis_neuron,
            "SEL": dscp.sel[0] if shared else [*dscp.sel, *([0] * (types - ntypes))],
            "NNODE_FEAS": [1, *dscp.neuron],
            "nlayer_fea": len(dscp.neuron),
            "same_net": 1,
            "NI": sum(dscp.sel) if newer else config.max_nnei,
            "NIDP": sum(dscp.sel),
            "NIX": nix(sum(dscp.sel)),
            "ntype": ntypes,
            **extra,
            "ntype_max": types,
            "dmin": np.float64(weights.min_nbor_dist),
            "smin": np.float64(smin),
            "smax": np.float64(smax),
            **({"NSTEP": (sum(dscp.sel) - 128) * units // 128, "seed": _seed(dscp.seed)}
               if newer else {}),
        },
        "fitn": {
            "neuron": list(fitn.neuron),
            "resnet_dt": False,
            "NNODE_FITS": [dscp.neuron[-1] * dscp.axis_neuron, *fitn.neuron, 1],
            "nlayer_fit": layers,
            "NLAYER": layers,
            **({"NTAVC": _TYPE_WIDTH} if shared else {}),
            **({"seed": _seed(fitn.seed)} if newer else {}),
        },
        "dpin": {"type_map": list(config.type_map)},
        "size": {
            "Na": 4096,
            "NaX": 32768,
            "NAEXT": 4096,
            "NTYPE": types,
            # DeePMD-kit writes this name instead of a number
            "NTYPEX": "ntypex_max" if shared else 1,
            "NH_DATA": [0] * 7,
            "NW_DATA": [0] * 7,
            "NH_SIM": [0] * (12 if shared else 9),
        },
        "ctrl": {
            "MAX_NNEI": capacity,
            "NSTDM": units,
            "NSTDM_M1": 32,
            "NSTDM_M2": units // 32,
            "NSTDM_M1X": 8,
            "NSEL": units * blocks,
            "NSADV": units + 1,
            "VERSION": config.version,
            "SUB_VERSION": config.sub_version,
            # not one of DeePMD-kit's keys either
            **({} if config.tables == VENDOR else {LAYOUT_ENTRY: config.tables}),
        },
        "nbit": bits,
        "end": "",
    }
