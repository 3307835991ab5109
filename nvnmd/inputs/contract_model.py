"""The input contract: `model` with its types and fittings."""

from __future__ import annotations

from dargs import Argument, Variant

from nvnmd.inputs.contract_descriptor import descriptor_variant
from nvnmd.inputs.contract_parts import (
    ABSENT,
    activation_key,
    choice,
    key,
    neuron_key,
    precision_key,
    resnet_dt_key,
    seed_key,
    trainable_key,
)

FITTING = (120, 120, 120)


def _parameter_keys() -> list[Argument]:
    return [key("numb_fparam", int, "Parameters per frame (fparam.npy) that enter the net.", 0),
            key("numb_aparam", int, "Parameters per atom (aparam.npy) that enter the net.", 0)]


def _trainable_layers() -> Argument:
    return key("trainable", [list[bool], bool], "Whether the net's parameters are trained: one "
               "value, or one per layer and one for the output.", True)


def _rcond() -> Argument:
    return key("rcond", [float, None], "Ratio below which singular values count as 0 in the least "
               "squares that give the bias of each type.", None)


def fitting_variant() -> Variant:
    """The key `type` of a fitting with what each type takes."""
    ener = choice("ener", [
        *_parameter_keys(), neuron_key(FITTING, alias=["n_neuron"]), activation_key(),
        precision_key(), resnet_dt_key(True), _trainable_layers(), _rcond(), seed_key(),
        key("atom_ener", list[float | None], "Energy of a lone atom of each type in eV; null where "
            "the data shall give it.", []),
        key("layer_name", list[str], "A name per layer and for the output; layers of one name "
            "share their parameters.", ABSENT),
        key("use_aparam_as_mask", bool, "Take aparam as the mask of real atoms, for se_a_mask.",
            False),
    ], "Energies.")
    dos = choice("dos", [
        *_parameter_keys(), neuron_key(FITTING), activation_key(), precision_key("float64"),
        resnet_dt_key(True), _trainable_layers(), _rcond(), seed_key(),
        key("numb_dos", int, "Points of the energy grid.", 300),
    ], "Densities of states.")
    scope = "Types of the atoms that have a {}; all if not given."
    polar = choice("polar", [
        neuron_key(FITTING, alias=["n_neuron"]), activation_key(), resnet_dt_key(True),
        precision_key(),
        key("fit_diag", bool, "Fit the diagonal of the rotated matrix only.", True),
        key("scale", [list[float], float], "Factor of the output, one or one per type.", 1.0),
        key("shift_diag", bool, "Shift the diagonal by the data's mean.", True),
        key("sel_type", [list[int], int, None], scope.format("polarizability"), ABSENT,
            alias=["pol_type"]),
        seed_key(),
    ], "Atomic polarizabilities.")
    dipole = choice("dipole", [
        neuron_key(FITTING, alias=["n_neuron"]), activation_key(), resnet_dt_key(True),
        precision_key(),
        key("sel_type", [list[int], int, None], scope.format("dipole"), ABSENT,
            alias=["dipole_type"]),
        seed_key(),
    ], "Atomic dipoles.")
    return Variant("type", [ener, dos, polar, dipole], optional=True, default_tag="ener",
                   doc="What is fitted.")


