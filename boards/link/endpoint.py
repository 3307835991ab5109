"""Gateware: the board's end of the link, sessions and slots around an application.

A request is carried out once however often it arrives: its reply stays in the slot until a request
with another number takes the slot, and is sent again when the same request comes again. So the host
repeats what was not answered, and nothing is computed or loaded twice.
"""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from nvnmd.boards.link.frames import REPLY, SLOTS, Kind
from nvnmd.boards.link.receiver import Receiver
from nvnmd.boards.link.sender import Sender


class Mailbox(wiring.Signature):
    """What an application sees of the link; directions as the application has them.

    * `start`: a pulse, a request of `kind` with `words` words is in the request memory.
    * `read_addr`, `read_data`: the request's words, one cycle later.
    * `write_en`, `write_addr`, `write_data`: the reply's words.
    * `done`: a pulse, the reply is complete: its `reply` (a kind without bit 7) and `length`.
    """

    def __init__(self, request_words: int, reply_words: int) -> None:
        super().__init__({
            "start": In(1), "kind": In(8), "words": In(14),
            "read_addr": Out(range(request_words)), "read_data": In(32),
            "write_en": Out(1), "write_addr": Out(range(reply_words)), "write_data": Out(32),
            "done": Out(1), "reply": Out(8), "length": Out(14),
        })


