"""How the keys of the input contract are written down, and the keys that many sections share.

The contract is every key of DeePMD-kit's training input with its types, default, other names and
choices. What this program does with each of them stands elsewhere: `nvnmd.inputs.policy`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from dargs import Argument, Variant


class _Mark:
    """A value that no document can hold."""


REQUIRED: Final = _Mark()
ABSENT: Final = _Mark()

NUMBER = [float, int]
SEED = [int, None]


def key(name: str, dtype: Any, doc: str, default: Any = REQUIRED, *, alias: Sequence[str] = (),
        fields: Sequence[Argument] | None = None,
        variants: Sequence[Variant] | None = None) -> Argument:
    """One key.

    Parameters
    ----------
    name : str
        The name that messages use.
    dtype : type or list of type
        What the value may be.
    doc : str
        What the key is for.
    default : optional
        The value of a document that leaves the key out; `REQUIRED` for a key that must be given,
        `ABSENT` for an optional one without a default.
    alias : sequence of str
        Other names.
    fields, variants : sequence, optional
        What a section holds.
    """
    settings: dict[str, Any] = {"doc": doc, "alias": list(alias)}
    if default is not REQUIRED:
        settings["optional"] = True
        if default is not ABSENT:
            settings["default"] = default
    return Argument(name, dtype, list(fields or ()), list(variants or ()), **settings)


def choice(name: str, fields: Sequence[Argument], doc: str, *,
           alias: Sequence[str] = ()) -> Argument:
    """One choice of a `Variant`."""
    return Argument(name, dict, list(fields), doc=doc, alias=list(alias))


def sel_key(*, total: bool = False) -> Argument:
    """Neighbour slots per type, or (`total`) a number that only counts as a whole."""
    auto = 'or "auto" or "auto:FACTOR": the most that the data hold, times FACTOR (1.1)'
    if total:
        return key("sel", [str, list[int], int], "Neighbour slots in all: one number, a list whose "
                   f"sum counts, {auto}.", "auto")
    return key("sel", [str, list[int]], f"Neighbour slots of each atom type, {auto}, made a "
               "multiple of 4.", "auto")


def reach_keys(*, total: bool = False) -> list[Argument]:
    """Slots and distances of a descriptor."""
    return [sel_key(total=total),
            key("rcut", float, "Cut-off radius in Å.", 6.0),
            key("rcut_smth", float, "Distance in Å from which neighbours fade out.", 0.5)]


def neuron_key(default: Sequence[int], *, alias: Sequence[str] = ()) -> Argument:
    """Widths of a net."""
    return key("neuron", list[int], "Widths of the net's hidden layers.", list(default),
               alias=alias)


def axis_neuron_key() -> Argument:
    """Columns of the second embedding matrix."""
    return key("axis_neuron", int, "Columns of the embedding matrix that the descriptor's second "
               "factor takes.", 4, alias=["n_axis_neuron"])


def activation_key(default: str = "tanh") -> Argument:
    """Activation function of a net."""
    return key("activation_function", str, "Activation function of the net's hidden layers: none, "
               "linear, tanh, relu, relu6, softplus, sigmoid, gelu or gelu_tf.", default)


def resnet_dt_key(default: bool) -> Argument:
    """Factor of the skips."""
    return key("resnet_dt", bool, "Whether a trained factor stands in front of what a layer adds "
               "to its skip.", default)


def one_side_key() -> Argument:
    """Whose type selects the embedding net."""
    return key("type_one_side", bool, "One embedding net per neighbour type; otherwise one per "
               "pair of centre and neighbour type.", False)


def precision_key(default: str = "default") -> Argument:
    """Number format of the parameters."""
    return key("precision", str, "Number format of the net's parameters: default, float16, "
               "float32 or float64.", default)


def trainable_key() -> Argument:
    """Whether a net is trained."""
    return key("trainable", bool, "Whether the net's parameters are trained.", True)


def seed_key(default: Any = ABSENT) -> Argument:
    """Seed of the initial parameters."""
    return key("seed", SEED, "Seed of the net's initial parameters.", default)


def exclude_types_key() -> Argument:
    """Pairs that do not see each other."""
    return key("exclude_types", list[list[int]], "Pairs of atom types that are no neighbours of "
               "each other.", [])


def env_protection_key() -> Argument:
    """Guard of the division by distances."""
    return key("env_protection", float, "Number in Å added to distances before dividing by them; "
               "for neighbour lists padded with atoms at distance 0.", 0.0)


def davg_zero_key(default: bool) -> Argument:
    """Mean of the environment matrix."""
    return key("set_davg_zero", bool, "Take 0 for the mean of the environment matrix instead of "
               "the data's.", default)