def model_variant() -> Variant:
    """The key `type` of a model with what each type takes."""
    standard = choice("standard", [
        key("descriptor", dict, "What an atom's net is told of its surroundings.",
            variants=[descriptor_variant()]),
        key("fitting_net", dict, "The net that makes a property of the descriptor.",
            variants=[fitting_variant()]),
    ], "One descriptor and one fitting net.")
    multi = choice("multi", [
        key("descriptor", dict, "The descriptor that all tasks share; as in a standard model."),
        key("fitting_net_dict", dict, "A fitting net for each task's name."),
    ], "One descriptor and several fitting nets.")
    frozen = choice("frozen", [key("model_file", str, "The frozen model's file.")],
                    "A model that is trained already.")
    pairtab = choice("pairtab", [
        key("tab_file", str, "The file with the tables."),
        key("rcut", float, "Cut-off radius in Å."),
        key("sel", [str, list[int], int], "Neighbour slots in all: one number, a list whose sum "
            'counts, or "auto" or "auto:FACTOR".'),
    ], "Tabulated pair energies.")
    dprc = choice("pairwise_dprc", [
        key("qm_model", dict, "The model of the quantum region."),
        key("qmmm_model", dict, "The model of the pairs across the border."),
    ], "A range correction between a quantum and a classical region.")
    linear = choice("linear_ener", [
        key("models", [list, dict], "The models."),
        key("weights", [list, str], 'A weight for each, or "mean" or "sum".'),
    ], "A weighted sum of models' energies.")
    return Variant("type", [standard, multi, frozen, pairtab, dprc, linear], optional=True,
                   default_tag="standard", doc="How the model is built.")


def _type_embedding() -> Argument:
    return key("type_embedding", dict, "The net that embeds the types.", ABSENT, fields=[
        neuron_key((8,)), activation_key(), resnet_dt_key(False), precision_key(),
        trainable_key(), seed_key(None)])


def _modifier() -> Argument:
    dipole_charge = choice("dipole_charge", [
        key("model_name", str, "The frozen dipole model's file."),
        key("model_charge_map", list[float], "Charges of the Wannier centroids, one for each type "
            "that has a dipole."),
        key("sys_charge_map", list[float], "Charges of the atoms, one per type."),
        key("ewald_beta", float, "Splitting of the Ewald sum in 1/Å.", 0.4),
        key("ewald_h", float, "Spacing of the Ewald grid in Å.", 1.0),
    ], "Long-range interaction of charges at the Wannier centroids.")
    return key("modifier", dict, "A correction of the model's output.", ABSENT,
               variants=[Variant("type", [dipole_charge], doc="Which correction.")])


def _spin() -> Argument:
    return key("spin", dict, "Systems with spins.", ABSENT, fields=[
        key("use_spin", [list[bool], list[int]], "Which types have a spin: one truth value per "
            "type, or the types' indices."),
        key("spin_norm", list[float], "Magnitude of the spin of each type that has one.", ABSENT),
        key("virtual_len", list[float], "Distance in Å of the virtual atom that stands for a spin, "
            "per type.", ABSENT),
        key("virtual_scale", [list[float], float], "That distance over the spin's magnitude, one "
            "or one per type.", ABSENT),
    ])


def model_section() -> Argument:
    """The section `model`."""
    table = "Short-range table: "
    return key("model", dict, "The model.", fields=[
        key("type_map", list[str], "Element names; their order numbers the types.", ABSENT),
        key("data_stat_nbatch", int, "Batches per system that the normalisation is taken from.",
            10),
        key("data_stat_protect", float, "Least deviation that the normalisation divides by.",
            0.01),
        key("data_bias_nsample", int, "Frames per system that a change of the bias looks at.", 10),
        key("use_srtab", str, f"{table}its file, energies of each pair of types over the "
            "distance.", ABSENT),
        key("smin_alpha", float, f"{table}decay of the soft minimum that gives the nearest "
            "distance.", ABSENT),
        key("sw_rmin", float, f"{table}distance in Å below which it alone counts.", ABSENT),
        key("sw_rmax", float, f"{table}distance in Å above which it does not count.", ABSENT),
        key("pair_exclude_types", list, "Pairs of types that are no neighbours of each other.",
            []),
        key("atom_exclude_types", list, "Types whose atoms contribute no energy.", []),
        key("srtab_add_bias", bool, f"{table}add the data's energy bias.", True),
        _type_embedding(), _modifier(),
        key("compress", dict, "Settings of a compressed model.", ABSENT),
        _spin(),
    ], variants=[model_variant()])
