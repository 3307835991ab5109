"""Everything in the gateware that carries words, and what is proved of each."""

from __future__ import annotations

from functools import partial
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from support.stream_proofs import Stream, World

from nvnmd.hdl.arith.multiplier import Serializer, gathered
from nvnmd.hdl.atom.gradient_memory import Occupancy, ReceiveGr
from nvnmd.hdl.neighbor.front import FrontEnd
from nvnmd.hdl.neighbor.store import NeighborStore
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.pipeline.columns import Columns
from nvnmd.hdl.pipeline.deep_memory import DeepMemory
from nvnmd.hdl.pipeline.delay import Delay
from nvnmd.hdl.pipeline.lane_memory import LaneMemory
from nvnmd.hdl.pipeline.pending import Pending
from nvnmd.hdl.pipeline.ring import Ring
from nvnmd.hdl.pipeline.stages import Stages

BITS = 5
"""Of the numbers that words carry: none here holds more than eight."""


def small(**changes: Any) -> AcceleratorConfig:
    """An accelerator small enough to be unrolled: its records are as wide as ever."""
    return AcceleratorConfig(**({"ntypes": 2, "max_nnei": 4, "store_neighbors": 4, "m1": 4,
                                 "m2": 2, "width": 8, "fold": 2, "fit_cols": 4} | changes))


def delayed(world: World, unit: Delay) -> None:
    """A word comes out `cycles` cycles later; before that nothing is said."""
    number = world.free("number", BITS)
    old = world.ago(Const(1), unit.cycles)
    world.m.d.comb += unit.i.eq(number)
    world.hold(~old | (unit.o == world.ago(number, unit.cycles)))


class Carried(wiring.Component):
    """A pipeline of `Stages` that carries a word past others."""

    def __init__(self) -> None:
        super().__init__({"i": In(BITS), "o": Out(BITS)})
        self.cycles = 3

    def elaborate(self, platform: object) -> Module:
        m = Module()
        stages = Stages(m)
        stages.cut(word=self.i, other=self.i + 1)
        stages.cut("word", other=Const(0, 2))
        last = stages.cut("word")
        stages.expect(self.cycles)
        m.d.comb += self.o.eq(last.word)
        return m


def ring(world: World, unit: Ring) -> None:
    """The word pushed `depth` pushes ago."""
    m, push = world.m, world.free("push")
    pushed = world.count(push, BITS)
    full = Signal(range(unit.depth + 1))
    with m.If(push & (full != unit.depth)):
        m.d.sync += full.eq(full + 1)
    m.d.comb += [unit.push.eq(push), unit.i.eq(pushed)]
    world.hold((full != unit.depth) | (unit.o == (pushed - unit.depth)[:BITS]))


def pending(world: World, unit: Pending) -> None:
    """First in, first out; a word can be popped in the cycle after its push."""
    m, push, pop = world.m, world.free("push"), world.free("pop")
    moved = world.named(pop & unit.valid)
    sent, taken = world.count(push, BITS), world.count(moved, BITS)
    m.d.comb += [unit.push.eq(push), unit.i.eq(sent), unit.pop.eq(pop)]
    # the owner has counted places
    world.assume(~push | ((sent - taken)[:BITS] < unit.depth))
    world.hold(unit.valid == (sent != taken))
    world.hold(~unit.valid | (unit.o == taken))


def columns(world: World, unit: Columns) -> None:
    """Every column of every word, one per cycle, beside what accompanies the word."""
    m, push, lanes = world.m, world.free("push"), unit.lanes
    words = world.count(push, BITS)
    shown = world.count(unit.valid, BITS + 2)
    if lanes > 1:
        inside = (words - (shown >> (lanes.bit_length() - 1)))[:BITS]
        world.assume(~push | (inside < unit.depth))
    m.d.comb += [
        unit.push.eq(push),
        unit.word.eq(Cat((words * lanes + lane)[:BITS + 2] for lane in range(lanes))),
        unit.side.eq(words),
    ]
    expected = push if lanes == 1 else words != (shown >> (lanes.bit_length() - 1))[:BITS]
    world.hold(unit.valid == expected)
    world.hold(~unit.valid | (
        (unit.column == shown[:BITS + 2])
        & (unit.side_o == (shown >> (lanes.bit_length() - 1))[:BITS])
        & (unit.last_lane == (shown % lanes == lanes - 1))))


