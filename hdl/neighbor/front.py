"""The front end: from the neighbour stream to evenly spaced beats in groups of one type."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from nvnmd.errors import InputError
from nvnmd.hdl.params import AcceleratorConfig


class NeighborLayout(data.StructLayout):
    """One neighbour as it arrives: displacement (flt words), types and marks.

    `none`: the atom has no neighbour, the beat only carries `ctype`; `last`: the atom's last beat.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        word = cfg.flt_bits
        super().__init__(
            {
                "x": word,
                "y": word,
                "z": word,
                "ntype": cfg.type_bits,
                "ctype": cfg.type_bits,
                "none": 1,
                "last": 1,
            }
        )


class BeatLayout(data.StructLayout):
    """One beat of the neighbour pipeline, at most one every `fold` cycles.

    A *group* is what one set of GR sums covers: the neighbours of one type in version 0, all
    neighbours in version 1. `masked` beats hold the place of a type that the atom lacks and add
    nothing. `empties` (unoccupied slots of the group) is right in the group's last beat. `last`
    marks the atom's last neighbour, `last_of_atom` its last beat, masked or not; `none` an atom
    without neighbours.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        word = cfg.flt_bits
        super().__init__(
            {
                "valid": 1,
                "x": word,
                "y": word,
                "z": word,
                "ntype": cfg.type_bits,
                "ctype": cfg.type_bits,
                "masked": 1,
                "first_of_group": 1,
                "last_of_group": 1,
                "last_of_atom": 1,
                "last": 1,
                "none": 1,
                "empties": cfg.count_bits,
            }
        )


@dataclass(frozen=True)
class Beat:
    """`BeatLayout` as Python integers (words of x, y, z)."""

    x: int = 0
    y: int = 0
    z: int = 0
    ntype: int = 0
    ctype: int = 0
    masked: int = 0
    first_of_group: int = 0
    last_of_group: int = 0
    last_of_atom: int = 0
    last: int = 0
    none: int = 0
    empties: int = 0


class FrontEnd(wiring.Component):
    """Checks the neighbour stream, groups it by type and spaces it to one beat per `fold` cycles.

    Throughput: one beat every `cfg.fold` cycles. A neighbour leaves once the atom's next one is
    seen (or it is the last), because only then is it known to end its group. An atom takes one
    beat per neighbour and one masked beat per type it lacks.

    A beat that cannot be used (`none`, a bad type, too many neighbours) is swallowed and its
    `last` passes to the neighbour before it, so that the atom still ends: the status says that
    its results are not to be trusted. Beats of an atom that starts without a model are swallowed.

    Parameters
    ----------
    cfg : AcceleratorConfig
        Sizes and formats.
    atoms : int
        Atoms that may be under way between here and the release of their GR matrix.

    Attributes
    ----------
    nbr : stream of `NeighborLayout`, in
        Neighbours of one atom after another, types ascending in version 0.
    ntypes, sel, model_valid : in
        The loaded model: number of types, slots per type (version 1: all slots in ``sel[0]``).
    neighbor_return, atom_return : in
        One place in the neighbour store, in the atom buffers, has become free (pulse).
    beat : `BeatLayout`, out
        One cycle each.
    bad_type, too_many, no_model : out
        Status, set until reset: a type out of range, out of order or a centre type that changes
        within the atom; more neighbours than `sel` or `max_nnei`; a beat without a model.
    busy : out
        An atom has begun to arrive and not wholly left.
    """

    def __init__(self, cfg: AcceleratorConfig, *, atoms: int = 2) -> None:
        if atoms < 1:
            raise InputError(f"accelerator: atoms is {atoms}, expected at least 1")
        self.cfg = cfg
        self.atoms = atoms
        super().__init__(
            {
                "nbr": In(stream.Signature(NeighborLayout(cfg))),
                "ntypes": In(range(cfg.ntypes + 1)),
                "sel": In(data.ArrayLayout(cfg.count_bits, cfg.ntypes)),
                "model_valid": In(1),
                "neighbor_return": In(1),
                "atom_return": In(1),
                "beat": Out(BeatLayout(cfg)),
                "bad_type": Out(1),
                "too_many": Out(1),
                "no_model": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        by_type = cfg.version == 0
        new = self.nbr.payload

        # the neighbour held back until its successor is known; `spent`: only its type is left
        held = Signal(NeighborLayout(cfg))
        held_valid = Signal()
        spent = Signal()
        in_atom = Signal()  # an atom's neighbour is held and its last beat not yet seen
        skipping = Signal()  # within an atom that started without a model
        count = Signal(cfg.count_bits)  # neighbours of the held one's group, with it
        total = Signal(cfg.count_bits)  # neighbours of the atom so far
        group = Signal(cfg.type_bits)
        first_of_atom = Signal(init=1)
        first_of_group = Signal(init=1)

        # what arrives
        skip = Signal()
        wrong_type = Signal()
        new_group = Signal()
        excess = Signal()
        good = Signal()
        before = Mux(new_group, 0, count)
        limit = self.sel[new.ntype] if by_type else self.sel[0]
        m.d.comb += [
            skip.eq(skipping | (~self.model_valid & ~in_atom)),
            wrong_type.eq(
                (new.ctype >= self.ntypes)
                | (in_atom & (new.ctype != held.ctype))
                | (~new.none & (new.ntype >= self.ntypes))
            ),
            new_group.eq(~in_atom),
            excess.eq((before >= limit) | (in_atom & (total == cfg.max_nnei))),
            good.eq(self.model_valid & ~new.none & ~wrong_type & ~excess),
        ]
        if by_type:
            with m.If(in_atom & (new.ntype != held.ntype)):
                m.d.comb += new_group.eq(1)
            with m.If(in_atom & ~new.none & (new.ntype < held.ntype)):
                m.d.comb += wrong_type.eq(1)

        # what leaves
        masked = Signal()
        is_last_group = Signal()
        ends_group = Signal()
        ends_atom = Signal()
        leaves = Signal()
        known = Signal()
        go = Signal()
        arriving = self.nbr.valid & ~skip & good
        neighbors = Signal(range(cfg.store_neighbors + 1), init=cfg.store_neighbors)
        atoms = Signal(range(self.atoms + 1), init=self.atoms)
        pace = Signal(range(max(2, cfg.fold)))  # Verilog has no signals of none
        empty_tail = held.none | spent
        if by_type:
            m.d.comb += [
                masked.eq(empty_tail | (group != held.ntype)),
                is_last_group.eq(group + 1 >= self.ntypes),
                ends_group.eq(masked | held.last | (new.ntype != held.ntype)),
            ]
        else:
            m.d.comb += [
                masked.eq(empty_tail),
                is_last_group.eq(1),
                ends_group.eq(masked | held.last),
            ]
        m.d.comb += [
            known.eq(masked | held.last | arriving),
            go.eq(
                held_valid
                & known
                & (pace == 0)
                & (masked | (neighbors != 0))
                & (~first_of_atom | (atoms != 0))
            ),
            ends_atom.eq(ends_group & is_last_group & (held.last | empty_tail)),
            leaves.eq(go & (ends_atom | (~masked & ~held.last))),
        ]
        with m.If(pace != 0):
            m.d.sync += pace.eq(pace - 1)
        with m.If(go):
            m.d.sync += [
                pace.eq(cfg.fold - 1),
                first_of_atom.eq(ends_atom),
                first_of_group.eq(ends_group),
            ]
            with m.If(ends_atom):
                m.d.sync += group.eq(0)
            with m.Elif(ends_group):
                m.d.sync += group.eq(group + 1)
            with m.If(~masked & held.last):
                m.d.sync += spent.eq(1)
        with m.If(leaves):
            m.d.sync += [held_valid.eq(0), spent.eq(0)]
        m.d.sync += [
            neighbors.eq(neighbors - (go & ~masked) + self.neighbor_return),
            atoms.eq(atoms - (go & first_of_atom) + self.atom_return),
        ]

        # what is taken: a good beat needs the place of the held one, a beat that only ends an
        # atom without neighbours too
        free = ~held_valid | leaves
        take = self.nbr.valid & self.nbr.ready & ~skip
        m.d.comb += self.nbr.ready.eq(skip | free | (~good & (~new.last | in_atom)))
        with m.If(self.nbr.valid & self.nbr.ready & skip):
            m.d.sync += [skipping.eq(~new.last), self.no_model.eq(1)]
        with m.If(take):
            with m.If(good):
                m.d.sync += [
                    held.eq(new),
                    held_valid.eq(1),
                    in_atom.eq(~new.last),
                    count.eq(before + 1),
                    total.eq(Mux(in_atom, total, 0) + 1),
                ]
            with m.Else():
                with m.If(new.last):
                    m.d.sync += in_atom.eq(0)
                    with m.If(in_atom):
                        m.d.sync += held.last.eq(1)
                    with m.Else():
                        m.d.sync += [
                            held.eq(Cat(new)),
                            held.none.eq(1),
                            held_valid.eq(1),
                        ]
                m.d.sync += self.no_model.eq(self.no_model | ~self.model_valid)
                with m.If(wrong_type):
                    m.d.sync += self.bad_type.eq(1)
                with m.Elif(~new.none & excess):
                    m.d.sync += self.too_many.eq(1)

        m.d.comb += self.busy.eq(held_valid | in_atom)

        # the beat
        beat = self.beat
        m.d.sync += beat.valid.eq(go)
        with m.If(go):
            m.d.sync += [
                beat.x.eq(Mux(masked, 0, held.x)),
                beat.y.eq(Mux(masked, 0, held.y)),
                beat.z.eq(Mux(masked, 0, held.z)),
                beat.ntype.eq(Mux(masked, group, held.ntype)),
                beat.ctype.eq(held.ctype),
                beat.masked.eq(masked),
                beat.first_of_group.eq(first_of_group),
                beat.last_of_group.eq(ends_group),
                beat.last_of_atom.eq(ends_atom),
                beat.last.eq(~masked & held.last),
                beat.none.eq(held.none),
            ]
            if cfg.empty_counts:
                slots = self.sel[group] if by_type else self.sel[0]
                m.d.sync += beat.empties.eq(Mux(masked, slots, slots - count))
        return m

    @staticmethod
    def compute(
        cfg: AcceleratorConfig, ntypes: int, sel: Sequence[int], beats: Iterable[dict[str, int]]
    ) -> tuple[list[Beat], dict[str, bool]]:
        """The beats and the status of a neighbour stream.

        Parameters
        ----------
        cfg : AcceleratorConfig
            Sizes.
        ntypes, sel
            The loaded model.
        beats : iterable of dict
            Values of `NeighborLayout`'s fields.

        Returns
        -------
        beats : list of Beat
            What leaves; `empties` is 0 in beats that do not end their group.
        status : dict of bool
            `bad_type` and `too_many`.
        """
        by_type = cfg.version == 0
        status = {"bad_type": False, "too_many": False}
        out: list[Beat] = []
        atom: list[dict[str, int]] = []
        for new in beats:
            same = [b for b in atom if not by_type or b["ntype"] == new["ntype"]]
            wrong = new["ctype"] >= ntypes or any(b["ctype"] != new["ctype"] for b in atom)
            if not new["none"]:
                wrong |= new["ntype"] >= ntypes
                wrong |= by_type and bool(atom) and new["ntype"] < atom[-1]["ntype"]
            if wrong:
                status["bad_type"] = True
            elif not new["none"]:
                if len(same) >= sel[new["ntype"] if by_type else 0] or len(atom) >= cfg.max_nnei:
                    status["too_many"] = True
                else:
                    atom.append(new)
            if new["last"]:
                ctype = (atom[0] if atom else new)["ctype"]
                out += FrontEnd._groups(cfg, ntypes, sel, atom, ctype)
                atom = []
        return out, status

    @staticmethod
    def _groups(
        cfg: AcceleratorConfig,
        ntypes: int,
        sel: Sequence[int],
        atom: list[dict[str, int]],
        ctype: int,
    ) -> list[Beat]:
        """The beats of one atom."""
        by_type = cfg.version == 0
        out = []
        for group in range(ntypes if by_type else 1):
            members = [
                Beat(b["x"], b["y"], b["z"], b["ntype"], ctype)
                for b in atom
                if not by_type or b["ntype"] == group
            ]
            empties = sel[group] - len(members) if cfg.empty_counts else 0
            members = members or [Beat(ntype=group, ctype=ctype, masked=1)]
            members[0] = replace(members[0], first_of_group=1)
            members[-1] = replace(members[-1], last_of_group=1, empties=empties)
            out += members
        out[-1] = replace(out[-1], last_of_atom=1)
        out = [replace(b, none=int(not atom)) for b in out]
        real = [i for i, b in enumerate(out) if not b.masked]
        if real:
            out[real[-1]] = replace(out[real[-1]], last=1)
        return out