class Endpoint(wiring.Component):
    """Sessions, slots and memories between the byte streams and an application.

    Parameters
    ----------
    request_words, reply_words : int
        Words of a slot's memories, powers of two up to 8192.

    Attributes
    ----------
    rx : In, tx : Out
        Streams of bytes.
    app : Mailbox, seen from this side
    dropped, repeated : Out
        Frames that were not whole, and replies that were sent again, since the start.
    busy : Out
        A request is at work or a reply under way.
    """

    def __init__(self, request_words: int, reply_words: int) -> None:
        for words in (request_words, reply_words):
            if words & (words - 1) or not 4 <= words <= 8192:
                raise ValueError(f"{words} words, expected a power of two from 4 to 8192")
        self.request_words, self.reply_words = request_words, reply_words
        super().__init__({
            "rx": In(stream.Signature(8)),
            "tx": Out(stream.Signature(8)),
            "app": Out(Mailbox(request_words, reply_words).flip()),
            "dropped": Out(32), "repeated": Out(32), "busy": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.receiver = receiver = Receiver(self.request_words)
        m.submodules.sender = sender = Sender(self.reply_words)
        m.submodules.requests = requests = memory.Memory(
            shape=32, depth=SLOTS * self.request_words, init=[])
        m.submodules.replies = replies = memory.Memory(
            shape=32, depth=SLOTS * self.reply_words, init=[])
        wiring.connect(m, wiring.flipped(self.rx), receiver.bytes)
        wiring.connect(m, sender.bytes, wiring.flipped(self.tx))

        # a slot: empty; waiting for the application; at work; answered
        empty, waiting, working, answered = range(4)
        state = Array(Signal(2, name=f"state{k}") for k in range(SLOTS))
        sequence = Array(Signal(8, name=f"sequence{k}") for k in range(SLOTS))
        kind = Array(Signal(8, name=f"kind{k}") for k in range(SLOTS))
        words = Array(Signal(14, name=f"words{k}") for k in range(SLOTS))
        reply = Array(Signal(8, name=f"reply{k}") for k in range(SLOTS))
        length = Array(Signal(14, name=f"length{k}") for k in range(SLOTS))
        send = Array(Signal(name=f"send{k}") for k in range(SLOTS))
        stale = Array(Signal(name=f"stale{k}") for k in range(SLOTS))
        session, known = Signal(16), Signal()
        m.d.comb += receiver.open.eq(Cat(
            (state[k] == empty) | (state[k] == answered) for k in range(SLOTS)))
        with m.If(receiver.dropped):
            m.d.sync += self.dropped.eq(self.dropped + 1)

        slot = receiver.sequence[: (SLOTS - 1).bit_length()]
        hello = receiver.kind == Kind.HELLO
        ours = known & (receiver.session == session)
        with m.If(receiver.valid & ~receiver.kind[7]):
            with m.If(hello):
                # a new session, even under the old one's number, which was drawn twice: what the
                # old one left is forgotten, at once or when it is finished. A host that repeats its
                # HELLO has asked nothing else yet.
                m.d.sync += [session.eq(receiver.session), known.eq(1)]
                for k in range(SLOTS):
                    with m.If((state[k] == working) | (state[k] == waiting)):
                        m.d.sync += stale[k].eq(1)
                    with m.Else():
                        m.d.sync += state[k].eq(empty)
                    m.d.sync += send[k].eq(0)
            with m.If(hello | ours):
                same = (sequence[slot] == receiver.sequence) & ~hello
                with m.If((state[slot] == answered) & same):
                    m.d.sync += [send[slot].eq(1), self.repeated.eq(self.repeated + 1)]
                with m.Elif(receiver.landed):
                    m.d.sync += [
                        state[slot].eq(waiting), sequence[slot].eq(receiver.sequence),
                        kind[slot].eq(receiver.kind), words[slot].eq(receiver.length),
                        send[slot].eq(0),
                    ]

        # the application takes slots in the order of their numbers
        active = Signal(range(SLOTS))
        turn = Signal(range(SLOTS))
        running = Signal()
        m.d.sync += self.app.start.eq(0)
        with m.If(~running):
            for k in range(SLOTS):
                # with one slot waiting it is taken; with both, the one whose turn it is
                alone = Cat(state[j] == waiting for j in range(SLOTS) if j != k) == 0
                with m.If((state[k] == waiting) & (alone | (turn == k))):
                    m.d.sync += [
                        state[k].eq(working), active.eq(k), turn.eq(k + 1), running.eq(1),
                        self.app.start.eq(1), self.app.kind.eq(kind[k]),
                        self.app.words.eq(words[k]),
                    ]
        with m.If(self.app.done):
            m.d.sync += [
                running.eq(0), stale[active].eq(0),
                reply[active].eq(self.app.reply), length[active].eq(self.app.length),
            ]
            with m.If(stale[active]):
                m.d.sync += state[active].eq(empty)
            with m.Else():
                m.d.sync += [state[active].eq(answered), send[active].eq(1)]

        write, read = requests.write_port(), requests.read_port()
        m.d.comb += [
            write.en.eq(receiver.write_en), write.addr.eq(receiver.write_addr),
            write.data.eq(receiver.write_data),
            read.en.eq(1), read.addr.eq(active * self.request_words + self.app.read_addr),
            self.app.read_data.eq(read.data),
        ]
        write, read = replies.write_port(), replies.read_port()
        m.d.comb += [
            write.en.eq(self.app.write_en), write.data.eq(self.app.write_data),
            write.addr.eq(active * self.reply_words + self.app.write_addr),
            read.en.eq(1), read.addr.eq(sender.read_addr), sender.read_data.eq(read.data),
        ]

        with m.If(sender.ready):
            for k in range(SLOTS):
                with m.If(send[k] & (Cat(send[j] for j in range(k)) == 0)):
                    m.d.comb += [
                        sender.start.eq(1), sender.slot.eq(k), sender.kind.eq(reply[k] | REPLY),
                        sender.sequence.eq(sequence[k]), sender.session.eq(session),
                        sender.length.eq(length[k]),
                    ]
                    m.d.sync += send[k].eq(0)
        m.d.comb += self.busy.eq(
            running | ~sender.ready | Cat(send).any()
            | Cat(state[k] == waiting for k in range(SLOTS)).any())
        return m


class Echo(wiring.Component):
    """An application that sends every payload back; the link alone, for tests and for timing.

    Throughput one word a cycle.
    """

    def __init__(self, words: int) -> None:
        super().__init__({"app": Out(Mailbox(words, words))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        app = self.app
        asked, count = Signal(14), Signal(14)
        running, fresh = Signal(), Signal()
        m.d.comb += [
            app.read_addr.eq(count), app.write_addr.eq(asked), app.write_data.eq(app.read_data),
            app.write_en.eq(fresh), app.reply.eq(app.kind), app.length.eq(app.words),
        ]
        m.d.sync += [app.done.eq(0), fresh.eq(0)]
        with m.If(app.start):
            m.d.sync += [count.eq(0), running.eq(1)]
        with m.Elif(running):
            with m.If(count == app.words):
                with m.If(~fresh):
                    m.d.sync += [running.eq(0), app.done.eq(1)]
            with m.Else():
                m.d.sync += [count.eq(count + 1), asked.eq(count), fresh.eq(1)]
        return m


class EchoBoard(wiring.Component):
    """The link with `Echo` behind it."""

    def __init__(self, words: int) -> None:
        self.words = words
        super().__init__({
            "rx": In(stream.Signature(8)), "tx": Out(stream.Signature(8)), "busy": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.endpoint = endpoint = Endpoint(self.words, self.words)
        m.submodules.echo = echo = Echo(self.words)
        wiring.connect(m, wiring.flipped(self.rx), endpoint.rx)
        wiring.connect(m, endpoint.tx, wiring.flipped(self.tx))
        wiring.connect(m, endpoint.app, echo.app)
        m.d.comb += self.busy.eq(endpoint.busy)
        return m