ITEMS, FOLD = 5, 3


class RoundTrip(wiring.Component):
    """A vector taken apart by a `Serializer` and put together again by `gathered`."""

    def __init__(self, fold: int) -> None:
        self.parts = Serializer(unsigned(BITS), ITEMS, fold)
        super().__init__({"valid_i": In(1), "i": In(BITS * ITEMS), "valid_o": Out(1),
                          "slot_valid": Out(1), "slot": Out(4), "lanes": Out(BITS * ITEMS),
                          "o": Out(BITS * self.parts.lanes * self.parts.slots)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.parts = parts = self.parts
        m.d.comb += [
            parts.valid_i.eq(self.valid_i), parts.i.as_value().eq(self.i),
            self.valid_o.eq(parts.last), self.slot_valid.eq(parts.valid_o),
            self.slot.eq(parts.slot), self.lanes.eq(parts.o.as_value()),
            self.o.eq(gathered(m, parts.o.as_value(), parts.slots)),
        ]
        return m


def round_trip(world: World, unit: RoundTrip) -> None:
    """Slots come one per cycle after the vector, and make up the vector again."""
    m, start, vector = world.m, world.free("start"), world.free("vector", BITS * ITEMS)
    lanes, slots = unit.parts.lanes, unit.parts.slots
    starts = [start]
    for _ in range(slots):
        starts.append(world.ago(starts[-1], 1))
    m.d.comb += [unit.valid_i.eq(start), unit.i.eq(vector)]
    for early in starts[1:slots]:
        world.assume(~(start & early))
    held: Value = vector
    for slot in range(slots):
        held = world.ago(held, 1)
        here = starts[1 + slot]
        part = held[BITS * lanes * slot:BITS * lanes * (slot + 1)]
        world.hold(~here | ((unit.slot == slot) & (unit.lanes == part)))
    world.hold(unit.slot_valid == (Cat(*starts[1:]) != 0))
    world.hold(unit.valid_o == starts[slots])
    world.hold(~unit.valid_o | (unit.o == held))


def _one_place(world: World) -> Signal:
    """One of eight places of a memory, any one, always the same."""
    place = world.free("place", 3)
    world.assume(~world.ago(Const(1), 1) | (place == world.ago(place, 1)))
    return place


def lane_memory(world: World, unit: LaneMemory) -> None:
    """Words written in groups and read in other groups; in the cycle of a write as before it."""
    m, numbers = world.m, world.free("numbers", BITS * unit.w_data.shape().length)
    w_en, w_index = world.free("w_en"), world.free("w_index", len(unit.w_index))
    r_index = world.free("r_index", len(unit.r_index))
    m.d.comb += [unit.w_en.eq(w_en), unit.w_index.eq(w_index), unit.r_index.eq(r_index),
                 unit.w_data.as_value().eq(numbers)]
    w_lanes, r_lanes = unit.w_data.shape().length, unit.r_data.shape().length
    place, known, word = _one_place(world), Signal(), Signal(BITS)
    with m.If(w_en & (w_index == place // w_lanes)):
        m.d.sync += [known.eq(1), word.eq(numbers.word_select(place % w_lanes, BITS))]
    asked = world.named(known & (r_index == place // r_lanes))
    read = unit.r_data.as_value().word_select(place % r_lanes, BITS)
    world.hold(~world.ago(asked, 1) | (read == world.ago(word, 1)))


def deep_memory(world: World, unit: DeepMemory) -> None:
    """Rows of a memory in pieces; nothing is said of a row written while it is asked for."""
    m, number = world.m, world.free("number", BITS)
    w_en, w_index = world.free("w_en"), world.free("w_index", 3)
    r_index = world.free("r_index", 3)
    world.assume((w_index < unit.depth) & (r_index < unit.depth))
    m.d.comb += [unit.w_en.eq(w_en), unit.w_index.eq(w_index), unit.r_index.eq(r_index),
                 unit.w_data.as_value().eq(number)]
    place, known, word = _one_place(world), Signal(), Signal(BITS)
    hit = world.named(w_en & (w_index == place))
    with m.If(hit):
        m.d.sync += [known.eq(1), word.eq(number)]
    asked = world.named(known & (r_index == place) & ~hit)
    world.hold(~world.ago(asked, 1) | (unit.r_data.as_value() == world.ago(word, 1)))


def occupancy(world: World, unit: Occupancy) -> None:
    """Places are given out, filled and freed in turn, none twice."""
    m, places = world.m, unit.places
    reserve, fill, release = (world.free(name) for name in ("reserve", "fill", "release"))
    given, filled, freed = (world.count(move, 4) for move in (reserve, fill, release))
    m.d.comb += [unit.reserve.eq(reserve), unit.fill.eq(fill), unit.release.eq(release)]
    world.assume(~reserve | unit.room)
    world.assume(~fill | (filled != given) | reserve)
    world.assume(~release | unit.ready)
    world.hold(unit.room == ((given - freed)[:4] < places))
    world.hold(unit.ready == (filled != freed))
    # as many places as a power of two: the numbers wrap with them
    world.hold((unit.write == given % places) & (unit.read == freed % places))


def receive_gr(world: World, unit: ReceiveGr) -> None:
    """Any column of the oldest atom is the one that came as such, and its mark of none, too."""
    m, cfg = world.m, unit.cfg
    valid, done = world.free("valid"), world.free("done")
    moved = world.named(valid & unit.gr.ready)
    came = world.count(moved, BITS + 2)
    release = world.named(done & unit.ready)
    freed = world.count(release, BITS)
    column = world.free("column", len(unit.column))
    # the last column tells of its atom
    m.d.comb += [
        unit.gr.valid.eq(valid), unit.gr.payload.as_value().eq(Cat(
            came, Const(0, len(unit.gr.payload.column.as_value()) - len(came)))),
        unit.gr.payload.none.eq(came[2]), unit.release.eq(release), unit.column.eq(column),
    ]
    atoms = came >> 2
    world.hold(unit.gr.ready == ((atoms - freed)[:BITS] < unit.places))
    world.hold(unit.ready == (atoms != freed))
    world.hold(~unit.ready | (unit.none == freed[0]))
    asked = world.ago(unit.ready & ~release, 1)
    wanted = world.ago(Cat(column, freed), 1)
    world.hold(~asked | (unit.o.as_value() == wanted[:BITS + 2]))
    assert cfg.m1 == 4


def store(world: World, unit: NeighborStore) -> None:
    """Neighbours and their slots, with as many under way as there are places."""
    m, cfg, slots = world.m, unit.cfg, unit.slots
    assert slots == 2
    write, close, take, read = (world.free(n) for n in ("write", "close", "take", "read"))
    taken_now = world.named(take & unit.meta.valid)
    written, closed = world.count(write, BITS + 1), world.count(close, BITS)
    taken, seen = world.count(taken_now, BITS), world.count(read, BITS + 1)
    back = world.count(unit.neighbor_return, BITS)
    m.d.comb += [
        unit.slot_valid.eq(write), unit.slot_i.as_value().eq(written),
        unit.meta_valid.eq(close), unit.meta_i.as_value().eq(closed),
        unit.meta.ready.eq(take), unit.slot_next.eq(read),
    ]
    # a place for each neighbour that begins; its meta word comes with its last slot or later
    world.assume(~write | written[0] | ((written[1:] - back)[:BITS] < cfg.store_neighbors))
    world.assume(~close | (closed != (written + write)[1:BITS + 1]))
    # its slots are read when it was taken, or in that cycle
    world.assume(~read | (seen[1:] != (taken + taken_now)[:BITS]))
    world.hold(~unit.meta.valid | ((taken != closed)
                                   & (unit.meta.payload.as_value() == taken)))
    world.hold(unit.meta.valid | (world.ago(closed, 1) == taken)
               | (world.ago(closed, 2) == taken))
    world.hold(unit.neighbor_return == (read & seen[0]))
    world.hold(~world.ago(read, 1) | (unit.slot_o.as_value() == world.ago(seen, 1)))


def front_end(world: World, unit: FrontEnd, *, for_good: bool = False) -> None:
    """Neighbours of well-formed atoms leave in their order, each once, with its own marks."""
    m, cfg = world.m, unit.cfg
    valid, last, kind = (world.free(n) for n in ("valid", "last", "kind"))
    place, atom = world.free("place"), world.free("atom")
    moved = world.named(valid & unit.nbr.ready)
    came = world.count(moved, BITS)
    payload, beat = unit.nbr.payload, unit.beat
    left_now = world.named(beat.valid & ~beat.masked)
    left = world.count(left_now, BITS)
    begun, within = world.count(moved & last, BITS), Signal(3)
    before = Signal()
    with m.If(moved):
        m.d.sync += [before.eq(kind & ~last), within.eq(Mux(last, 0, within + 1))]
    # at most four neighbours, types ascending, the centre's that of the atom's number
    world.assume((within < cfg.max_nnei - 1) | last)
    if cfg.version == 0:
        world.assume(kind >= before)
    m.d.comb += [
        unit.nbr.valid.eq(valid), payload.x.eq(came), payload.y.eq(Cat(last, kind)),
        payload.z.eq(begun), payload.ntype.eq(kind), payload.ctype.eq(begun[0]),
        payload.last.eq(last), unit.model_valid.eq(1), unit.ntypes.eq(cfg.ntypes),
        *(unit.sel[k].eq(cfg.max_nnei) for k in range(cfg.ntypes)),
        unit.neighbor_return.eq(place), unit.atom_return.eq(atom),
    ]
    # places come back once each
    ended = world.count(beat.valid & beat.last_of_atom, BITS)
    back, gone = world.count(place, BITS), world.count(atom, BITS)
    world.assume(~place | (back != left))
    world.assume(~atom | (gone != ended))
    world.hold(~(unit.bad_type | unit.too_many | unit.no_model))
    world.hold((came - left)[:BITS] <= 2)
    world.hold(~left_now | (
        (came != left) & (beat.x == left) & (beat.last == beat.y[0])
        & (beat.ntype == beat.y[1]) & (beat.ctype == beat.z[0])))
    for cycles in range(1, cfg.fold):
        world.hold(~beat.valid | ~world.ago(beat.valid, cycles))
    # never more under way than there are places
    world.hold((left - back)[:BITS] <= cfg.store_neighbors)
    if for_good:
        _front_end_inside(world, unit, came, left, back, (ended - gone)[:BITS], begun, within,
                          before)
        return
    # with every place free and a neighbour waiting behind, none is held for long
    patience = cfg.fold * (cfg.ntypes + 1) + 2
    waiting = Signal(range(patience + 1))
    free = (back == left) & (gone == ended) & valid
    with m.If(~free | left_now):
        m.d.sync += waiting.eq(0)
    with m.Elif(came != left):
        m.d.sync += waiting.eq(waiting + 1)
    world.hold(waiting < patience)


def _front_end_inside(world: World, unit: FrontEnd, came: Value, left: Value, back: Value,
                      atoms_out: Value, begun: Value, within: Value, before: Value) -> None:
    """What is true inside the front end in every cycle: with it, a step of induction goes through.

    One neighbour is held, the last that came; credits are what has not come back; the group that is
    at work is not beyond the held one's.
    """
    cfg, beat = unit.cfg, unit.beat
    word = data.View(unit.nbr.payload.shape(), world.inside("held"))
    names = ("held_valid", "spent", "in_atom", "skipping", "total", "count", "group",
             "first_of_atom", "neighbors", "atoms", "pace")
    held_valid, spent, in_atom, skipping, total, count, group, first, places, rooms, pace = (
        world.inside(name) for name in names)
    here = world.named(held_valid & ~spent)
    out = world.named(beat.valid & ~beat.masked)
    world.hold((came - left)[:BITS] == here + out)
    world.hold(~held_valid | (~word.none & (word.last == word.y[0]) & (word.ntype == word.y[1])
                              & (word.ctype == word.z[0])))
    world.hold(~here | ((word.x == (came - 1)[:BITS]) & (group <= word.ntype)))
    world.hold(held_valid | ~spent)
    world.hold(~spent | word.last)
    world.hold(in_atom == (held_valid & ~word.last))
    world.hold(~in_atom | ((total == within) & (count <= total) & (word.ctype == begun[0])
                           & (word.ntype == before)))
    world.hold((within == Mux(in_atom, total, 0)) & (within < cfg.max_nnei))
    world.hold(~skipping & (pace < cfg.fold) & (group < max(1, cfg.ntypes)))
    world.hold((held_valid | first) & (~first | (group == 0)))
    under_way = (left - back)[:BITS] + out
    world.hold((under_way <= cfg.store_neighbors) & (places == cfg.store_neighbors - under_way))
    atoms_now = atoms_out + (beat.valid & beat.last_of_atom) + ~first
    world.hold((atoms_now <= unit.atoms) & (rooms == unit.atoms - atoms_now))


STREAMS = {
    "Delay, registers": Stream(lambda: Delay(BITS, 3), delayed, ("stage1", 2), 5, True),
    "Delay, ring": Stream(lambda: Delay(BITS, 6), delayed, ("at", 1), 9, True),
    "Stages": Stream(Carried, delayed, ("word_2", 0), 5, True),
    "Ring": Stream(lambda: Ring(BITS, 3), ring, ("here", 1), 24),
    "Ring of one": Stream(lambda: Ring(BITS, 1), ring, ("o", 0), 10),
    "Pending": Stream(lambda: Pending(BITS, 3), pending, ("consume", 0), 24),
    "Columns": Stream(lambda: Columns(BITS + 2, BITS, 2, 2), columns, ("lane", 0), 24),
    "Columns, a wire": Stream(lambda: Columns(BITS + 2, BITS, 1, 2), columns, ("column", 0), 8),
    "Serializer and gathered": Stream(lambda: RoundTrip(FOLD), round_trip, ("slot", 1), 8, True),
    "Serializer of one slot": Stream(lambda: RoundTrip(1), round_trip, ("valid_o", 0), 5, True),
    "LaneMemory, wide writes": Stream(
        lambda: LaneMemory(8, BITS, write_lanes=4, read_lanes=1), lane_memory, ("pick", 1), 8),
    "LaneMemory, wide reads": Stream(
        lambda: LaneMemory(8, BITS, write_lanes=1, read_lanes=4), lane_memory,
        ("write__addr", 0), 8),
    "DeepMemory": Stream(
        lambda: DeepMemory(6, data.ArrayLayout(BITS, 1)), deep_memory, ("asked0", 0), 8),
    "Occupancy": Stream(lambda: Occupancy(2), occupancy, ("write", 0), 24),
    "ReceiveGr": Stream(lambda: ReceiveGr(small(), 2), receive_gr, ("at", 1), 28),
    "NeighborStore": Stream(lambda: NeighborStore(small()), store, ("tail", 1), 24),
    "FrontEnd": Stream(lambda: FrontEnd(small(fold=1)), front_end, ("held_valid", 0), 24),
    "FrontEnd, spaced": Stream(lambda: FrontEnd(small(fold=2)), front_end, ("pace", 0), 24),
    "FrontEnd, for good": Stream(
        lambda: FrontEnd(small(fold=2)), partial(front_end, for_good=True), ("pace", 0), 3, True),
    "FrontEnd, version 1, for good": Stream(
        lambda: FrontEnd(small(fold=2, version=1)), partial(front_end, for_good=True),
        ("held_valid", 0), 3, True),
    "FrontEnd, version 1": Stream(
        lambda: FrontEnd(small(fold=1, version=1)), front_end, ("held_valid", 0), 24),
}
