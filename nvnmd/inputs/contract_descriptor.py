"""The input contract: `model/descriptor` with all its types."""

from __future__ import annotations

from dargs import Argument, Variant

from nvnmd.inputs.contract_parts import (
    ABSENT,
    activation_key,
    axis_neuron_key,
    choice,
    davg_zero_key,
    env_protection_key,
    exclude_types_key,
    key,
    neuron_key,
    one_side_key,
    precision_key,
    reach_keys,
    resnet_dt_key,
    seed_key,
    sel_key,
    trainable_key,
)

EMBEDDING = (10, 20, 40)


def _loc_frame() -> Argument:
    full = "of each atom type whose full coordinates are used"
    return choice("loc_frame", [
        key("sel_a", list[int], f"Neighbours {full}."),
        key("sel_r", list[int], "Neighbours of each atom type of which only the distance is used."),
        key("rcut", float, "Cut-off radius in Å.", 6.0),
        key("axis_rule", list[int], "Six integers per atom type that name the two atoms spanning "
            "its frame: for each its class (0 full, 1 distance only), type and rank."),
    ], "A frame of axes at each atom, and the neighbours' coordinates in it.")


def _net(*, axis: bool, one_side: bool = True) -> list[Argument]:
    """Keys of the embedding net."""
    return [neuron_key(EMBEDDING), *([axis_neuron_key()] if axis else []), activation_key(),
            resnet_dt_key(False), *([one_side_key()] if one_side else []), precision_key(),
            trainable_key(), seed_key()]


def _se_e2_a_keys() -> list[Argument]:
    return [*reach_keys(), *_net(axis=True), exclude_types_key(), env_protection_key(),
            davg_zero_key(False)]


def _se_e2_a() -> Argument:
    return choice("se_e2_a", _se_e2_a_keys(),
                  "Distances and directions of the neighbours, one embedding net per type.",
                  alias=["se_a"])


def _se_e3() -> Argument:
    return choice("se_e3", [*reach_keys(), *_net(axis=False, one_side=False),
                            davg_zero_key(False)],
                  "An embedding of the angles between pairs of neighbours.",
                  alias=["se_at", "se_a_3be", "se_t"])


def _se_a_tpe() -> Argument:
    return choice("se_a_tpe", [
        *_se_e2_a_keys(),
        key("type_nchanl", int, "Length of the vector that a type is embedded in.", 4),
        key("type_nlayer", int, "Hidden layers of the type's net.", 2),
        key("numb_aparam", int, "Atomic parameters that are embedded with the type.", 0),
    ], "As se_e2_a, with an embedding of the types.", alias=["se_a_ebd"])


def _se_e2_r() -> Argument:
    return choice("se_e2_r", [*reach_keys(), *_net(axis=False), exclude_types_key(),
                              davg_zero_key(False)],
                  "Distances of the neighbours only.", alias=["se_r"])


def _hybrid() -> Argument:
    return choice("hybrid", [key("list", list, "The descriptors, each a section of its own.")],
                  "Several descriptors side by side.")


def _attention_keys(davg_zero: bool, extra: list[Argument]) -> list[Argument]:
    return [
        *reach_keys(total=True), *_net(axis=True), exclude_types_key(),
        key("attn", int, "Width of the attention layers' hidden vectors.", 128),
        key("attn_layer", int, "Number of attention layers; 0 for none.", 2),
        key("attn_dotr", bool, "Weigh the attention with the product of directions.", True),
        key("attn_mask", bool, "Leave the diagonal out of the attention.", False),
        *extra, davg_zero_key(davg_zero),
    ]


def _se_atten() -> Argument:
    stripped = [
        key("stripped_type_embedding", bool, "A net of its own for the types, multiplied onto the "
            "net of the distances.", False),
        key("smooth_type_embdding", bool, "Fade the types' net out with the distance; for a "
            "stripped type embedding.", False),
    ]
    torch = [
        key("tebd_dim", int, "Length of the vector that a type is embedded in.", 8),
        key("tebd_input_mode", str, "How the types enter: concat beside the distance, strip as a "
            "net of their own.", "concat"),
        key("post_ln", bool, "Normalise after a layer instead of before it.", True),
        key("ffn", bool, "Have a feed-forward layer after each attention layer.", False),
        key("ffn_embed_dim", int, "Width of that feed-forward layer.", 1024),
        key("scaling_factor", float, "Factor under the root that scales the attention's product.",
            1.0),
        key("head_num", int, "Heads of the attention.", 1),
        key("normalize", bool, "Normalise the attention's hidden vectors.", True),
        key("temperature", float, "Divisor of the attention's product, instead of that root.",
            ABSENT),
        key("return_rot", bool, "Give the rotation matrix as well.", False),
        key("concat_output_tebd", bool, "Put the type's vector beside the descriptor.", True),
    ]
    return choice("se_atten", [*_attention_keys(True, stripped), *torch],
                  "Distances and directions with an embedding of the types and, if wanted, "
                  "attention.", alias=["dpa1"])


