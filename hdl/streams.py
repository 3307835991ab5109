"""The description of the streams that goes with exported Verilog; needs no Python to read."""

from __future__ import annotations

from nvnmd.hdl.core import STATUS_BITS
from nvnmd.hdl.host.image import MAGIC, fingerprint, load_map, section_beats
from nvnmd.hdl.host.loader import digest_cycles
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.pipeline.loadbus import Section

_TEXT = """\
# Streams of the NVNMD accelerator

Top module `nvnmd_accelerator`; one clock `aclk`, synchronous reset `aresetn` (active low). All
streams are AXI4-Stream: a transfer happens in a clock cycle in which `tvalid` and `tready` are
high.

## Numbers
* flt word, {flt} bits in a 32-bit lane: sign in bit {sign_bit}, exponent plus {bias} in bits
  {frac} to {exp_top}, fraction in bits 0 to {frac_top}; value = (1 + fraction/2^{frac}) *
  2^(field - {bias}). Zero is the word 0; magnitudes below 2^{smallest} are zero.
* fix word: 32-bit two's complement with {fix} fraction bits.
* A 128-bit beat has four lanes; lane 0 is bits 0 to 31.

## s_axis_load (128 bits): the model
One packet: a header beat, then {payload} payload beats; `tlast` with the last one. Header
lanes: 0x{magic:08x}, 0x{finger:08x} (the sizes of this accelerator), {payload}, CRC-32 (the
IEEE 802.3 polynomial, as in zip) of the payload as little-endian bytes. The file `model.bin`
holds the packet, 16 bytes a beat, little-endian.
A packet is taken only while no atom is under way; a wrong header, length or CRC sets `bad_load`,
and no model is valid then.{nets}

| section | first beat | beats | contents |
|---|---|---|---|
{sections}

## s_axis_nbr (128 bits): neighbours
One beat per neighbour, lanes 0 to 2: displacement x, y, z from the centre to the neighbour in Å
(flt words). Lane 3: bits 0-7 neighbour type, bits 8-15 centre type, bit 16: "this atom has no
neighbour" (then the beat is the atom's only one and holds no displacement). The neighbours of
an atom come one after the other, {order};
`tlast` marks the atom's last beat. At most {nnei} neighbours, and {limit} the model's `sel`.

## m_axis_energy (32 bits)
One fix word per atom, in order: the network's output. `tuser`: the centre type. The atomic
energy in eV is the word times 2^-{fix} plus the type's `energy_bias` (manifest.json), added in
binary64.

## m_axis_deriv (128 bits)
One beat per real neighbour, in order; lanes dE/du (u = squared distance), dE/dx, dE/dy, dE/dz
as flt words, eV and Å; `tlast` marks the atom's last neighbour. With r the displacement as
sent, the centre receives the force 2 r dE/du + (dE/dx, dE/dy, dE/dz) of each neighbour, the
neighbour the opposite.

## status ({status_bits} bits)
{status}

The first five and `too_near` stay set until reset; a set `overflow`, `bad_type` or `too_many`
means that results since are not to be trusted. `too_near`: a neighbour had a u below 2^-e, with
e of PARAMS: below that the tables do not follow their functions, and its forces mean nothing.

## verify, verified, digest, digest_copies: the model read back
While `verify` is high, `status` does not have `busy`, and no packet comes, the payload is read back
from the memories, through the ports that evaluation reads them by; neighbours wait meanwhile. After
{digest} cycles `verified` is high until `verify` is low. `digest` is the CRC-32 of what was read:
that of the header, if the memories hold the packet. For `digest_copies`, words that are kept twice
were read from their second place. Leave `verify` low if you do not need it.

## Files
`stimulus_nbr.hex`, `expected_deriv.hex`: a beat a line, first digit the `tlast` bit, then 32
hexadecimal digits of data; `expected_energy.hex`: a word a line.
"""

_CONTENTS = {
    Section.PARAMS: "types, log2(NIX) + 256 e, origin of the G table in 1/256, slots; then sel, 4 "
                    "a beat",
    Section.EMPTY: "what an empty slot adds to GR, fix words: centre type, neighbour type, channel",
    Section.U_VALUE: "table of s and h: type, row, output; lanes a, b, c, d (flt words)",
    Section.U_GRAD: "table of ds/du and dh/du, the same way",
    Section.G_VALUE: "table of G: type, row, channel; lanes a, b, c, d (flt words)",
    Section.G_GRAD: "table of dG/ds, the same way",
    Section.FIT_FORWARD: "weight mantissas (with `weights_once`: whole numbers of 2^-23): type, "
                         "layer, input, output",
    Section.FIT_BACKWARD: "transposed, with their own exponents: type, layer, output, input",
    Section.FIT_LAST_FORWARD: "last layer's weight mantissas: type, input",
    Section.FIT_LAST_BACKWARD: "the same for the backward pass",
    Section.FIT_COLUMN: "exponents: direction, type, layer, column",
    Section.FIT_BIAS: "biases, fix words: type, layer, column",
    Section.FIT_LAST: "per type: forward exponent, backward exponent, bias, 0",
    Section.TYPE_GAIN: "what G is multiplied by, flt words: centre type, neighbour type, channel",
    Section.INV_STD: "per centre type: inverse deviations of s and h (flt words), 0, 0",
    Section.TYPE_TERM: "what the centre type adds in the first layer, fix words: type, column",
}


def describe_streams(cfg: AcceleratorConfig) -> str:
    """The streams of one configuration, as Markdown."""
    sections = [
        f"| {section.name} | {start} | {beats} | {_CONTENTS[section]} |"
        for section, start, beats in load_map(cfg)
    ]
    return _TEXT.format(
        flt=cfg.flt_bits,
        sign_bit=cfg.flt_bits - 1,
        bias=cfg.exp_bias,
        frac=cfg.frac,
        frac_top=cfg.frac - 1,
        exp_top=cfg.flt_bits - 2,
        smallest=1 - cfg.exp_bias,
        fix=cfg.fix_frac,
        payload=sum(section_beats(cfg).values()),
        magic=MAGIC,
        finger=fingerprint(cfg),
        sections="\n".join(sections),
        nets="" if cfg.version == 0 else "\nTables and the fitting net serve all types: type 0.",
        nnei=cfg.max_nnei,
        order="neighbour types ascending" if cfg.version == 0 else "in any order",
        limit="per type at most" if cfg.version == 0 else "at most",
        status_bits=len(STATUS_BITS),
        digest=digest_cycles(cfg),
        status="\n".join(f"* bit {i}: {name}" for i, name in enumerate(STATUS_BITS)),
    )
