"""The sizes of the nets: which ones there are, and the nearest to one that is not.

The continuous nets' skips want widths that stay or double. The hardware wants powers of two of
features and axis neurons, and hidden layers as wide as the descriptor is long: it adds a layer's
input to its output, and stores weights in squares. More than 128 inputs of a layer would break the
exact sums of the fitting net (128 products below 8 times 2).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from nvnmd.inputs.mistakes import Mistakes, show

FEATURES = (8, 16, 32, 64)
AXES = (2, 4, 8)
CAPACITIES = (32, 64, 128, 256)
MOST_WIDTH = 128
MOST_LAYERS = 4
NEURON, AXIS = (8, 16, 32), 4

AT_DESCRIPTOR, AT_FITTING = "model/descriptor", "model/fitting_net"


def nearest(value: int, sizes: tuple[int, ...]) -> int:
    """The size that a value is the smallest factor from."""
    return min(sizes, key=lambda size: max(size, value) / max(1, min(size, value)))


def near_capacity(value: int) -> str:
    """What a message says to a capacity for neighbours that there is not."""
    return f"32, 64, 128 or 256; the nearest is {nearest(value, CAPACITIES)}"


def read_sizes(given: dict[str, Any], mistakes: Mistakes
               ) -> tuple[tuple[int, ...], int, tuple[int, ...]]:
    """Widths of the embedding net, axis neurons, hidden widths of the fitting net.

    Notes a mistake, with the nearest size that works, where there is no such machine.
    """
    descriptor, fitting = given["model"]["descriptor"], given["model"]["fitting_net"]
    neuron, axis = tuple(descriptor.get("neuron", NEURON)), descriptor.get("axis_neuron", AXIS)
    usual = (128,) * 3
    if not mistakes.sound(f"{AT_DESCRIPTOR}/neuron", f"{AT_DESCRIPTOR}/axis_neuron",
                          f"{AT_FITTING}/neuron", "nvnmd/net_size"):
        return NEURON, AXIS, usual
    steps = len(neuron) == 3 and min(neuron) > 0 and all(
        wide in (narrow, 2 * narrow) for narrow, wide in pairwise(neuron))
    if not steps or neuron[-1] not in FEATURES:
        last = nearest(neuron[-1] if neuron else 0, FEATURES)
        mistakes.add(f"{AT_DESCRIPTOR}/neuron", list(neuron), "three widths, each that before it "
                     "or twice that, the last 8, 16, 32 or 64; the nearest is "
                     f"{show([last // 4, last // 2, last])}")
        return NEURON, AXIS, usual
    last = neuron[-1]
    axes = tuple(size for size in AXES if size * last <= MOST_WIDTH)
    if axis not in axes:
        mistakes.add(f"{AT_DESCRIPTOR}/axis_neuron", axis,
                     f"{' or '.join(map(str, axes))} with {last} features, whose product is at "
                     f"most {MOST_WIDTH}; the nearest is {nearest(axis, axes)}")
        return NEURON, AXIS, usual
    width = last * axis
    said = f"{width} = {last} features times {axis} axis neurons"
    if given["nvnmd"].get("net_size", width) != width:
        mistakes.add("nvnmd/net_size", given["nvnmd"]["net_size"], said)
    layers = tuple(fitting.get("neuron", (width,) * 3))
    count = min(max(len(layers), 1), MOST_LAYERS)
    if layers != (width,) * count:
        mistakes.add(f"{AT_FITTING}/neuron", list(layers),
                     f"1 to {MOST_LAYERS} widths of {said}; the nearest is "
                     f"{show([width] * count)}")
        return neuron, axis, (width,) * 3
    return neuron, axis, layers