def _se_atten_v2() -> Argument:
    return choice("se_atten_v2", _attention_keys(False, []),
                  "As se_atten, with the types' embedding stripped and smooth.")


def _dpa2() -> Argument:
    blocks = [
        (f"{name}_{part}", dtype, doc.format(name))
        for name in ("repinit", "repformer")
        for part, dtype, doc in (
            ("rcut", float, "Cut-off radius of the {} block in Å."),
            ("rcut_smth", float, "Distance in Å from which neighbours of the {} block fade out."),
            ("nsel", int, "Neighbour slots of the {} block."))]
    former: list[tuple[str, type, str, object]] = [
        ("nlayers", int, "Layers.", 3),
        ("g1_dim", int, "Length of an atom's vector.", 128),
        ("g2_dim", int, "Length of a pair's vector.", 16),
        ("axis_dim", int, "Columns of the second factor.", 4),
        ("do_bn_mode", str, "Batch normalisation.", "no"),
        ("bn_momentum", float, "Momentum of the batch normalisation.", 0.1),
        ("update_g1_has_conv", bool, "Update the atom's vector by a convolution.", True),
        ("update_g1_has_drrd", bool, "Update the atom's vector by drrd.", True),
        ("update_g1_has_grrg", bool, "Update the atom's vector by grrg.", True),
        ("update_g1_has_attn", bool, "Update the atom's vector by local attention.", True),
        ("update_g2_has_g1g1", bool, "Update the pair's vector by the atoms' product.", True),
        ("update_g2_has_attn", bool, "Update the pair's vector by gated attention.", True),
        ("update_h2", bool, "Update the pair's directions.", False),
        ("attn1_hidden", int, "Width of the local attention.", 64),
        ("attn1_nhead", int, "Heads of the local attention.", 4),
        ("attn2_hidden", int, "Width of the gated attention.", 16),
        ("attn2_nhead", int, "Heads of the gated attention.", 4),
        ("attn2_has_gate", bool, "Whether the gated attention has its gate.", False),
        ("activation", str, "Activation function.", "tanh"),
        ("update_style", str, "How updates are added: res_avg or res_incr.", "res_avg"),
        ("set_davg_zero", bool, "Take 0 for the mean of the environment matrix.", True),
        ("add_type_ebd_to_seq", bool, "Put the type's vector beside the output.", False),
    ]
    return choice("dpa2", [
        *(key(name, dtype, doc) for name, dtype, doc in blocks),
        key("tebd_dim", int, "Length of the vector that a type is embedded in.", 8),
        key("concat_output_tebd", bool, "Put the type's vector beside the descriptor.", True),
        key("repinit_neuron", list, "Widths of the repinit block's net.", [25, 50, 100]),
        key("repinit_axis_neuron", int, "Columns of the repinit block's second factor.", 16),
        key("repinit_set_davg_zero", bool, "Take 0 for the mean of the repinit block's "
            "environment matrix.", True),
        key("repinit_activation", str, "Activation function of the repinit block.", "tanh"),
        *(key(f"repformer_{name}", dtype, f"Repformer block: {doc[0].lower()}{doc[1:]}", default)
          for name, dtype, doc, default in former),
    ], "Representations of atoms and pairs that attention layers refine.")


def _se_a_mask() -> Argument:
    return choice("se_a_mask", [
        sel_key(), neuron_key(EMBEDDING), axis_neuron_key(), activation_key(),
        resnet_dt_key(False), one_side_key(), exclude_types_key(), precision_key(),
        trainable_key(), seed_key(),
    ], "As se_e2_a for open systems whose number of atoms varies; aparam says which are real.")


def descriptor_variant() -> Variant:
    """The key `type` of a descriptor with what each type takes."""
    return Variant("type", [
        _loc_frame(), _se_e2_a(), _se_e3(), _se_a_tpe(), _se_e2_r(), _hybrid(), _se_atten(),
        _se_atten_v2(), _dpa2(),
        choice("se_a_ebd_v2", _se_e2_a_keys(), "As se_a_tpe with the types' net stripped.",
               alias=["se_a_tpe_v2"]),
        _se_a_mask(),
    ], doc="Which descriptor.")
