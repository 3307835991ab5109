"""The rules for the section `model`: which settings the hardware supports."""

from __future__ import annotations

from nvnmd.inputs.limits import SEL_LIMIT, are_pairs, is_sel, positive
from nvnmd.inputs.rule import RCUT, RCUT_SMTH, SECTION, SEED, Rule, honoured, only, refused

DESCRIPTOR = "model[standard]/descriptor"
FITTING = "model[standard]/fitting_net"
DESCRIPTOR_TYPES = {0: ("se_a", "se_e2_a"), 1: ("se_atten", "dpa1")}
PRECISION = honoured(
    "In train-cnn: the net's parameters have this format and it computes in it; default is "
    "float64. What is quantized computes as the hardware does.",
    lambda v: v in ("default", "float64", "float32"),
    '"default", "float64" or "float32" (in float16 the steps of a training are lost)')
NO_FACTOR = only(False, why="NVNMD's skips carry no factor")
ENERGY = "the hardware computes energies and forces; deployable is the type ener"


def _model() -> dict[str, Rule]:
    table = "the hardware adds no table to the network; deployable is the network alone"
    alone = "one descriptor and one fitting net; deployable is standard"
    return {
        "model": SECTION,
        "model/type": only("standard", why="one descriptor and one fitting net"),
        **{f"model[{name}]": refused(alone) for name in
           ("multi", "frozen", "pairtab", "pairwise_dprc", "linear_ener")},
        "model/type_map": honoured("Here or in nvnmd.", lambda v: len(v) > 0,
                                    "at least one element name"),
        "model/data_stat_nbatch": honoured(
            "Drawn by training/seed; the energy bias, the nearest distance and the most "
            "neighbours come from every frame.", positive, "an integer above 0"),
        "model/data_stat_protect": honoured("", positive, "a number above 0"),
        "model/data_bias_nsample": only(10, why="no command changes the bias of a trained model"),
        **{f"model/{name}": refused(table)
           for name in ("use_srtab", "smin_alpha", "sw_rmin", "sw_rmax")},
        "model/srtab_add_bias": only(True, why="there is no short-range table"),
        "model/pair_exclude_types": honoured(
            "Added to the descriptor's exclude_types.", are_pairs, "pairs of type indices"),
        "model/atom_exclude_types": only([], why="every atom has an energy in the hardware"),
        "model/type_embedding": refused("version 0 has a net per type, and version 1 embeds the "
                                         "types in its own way without this section"),
        "model/modifier": refused("the hardware has no long-range sum; deployable is the model "
                                   "without it"),
        "model/compress": refused("the tables of NVNMD take the place of a compressed model"),
        "model/spin": refused("the hardware knows no spins; deployable are energies and forces "
                               "of atoms"),
    }


def _descriptor(kind: str, version: int) -> dict[str, Rule]:
    at = f"{DESCRIPTOR}[{kind}]"
    rules = {
        "sel": honoured("See nvnmd/sel; auto counts over the training data.", is_sel, SEL_LIMIT),
        "rcut": RCUT, "rcut_smth": RCUT_SMTH,
        "neuron": honoured("[8, 16, 32] if not given, the vendor's. Three widths, each that before "
                           "it or twice that; the last 8, 16, 32 or 64. See sizes.md."),
        "axis_neuron": honoured("2, 4 or 8, 4 if not given; times the last of neuron at most 128."),
        "activation_function": only("tanh", why="NVNMD's embedding net"),
        "type_one_side": only(True, why="one embedding net for all centre types"),
        "resnet_dt": NO_FACTOR, "precision": PRECISION, "trainable": honoured(
            "The embedding nets, in version 1 with the net of the pairs of types; train-qnn trains "
            "the fitting nets only in any case."), "seed": SEED,
        "exclude_types": honoured(
            "By a float descriptor; a quantized one has no such pairs, so train-qnn refuses all "
            "but [].", are_pairs, "pairs of type indices"),
    }
    if version == 0:
        rules["env_protection"] = only(0.0, why="distances are clamped from below instead")
        rules["set_davg_zero"] = honoured()
    else:
        none = "there are no attention layers in the hardware"
        rules |= {
            "attn": only(128, why=none), "attn_layer": only(0, why=none),
            "attn_dotr": only(True, why=none), "attn_mask": only(False, why=none),
            "post_ln": only(True, why=none), "ffn": only(False, why=none),
            "ffn_embed_dim": only(1024, why=none), "scaling_factor": only(1.0, why=none),
            "head_num": only(1, why=none), "normalize": only(True, why=none),
            "temperature": refused(none), "return_rot": only(False, why=none),
            "concat_output_tebd": only(False, why="the hardware's fitting net takes the "
                                                   "descriptor alone"),
            "stripped_type_embedding": only(True, why="the types have a net of their own"),
            "smooth_type_embdding": only(False, why="the types' net does not depend on the "
                                                     "distance; with sub_version 2 true"),
            "set_davg_zero": only(True, why="version 1 has no mean; with sub_version 2 false"),
            "tebd_dim": only(8, why="the hardware's length"),
            "tebd_input_mode": only("strip", why="the types have a net of their own"),
        }
    return {f"{at}/{name}": rule for name, rule in rules.items()}


