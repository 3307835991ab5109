"""Sizes of the nets that a document asks for: taken, or refused with the nearest that work."""

from __future__ import annotations

import copy

import pytest
from support.input_documents import BASE, parse

from nvnmd.errors import InputError
from nvnmd.inputs.sizes import AXES, CAPACITIES, FEATURES, MOST_LAYERS, MOST_WIDTH


def sized(neuron=None, axis=None, hidden=None, version=0, **section):
    """A document with these sizes; what is None it does not say."""
    document = copy.deepcopy(BASE)
    document["nvnmd"] = {"version": version, "max_nnei": 128} | section
    model = document["model"]
    if version:
        model["descriptor"] = {"sel": 30}
    else:
        model["descriptor"]["sel"] = [15, 15]
    model["fitting_net"] = {} if hidden is None else {"neuron": hidden}
    model["descriptor"] |= {} if neuron is None else {"neuron": neuron}
    model["descriptor"] |= {} if axis is None else {"axis_neuron": axis}
    return document


@pytest.mark.parametrize("version", [0, 1])
def test_every_size_that_there_is(version):
    count = 0
    for last in FEATURES:
        for axis in AXES:
            if last * axis > MOST_WIDTH:
                continue
            for layers in range(1, MOST_LAYERS + 1):
                width, count = last * axis, count + 1
                config = parse(sized([last // 4, last // 2, last], axis, [width] * layers, version,
                                     net_size=width, max_nnei=32))
                assert config.descriptor.neuron == (last // 4, last // 2, last)
                assert config.descriptor.axis_neuron == axis
                assert config.fitting.neuron == (width,) * layers
                assert config.normalized["nvnmd"]["net_size"] == width
                again = parse(config.normalized)
                assert (again.descriptor, again.fitting) == (config.descriptor, config.fitting)
    assert count == 36
    for capacity in CAPACITIES:
        assert parse(sized(version=version, max_nnei=capacity)).max_nnei == capacity


def test_what_is_left_out_follows():
    assert parse(sized()).fitting.neuron == (128,) * 3
    assert parse(sized([4, 8, 16])).fitting.neuron == (64,) * 3
    config = parse(sized([16, 16, 16], 2))
    assert config.descriptor.neuron == (16, 16, 16) and config.fitting.neuron == (32,) * 3
    assert parse(sized([16, 16, 16], 2, net_size=32)) == config


@pytest.mark.parametrize(("document", "line"), [
    (sized([25, 50, 100]), "model/descriptor/neuron: got [25, 50, 100], expected three widths, "
     "each that before it or twice that, the last 8, 16, 32 or 64; the nearest is [16, 32, 64]"),
    (sized([10, 20]), "model/descriptor/neuron: got [10, 20], expected three widths, each that "
     "before it or twice that, the last 8, 16, 32 or 64; the nearest is [4, 8, 16]"),
    (sized([]), "model/descriptor/neuron: got [], expected three widths, each that before it or "
     "twice that, the last 8, 16, 32 or 64; the nearest is [2, 4, 8]"),
    (sized([8, 32, 64]), "model/descriptor/neuron: got [8, 32, 64], expected three widths, each "
     "that before it or twice that, the last 8, 16, 32 or 64; the nearest is [16, 32, 64]"),
    (sized([0, 0, 8]), "model/descriptor/neuron: got [0, 0, 8], expected three widths, each that "
     "before it or twice that, the last 8, 16, 32 or 64; the nearest is [2, 4, 8]"),
    (sized(axis=16), "model/descriptor/axis_neuron: got 16, expected 2 or 4 with 32 features, "
     "whose product is at most 128; the nearest is 4"),
    (sized([16, 32, 64], 3), "model/descriptor/axis_neuron: got 3, expected 2 with 64 features, "
     "whose product is at most 128; the nearest is 2"),
    (sized([16, 32, 64]), "model/descriptor/axis_neuron: got 4, expected 2 with 64 features, "
     "whose product is at most 128; the nearest is 2"),
    (sized([4, 8, 16], net_size=128),
     "nvnmd/net_size: got 128, expected 64 = 16 features times 4 axis neurons"),
    (sized([4, 8, 16], hidden=[128] * 3), "model/fitting_net/neuron: got [128, 128, 128], "
     "expected 1 to 4 widths of 64 = 16 features times 4 axis neurons; the nearest is "
     "[64, 64, 64]"),
    (sized(hidden=[128] * 6), "model/fitting_net/neuron: got [128, 128, 128, 128, 128, 128], "
     "expected 1 to 4 widths of 128 = 32 features times 4 axis neurons; the nearest is "
     "[128, 128, 128, 128]"),
    (sized(hidden=[]), "model/fitting_net/neuron: got [], expected 1 to 4 widths of 128 = 32 "
     "features times 4 axis neurons; the nearest is [128]"),
    (sized(max_nnei=100), "nvnmd/max_nnei: got 100, expected 32, 64, 128 or 256; the nearest is "
     "128"),
    (sized(version=1, sub_version=2, max_nnei=64),
     "nvnmd/max_nnei: got 64, expected 128 or 256 with sub_version 2"),
    (sized(version=1, sub_version=2, tables="octave"),
     'nvnmd/tables: got "octave", expected "vendor" with sub_version 2'),
])
def test_a_size_that_is_not_is_refused_with_the_nearest(document, line):
    with pytest.raises(InputError) as caught:
        parse(document)
    assert str(caught.value) == f"in.json: {line}"
