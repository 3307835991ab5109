"""The requests of the link, carried out by an accelerator.

Schedule of a request (`AcceleratorApp`), one request at a time:

* HELLO, STATUS: eight words, one a cycle.
* LOAD: five cycles a beat (four words read, one offered to the accelerator). The first beat resets
  the accelerator, which forgets its model; the last one waits for its verdict on the whole image.
* DIGEST: the accelerator reads the model's memories back, a beat a cycle (once, or twice where it
  has copies), and the digests go out; as long as it is at work, the cycles so far. Memories that do
  not hold what was loaded are a fault, and the accelerator forgets its model.
* ATOMS: beats go in at five cycles each while results come out: an energy is one word, the four
  words of a neighbour's derivatives one a cycle. Both go to the reply memory: energies first, then
  derivatives, at places that the request's counts imply. The reply is complete when every word is
  there.

Whatever leaves a word in doubt (a sticky status bit, no word for a long time) resets the
accelerator and is answered with a fault, never with numbers.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from nvnmd.boards.link.endpoint import Mailbox
from nvnmd.boards.link.frames import PROTOCOL, Fault, Kind
from nvnmd.hdl.axi import BEAT
from nvnmd.hdl.core import STATUS_BITS
from nvnmd.hdl.host.image import fingerprint, section_beats
from nvnmd.hdl.host.loader import digest_cycles
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.pipeline.loadbus import LANE_BITS, LANES
from nvnmd.hdl.schedule import latencies

LAST_BIT = 24
"""Bit of a neighbour beat's control lane that marks the atom's last beat on the link."""
STICKY = 5
"""Status bits that stay until reset."""
FACTS = 8
"""Words of the reply to HELLO and STATUS."""
ATOMS_HEAD = 2
"""Words before the beats of ATOMS, and before the energies of its reply."""


def patience(cfg: AcceleratorConfig) -> int:
    """Cycles without a word after which the accelerator is given up: a power of two.

    More than four times what the longest list takes, which is then followed by pipelines.
    """
    return 1 << (4 * latencies(cfg).cycles_per_atom(cfg.max_nnei) + 8192).bit_length()


def digest_patience(cfg: AcceleratorConfig) -> int:
    """Bit of the cycles of a digest that says it will not come: four times what it takes."""
    return (4 * digest_cycles(cfg) + 8192).bit_length()


class AcceleratorApp(wiring.Component):
    """Requests of the link carried out by an accelerator.

    Parameters
    ----------
    cfg : AcceleratorConfig
        The accelerator.
    request_words, reply_words : int
        Words of a slot's memories.

    Attributes
    ----------
    app : Mailbox
    dropped, repeated : In
        The link's counters.
    load_*, nbr_*, energy_*, deriv_*, status : the accelerator's streams
    verify, verified, digest, digest_copies : the accelerator's digests
    reset : Out
        Resets the accelerator.
    """

    def __init__(self, cfg: AcceleratorConfig, request_words: int, reply_words: int) -> None:
        self.cfg = cfg
        self.request_words, self.reply_words = request_words, reply_words
        super().__init__({
            "app": Out(Mailbox(request_words, reply_words)),
            "dropped": In(32), "repeated": In(32),
            "beat": Out(BEAT), "beat_last": Out(1),
            "load_valid": Out(1), "load_ready": In(1),
            "nbr_valid": Out(1), "nbr_ready": In(1),
            "energy": In(LANE_BITS), "energy_valid": In(1), "energy_ready": Out(1),
            "deriv": In(BEAT), "deriv_valid": In(1), "deriv_ready": Out(1),
            "status": In(len(STATUS_BITS)), "reset": Out(1),
            "verify": Out(1), "verified": In(1),
            "digest": In(LANE_BITS), "digest_copies": In(LANE_BITS),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        app, cfg = self.app, self.cfg
        total = sum(section_beats(cfg).values()) + 1
        model_valid = self.status[STATUS_BITS.index("model_valid")]
        sticky = self.status[:STICKY].any()
        cursor = Signal(14)  # next word of the request
        lane = Signal(range(LANES + 1))
        beat = Signal(BEAT)
        at = Signal(32)  # next beat of the image
        check = Signal(32)  # of the image that is loaded
        cycles = Signal(32)
        begun, elapsed = Signal(32), Signal(32)  # of the request
        atoms, neighbors = Signal(14), Signal(14)
        energies, derivs = Signal(14), Signal(14)
        part = Signal(range(LANES))  # of a derivative
        quiet = Signal(range(patience(cfg) + 1))
        fault, wait = Signal(8), Signal(8)
        verify, took = Signal(), Signal(32)
        place = Signal(16)
        m.d.sync += [cycles.eq(cycles + 1), app.done.eq(0), app.write_en.eq(0)]
        m.d.comb += [app.read_addr.eq(cursor), self.beat.eq(beat), self.verify.eq(verify)]

        def write(address: object, value: object) -> list:
            return [app.write_en.eq(1), app.write_addr.eq(address), app.write_data.eq(value)]

        def finish(kind: object, length: object) -> list:
            return [app.done.eq(1), app.reply.eq(kind), app.length.eq(length)]

        def gather(then: str) -> None:
            # a word of the request a cycle, until the beat is whole
            m.d.sync += [beat.eq(Cat(beat[LANE_BITS:], app.read_data)), lane.eq(lane + 1)]
            with m.If(lane == LANES - 1):
                m.next = then
            with m.Else():
                m.d.sync += cursor.eq(cursor + 1)

        m.d.comb += elapsed.eq(cycles - begun)
        with m.If(verify & ~self.verified):
            m.d.sync += took.eq(elapsed)

        with m.FSM() as fsm:
            with m.State("idle"):
                m.d.sync += [cursor.eq(0), lane.eq(0), quiet.eq(0), wait.eq(0)]
                with m.If(app.start):
                    with m.Switch(app.kind):
                        with m.Case(Kind.HELLO, Kind.STATUS):
                            m.next = "facts"
                        with m.Case(Kind.LOAD):
                            whole = (app.words >= 1 + LANES) & ((app.words - 1)[:2] == 0)
                            m.d.sync += fault.eq(Fault.LENGTH)
                            with m.If(whole):
                                m.d.sync += cursor.eq(1)
                                m.next = "load begin"
                            with m.Else():
                                m.next = "fault"
                        with m.Case(Kind.ATOMS):
                            whole = (app.words >= ATOMS_HEAD + LANES) & (
                                (app.words - ATOMS_HEAD)[:2] == 0)
                            m.d.sync += fault.eq(Fault.LENGTH)
                            with m.If(whole):
                                m.d.sync += cursor.eq(1)
                                m.next = "atoms count"
                            with m.Else():
                                m.next = "fault"
                        with m.Case(Kind.DIGEST):
                            with m.If(~verify):
                                m.d.sync += begun.eq(cycles)
                            with m.If(model_valid):
                                m.next = "digest"
                            with m.Else():
                                m.d.sync += fault.eq(Fault.NO_MODEL)
                                m.next = "fault"
                        with m.Case(Kind.ECHO):
                            m.next = "echo"
                        with m.Default():
                            m.d.sync += fault.eq(Fault.KIND)
                            m.next = "fault"

            with m.State("facts"):
                facts = [
                    PROTOCOL, fingerprint(cfg), self.request_words | self.reply_words << 16,
                    self.status, model_valid.replicate(32) & check, self.dropped, self.repeated,
                    cycles,
                ]
                with m.Switch(lane):
                    for k, value in enumerate(facts[:LANES]):
                        with m.Case(k):
                            m.d.sync += write(k, value)
                m.d.sync += lane.eq(lane + 1)
                with m.If(lane == LANES - 1):
                    m.d.sync += lane.eq(0)
                    m.next = "more facts"
            with m.State("more facts"):
                with m.Switch(lane):
                    for k, value in enumerate(facts[LANES:]):
                        with m.Case(k):
                            m.d.sync += write(LANES + k, value)
                m.d.sync += lane.eq(lane + 1)
                with m.If(lane == LANES):
                    m.d.sync += finish(app.kind, FACTS)
                    m.next = "idle"

            with m.State("echo"):
                # the word that was asked for one cycle ago
                m.d.sync += cursor.eq(cursor + 1)
                with m.If(cursor != 0):
                    m.d.sync += write(cursor - 1, app.read_data)
                with m.If(cursor == app.words):
                    m.d.sync += finish(Kind.ECHO, app.words)
                    m.next = "idle"

            with m.State("digest"):
                m.d.sync += [verify.eq(1), wait.eq(wait + 1)]
                with m.If(verify & self.verified):
                    m.d.sync += [verify.eq(0), wait.eq(0)]
                    m.next = "digest words"
                with m.Elif(elapsed[digest_patience(cfg)]):
                    m.d.sync += [fault.eq(Fault.STUCK), wait.eq(0)]
                    m.next = "fault reset"
                with m.Elif(wait == 63):
                    # not there yet: the host asks again, so that no reply takes long
                    m.d.sync += [*write(0, elapsed), *finish(Kind.DIGEST, 1)]
                    m.next = "idle"
            with m.State("digest words"):
                # both stay as they are until another digest
                m.d.sync += wait.eq(wait + 1)
                with m.If((self.digest != check) | (self.digest_copies != check)):
                    m.d.sync += [wait.eq(0), fault.eq(Fault.MEMORY)]
                    m.next = "fault reset"
                with m.Else():
                    with m.Switch(wait):
                        with m.Case(0):
                            m.d.sync += write(0, self.digest)
                        with m.Case(1):
                            m.d.sync += write(1, self.digest_copies)
                        with m.Default():
                            m.d.sync += write(2, took)
                    with m.If(wait == 3):
                        m.d.sync += finish(Kind.DIGEST, 3)
                        m.next = "idle"

            with m.State("load begin"):
                m.d.sync += cursor.eq(cursor + 1)
                with m.If(app.read_data == 0):
                    m.d.sync += at.eq(0)
                    m.next = "load reset"
                with m.Elif(app.read_data == at):
                    m.next = "load words"
                with m.Else():
                    m.d.sync += fault.eq(Fault.ORDER)
                    m.next = "fault"
            with m.State("load reset"):
                m.d.comb += self.reset.eq(1)
                m.d.sync += [wait.eq(wait + 1), cursor.eq(1), verify.eq(0)]
                with m.If(wait == 15):
                    m.d.sync += [wait.eq(0), cursor.eq(2)]
                    m.next = "load words"
            with m.State("load words"):
                gather("load beat")
            with m.State("load beat"):
                m.d.comb += [self.load_valid.eq(1), self.beat_last.eq(at == total - 1)]
                m.d.sync += quiet.eq(quiet + 1)
                with m.If(self.load_ready):
                    m.d.sync += [at.eq(at + 1), lane.eq(0), quiet.eq(0), cursor.eq(cursor + 1)]
                    with m.If(at == 0):
                        m.d.sync += check.eq(beat.word_select(LANES - 1, LANE_BITS))
                    with m.If((cursor == app.words) | (at == total - 1)):
                        m.next = "load end"
                    with m.Else():
                        m.next = "load words"
                with m.Elif(quiet[-1]):
                    m.d.sync += fault.eq(Fault.STUCK)
                    m.next = "fault reset"
            with m.State("load end"):
                m.d.sync += wait.eq(wait + 1)
                with m.If(wait == 16):
                    m.d.sync += write(0, at)
                with m.If(wait == 17):
                    m.d.sync += write(1, self.status)
                with m.If(wait == 18):
                    m.d.sync += finish(Kind.LOAD, 2)
                    m.next = "idle"

            with m.State("atoms count"):
                m.d.sync += [atoms.eq(app.read_data), cursor.eq(cursor + 1)]
                m.next = "neighbors count"
            with m.State("neighbors count"):
                m.d.sync += neighbors.eq(app.read_data)
                m.next = "atoms check"
            with m.State("atoms check"):
                m.d.sync += [energies.eq(0), derivs.eq(0), part.eq(0), begun.eq(cycles),
                             cursor.eq(ATOMS_HEAD + 1)]
                m.d.comb += place.eq(ATOMS_HEAD + atoms + (neighbors << 2))
                with m.If((place > self.reply_words) | (atoms == 0)):
                    m.d.sync += fault.eq(Fault.LENGTH)
                    m.next = "fault"
                with m.Elif(~model_valid):
                    m.d.sync += fault.eq(Fault.NO_MODEL)
                    m.next = "fault"
                with m.Else():
                    m.d.sync += lane.eq(0)
                    m.next = "atoms words"
            with m.State("atoms words"):
                gather("atoms beat")
            with m.State("atoms beat"):
                m.d.comb += [self.nbr_valid.eq(1),
                             self.beat_last.eq(beat[LANE_BITS * (LANES - 1) + LAST_BIT])]
                with m.If(self.nbr_ready):
                    m.d.sync += [lane.eq(0), cursor.eq(cursor + 1)]
                    with m.If(cursor == app.words):
                        m.next = "atoms wait"
                    with m.Else():
                        m.next = "atoms words"
                with m.Elif(quiet[-1]):
                    m.d.sync += fault.eq(Fault.STUCK)
                    m.next = "fault reset"
            with m.State("atoms wait"):
                with m.If((energies == atoms) & (derivs == neighbors)):
                    m.next = "atoms verdict"
                with m.Elif(quiet[-1] | sticky):
                    m.d.sync += fault.eq(Fault.STUCK)
                    with m.If(sticky):
                        m.d.sync += fault.eq(Fault.STATUS)
                    m.next = "fault reset"
            with m.State("atoms verdict"):
                # so long that a word too many would be seen
                m.d.sync += wait.eq(wait + 1)
                with m.If(self.energy_valid | self.deriv_valid):
                    m.d.sync += fault.eq(Fault.STUCK)
                    m.next = "fault reset"
                with m.Elif(sticky):
                    m.d.sync += fault.eq(Fault.STATUS)
                    m.next = "fault reset"
                with m.Elif(wait == 64):
                    m.d.sync += write(0, self.status)
                with m.Elif(wait == 65):
                    m.d.sync += write(1, elapsed)
                with m.Elif(wait == 66):
                    m.d.sync += finish(Kind.ATOMS, ATOMS_HEAD + atoms + (neighbors << 2))
                    m.next = "idle"

            with m.State("fault reset"):
                m.d.sync += wait.eq(wait + 1)
                with m.If(wait == 0):
                    # before the reset clears it
                    m.d.sync += write(1, self.status)
                with m.Else():
                    m.d.comb += self.reset.eq(1)
                    m.d.sync += verify.eq(0)
                with m.If(wait == 15):
                    m.next = "fault end"
            with m.State("fault"):
                m.d.sync += write(1, self.status)
                m.next = "fault end"
            with m.State("fault end"):
                m.d.sync += write(0, fault)
                m.next = "fault send"
            with m.State("fault send"):
                m.d.sync += finish(Kind.ERROR, 2)
                m.next = "idle"

        running = (fsm.ongoing("atoms words") | fsm.ongoing("atoms beat")
                   | fsm.ongoing("atoms wait"))
        with m.If(running):
            # results: one word a cycle, energies before derivatives that are not begun
            m.d.sync += quiet.eq(quiet + 1)
            with m.If(self.energy_valid & (part == 0)):
                m.d.comb += self.energy_ready.eq(1)
                m.d.sync += [*write(ATOMS_HEAD + energies, self.energy),
                             energies.eq(energies + 1), quiet.eq(0)]
            with m.Elif(self.deriv_valid):
                m.d.comb += self.deriv_ready.eq(part == LANES - 1)
                m.d.sync += [
                    *write(ATOMS_HEAD + atoms + (derivs << 2) + part,
                           self.deriv.word_select(part, LANE_BITS)),
                    part.eq(part + 1), quiet.eq(0),
                ]
                with m.If(part == LANES - 1):
                    m.d.sync += derivs.eq(derivs + 1)
        return m