def _descriptors(version: int) -> dict[str, Rule]:
    mine, other = ("se_e2_a", "se_atten") if version == 0 else ("se_atten", "se_e2_a")
    none = {name: refused(f"the hardware has the descriptors se_e2_a (version 0) and se_atten "
                           f"without attention (version 1), not {name}")
            for name in ("loc_frame", "se_e3", "se_a_tpe", "se_e2_r", "hybrid", "se_atten_v2",
                         "dpa2", "se_a_ebd_v2", "se_a_mask")}
    none[other] = refused(f"the descriptor of nvnmd/version {1 - version}")
    return {
        DESCRIPTOR: SECTION,
        f"{DESCRIPTOR}/type": only(*DESCRIPTOR_TYPES[version],
                                    why=f"the descriptor of version {version}"),
        **{f"{DESCRIPTOR}[{name}]": rule for name, rule in none.items()},
        **_descriptor(mine, version),
    }


def _fitting() -> dict[str, Rule]:
    rules = {
        "numb_fparam": only(0, why="there are no frame parameters"),
        "numb_aparam": only(0, why="there are no atomic parameters"),
        "neuron": honoured("1 to 4 layers, each as wide as the last of the descriptor's neuron "
                           "times axis_neuron; three if not given."),
        "activation_function": only("tanh", "tanh4", why="both mean tanh4, NVNMD's polynomial in "
                                                          "the place of tanh"),
        "precision": PRECISION, "resnet_dt": NO_FACTOR,
        "trainable": honoured("In both stages."),
        "rcond": honoured("", lambda v: v is None or 0 <= v < 1,
                           "null or a number of at least 0 and below 1"),
        "seed": SEED,
        "atom_ener": honoured(
            "The energy that the net gives to a descriptor of zeros; in version 0 that of a lone "
            "atom if set_davg_zero is true."),
        "layer_name": refused("the nets of the hardware share no layers"),
        "use_aparam_as_mask": only(False, why="there are no atomic parameters"),
    }
    return {
        FITTING: SECTION, f"{FITTING}/type": only("ener", why="an NVNMD model gives energies"),
        **{f"{FITTING}[{name}]": refused(ENERGY) for name in ("dos", "polar", "dipole")},
        **{f"{FITTING}[ener]/{name}": rule for name, rule in rules.items()},
    }


def model_rules(version: int, sub_version: int = 1) -> dict[str, Rule]:
    """Return the rules of a version for `model` and what it holds."""
    rules = {**_model(), **_descriptors(version), **_fitting()}
    if sub_version == 2:
        at = f"{DESCRIPTOR}[se_atten]"
        rules[f"{at}/smooth_type_embdding"] = only(True, why="the types' part of sub_version 2 "
                                                             "fades with the distance")
        rules[f"{at}/set_davg_zero"] = only(False, why="sub_version 2 has a mean")
    return rules
