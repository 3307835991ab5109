"""The request for a digest: what the board makes of what its accelerator reads back."""

from __future__ import annotations

import pytest
from amaranth.sim import Simulator

from nvnmd.boards.application import AcceleratorApp
from nvnmd.boards.client import Board, Digest
from nvnmd.boards.link.frames import Fault, Kind
from nvnmd.boards.link.session import BoardFaultError
from nvnmd.hdl.core import STATUS_BITS
from nvnmd.hdl.params import AcceleratorConfig

CFG = AcceleratorConfig(ntypes=1, m1=8, m2=2, width=16, fold=8, fit_cols=4)
VALID = 1 << STATUS_BITS.index("model_valid")


@pytest.mark.parametrize(("digest", "copies", "late"), [
    (0, 0, 3), (0, 0, 200), (1, 0, 3), (0, 1 << 31, 3),
])
def test_a_digest_is_of_the_image_or_a_fault(digest, copies, late):
    """Either digest that is not the loaded image's is a fault that resets the accelerator."""
    app = AcceleratorApp(CFG, 16, 16)
    replies: list[tuple[int, int, list[int]]] = []
    seen = {"reset": 0, "asked": 0}

    async def core(ctx):
        while True:
            await ctx.tick()
            if ctx.get(app.verify):
                seen["asked"] += 1
            ctx.set(app.verified, ctx.get(app.verify) and seen["asked"] > late)
            seen["reset"] += ctx.get(app.reset)

    async def bench(ctx):
        ctx.set(app.status, VALID)
        ctx.set(app.digest, digest)
        ctx.set(app.digest_copies, copies)
        while not replies or len(replies[-1][2]) == 1:
            ctx.set(app.app.kind, Kind.DIGEST)
            ctx.set(app.app.start, 1)
            await ctx.tick()
            ctx.set(app.app.start, 0)
            words: dict[int, int] = {}
            for _ in range(400):
                if ctx.get(app.app.write_en):
                    words[ctx.get(app.app.write_addr)] = ctx.get(app.app.write_data)
                if ctx.get(app.app.done):
                    break
                await ctx.tick()
            length = ctx.get(app.app.length)
            replies.append((ctx.get(app.app.reply), length, [words[k] for k in range(length)]))

    sim = Simulator(app)
    sim.add_clock(1e-6)
    sim.add_testbench(core, background=True)
    sim.add_testbench(bench)
    sim.run()
    *waiting, (kind, _, words) = replies
    assert all(reply[:2] == (Kind.DIGEST, 1) for reply in waiting)
    assert bool(waiting) == (late > 63)
    if digest or copies:
        assert kind == Kind.ERROR
        assert words == [Fault.MEMORY, VALID]
        assert seen["reset"] > 8
    else:
        assert kind == Kind.DIGEST
        assert words[:2] == [0, 0]
        assert late <= words[2] <= late + 8
        assert seen["reset"] == 0


class Answers:
    """A session that gives prepared replies, or raises them."""

    facts = (0,) * 8

    def __init__(self, *replies: object) -> None:
        self.replies = list(replies)

    def request(self, kind: Kind, payload: bytes = b"") -> bytes:
        """The next one."""
        assert kind == Kind.DIGEST
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return b"".join(word.to_bytes(4, "little") for word in reply)


def board_with(session: Answers) -> Board:
    """A board whose link is there already."""
    return Board(lambda cfg: session, lambda: None, lambda model: CFG, session=session)


def test_the_client_asks_until_the_digest_is_there():
    """A reply of one word says that it is at work."""
    with board_with(Answers([5], [900], [7, 8, 1234])) as board:
        assert board.digest() == Digest((7, 8), 1234)
        assert str(Digest((7, 8), 1234)) == "digest 00000007, copies 00000008 in 1234 cycles"


def test_memories_that_lost_a_word_are_loaded_again():
    """A fault of the memories means that the model is sent again; another one is told."""
    lost = BoardFaultError("its memories", Fault.MEMORY)
    with board_with(Answers(lost, [3, 3, 9], [3, 4, 9], BoardFaultError("stuck", Fault.STUCK))
                    ) as board:
        assert not board._still_there(3)
        assert board._still_there(3)
        assert not board._still_there(3)
        with pytest.raises(BoardFaultError, match="stuck"):
            board._still_there(3)
