"""The simulated board: the bits of `fixed`, over TCP and a terminal, and one client at a time."""

from __future__ import annotations

import time

import numpy as np
import pytest

pytest.importorskip("amaranth", reason="Amaranth is not installed")

from support.board_cases import (
    SMALL,
    BoardProcess,
    board_file,
    board_on,
    crystal,
    potential,
    small_config,
)
from support.golden_checks import assert_same_bits
from support.rtl_cases import small_model

import nvnmd
from nvnmd.boards.application import ATOMS_HEAD
from nvnmd.boards.link.frames import PROTOCOL, Fault, Kind
from nvnmd.boards.link.session import BoardFaultError, Session, words_of
from nvnmd.boards.link.transport import LinkError, SerialTransport
from nvnmd.errors import InputError, NvnmdError
from nvnmd.evaluation.potential import Potential
from nvnmd.hdl.host.image import build_image
from nvnmd.hdl.presets import preset


@pytest.fixture(scope="module")
def process():
    with BoardProcess(board_file()) as running:
        yield running


def same_bits(found, expected) -> None:
    for name in ("energy", "force", "virial", "atom_energy"):
        assert_same_bits(getattr(found, name), getattr(expected, name), name)


def words(*values: int) -> bytes:
    return np.array(values, dtype="<u4").tobytes()


def fault_of(session: Session, kind: int, payload: bytes) -> int:
    with pytest.raises(BoardFaultError) as caught:
        session.request(kind, payload)
    return caught.value.fault


def test_bits_of_fixed():
    """Two frames on a board of its own, loaded by hand and by `evaluate(backend=...)`."""
    frames = [crystal(3, seed) for seed in (1, 2)]
    coord, box = (np.concatenate([f[k] for f in frames]) for k in (0, 1))
    types = frames[0][2]
    expected = potential().evaluate(coord, box, types)
    with nvnmd.connect("sim", **SMALL) as board:
        with pytest.raises(InputError, match="board: no model is loaded"):
            board.evaluate(coord, box, types)
        told: list[tuple[int, int]] = []
        board.load(potential(), lambda *numbers: told.append(numbers))
        # every part of the image is told, to its end
        network = potential().network
        beats = len(build_image(network, preset("small").config(network, **SMALL)))
        assert told == sorted(set(told)) and len(told) > 5
        assert {whole for _, whole in told} == {beats} and told[-1][0] == beats
        same_bits(board.evaluate(coord, box, types), expected)
        same_bits(potential().evaluate(coord, box, types, backend=board), expected)
        # loaded once: nothing but atoms since then
        sent = board.session.counters.sent
        board.load(potential(), lambda *_: pytest.fail("nothing was to be sent"))
        # the memories were read back instead
        assert board.session.counters.sent < sent + 10_000
        assert board.digest().digests == (board.status().check,) * 2
        # another model of the same sizes needs no other board
        other = Potential(small_model(2, seed=8))
        same_bits(other.evaluate(coord, box, types, backend=board),
                  other.evaluate(coord, box, types))
        # and no frame is computed with a model that somebody else has loaded
        same_bits(potential().evaluate(coord, box, types, backend=board), expected)
        assert board.status().dropped == board.session.counters.repeated == 0


@pytest.mark.shared
def test_gete_frame(process, shared):
    """A frame of GeTe, its farthest neighbours left out so that it fits a small net."""
    with np.load(shared / "golden" / "v0_ni128_gete" / "expected.npz") as data:
        coord, box, types = data["coord"][:1], data["box"][:1].reshape(1, 3, 3), data["type"]
    expected = potential().evaluate(coord, box, types, overflow="truncate")
    with board_on(process.connect()) as board:
        found = potential().evaluate(coord, box, types, board, overflow="truncate")
    same_bits(found, expected)
    assert len(types) == 216


def test_over_a_terminal(process):
    """The same over a pseudo-terminal, closed and opened again; it and TCP exclude each other."""
    pytest.importorskip("serial", reason="pyserial is not installed")
    frame = crystal(2)
    for _ in range(2):
        with board_on(SerialTransport(process.terminal)) as board:
            same_bits(potential().evaluate(*frame, board), potential().evaluate(*frame))
            with pytest.raises(LinkError, match=f"held by the terminal {process.terminal}"):
                Session(process.connect())
            with pytest.raises(LinkError, match="cannot be opened"):
                SerialTransport(process.terminal)
        time.sleep(0.1)
    with board_on(process.connect()) as board:
        own = board.status
        with pytest.raises(LinkError, match=r"is held by 127\.0\.0\.1:\d+"):
            Session(SerialTransport(process.terminal))
        assert own().protocol == PROTOCOL


def test_a_second_client_is_refused_by_name(process):
    transport = process.connect()
    port = transport._socket.getsockname()[1]
    told = rf"is held by 127\.0\.0\.1:{port}, expected a board that is free"
    with board_on(transport):
        for _ in range(3):
            with pytest.raises(LinkError, match=told):
                Session(process.connect())


def test_requests_that_cannot_be_carried_out(process):
    """Every wrong length, unknown kinds, atoms before a model; then it works as ever."""
    session = Session(process.connect(), patience=10.0)
    image = build_image(potential().network, small_config(potential().network))
    beat = words(*image[0])
    # a header that is no header: refused as a load, and no model is there
    assert words_of(session.request(Kind.LOAD, words(0, 1, 2, 3, 4)))[0] == 1
    assert fault_of(session, Kind.ATOMS, words(1, 1, 0, 0, 0, 1 << 24)) == Fault.NO_MODEL
    assert fault_of(session, Kind.DIGEST, b"") == Fault.NO_MODEL
    for length in range(0, 12):
        if length < 5 or (length - 1) % 4:
            assert fault_of(session, Kind.LOAD, bytes(4 * length)) == Fault.LENGTH, length
        if length < 6 or (length - 2) % 4:
            assert fault_of(session, Kind.ATOMS, bytes(4 * length)) == Fault.LENGTH, length
    assert fault_of(session, Kind.LOAD, words(7) + beat) == Fault.ORDER
    for kind in (0, 9, 0x55, 0x7E, 0x7F):
        assert fault_of(session, kind, b"") == Fault.KIND
    session.close()
    frame = crystal(2)
    with board_on(process.connect()) as board:
        same_bits(potential().evaluate(*frame, board), potential().evaluate(*frame))
        for atoms, neighbors in ((0, 1), (8190, 1), (1, 4000), (0xFFFFFFFF, 0xFFFFFFFF)):
            payload = words(atoms, neighbors, 0, 0, 0, 1 << 24)
            assert fault_of(board.session, Kind.ATOMS, payload) == Fault.LENGTH


def test_atoms_that_are_not_what_they_say(process):
    """Counts that the beats do not have, a type that is not there, too many neighbours."""
    frame = crystal(2)
    last = 1 << 24
    none = 1 << 16
    with board_on(process.connect()) as board:
        board.load(potential())
        for payload, fault in (
            (words(2, 0, 0, 0, 0, last | none), Fault.STUCK),
            (words(1, 1, 0, 0, 0, last | none), Fault.STUCK),
            (words(1, 1, 0, 0, 0, last | 3), Fault.STATUS),
            (words(1, 200) + words(1, 1, 1, 0) * 199 + words(1, 1, 1, last), Fault.STATUS),
            # exponents beyond every table, as from a host with words that are no numbers
            (words(1, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FC00000, last), None),
        ):
            if fault is None:
                # far away in every direction: an answer, or a named fault
                try:
                    assert len(board.session.request(Kind.ATOMS, payload)) == 4 * (ATOMS_HEAD + 5)
                except BoardFaultError as error:
                    assert error.fault == Fault.STATUS
            else:
                assert fault_of(board.session, Kind.ATOMS, payload) == fault
            board._model = None
            same_bits(potential().evaluate(*frame, board), potential().evaluate(*frame))


def test_what_no_board_can_take(process):
    coord, box, types = crystal(2)
    with board_on(process.connect()) as board:
        with pytest.raises(NvnmdError, match=r"(?i)nan|finite|number"):
            potential().evaluate(np.where(coord == coord[0, 0, 0], np.nan, coord), box, types,
                                 board)
        with pytest.raises(LinkError, match="accelerator has other sizes"):
            board.load(small_model(3))
        with pytest.raises(InputError, match="got a continuous network"):
            board.load("model.nvnmd")


def test_a_damaged_model_is_not_used(process, monkeypatch):
    """An image whose check does not hold leaves a board without a model, and says so."""
    from nvnmd.boards import client

    def wrong(model, cfg):
        image = build_image(model, cfg).copy()
        image[40, 2] ^= 1
        return image

    with board_on(process.connect()) as board:
        board.load(small_model(2, seed=9))
        monkeypatch.setattr(client, "build_image", wrong)
        with pytest.raises(LinkError, match="holds an image with the check 00000000"):
            board.load(potential())
        assert board.status().check == 0
        with pytest.raises(InputError, match="no model is loaded"):
            board.evaluate(*crystal(2))


def test_a_board_that_dies_and_comes_again():
    """Killed with a request under way: a named error at once; a new one serves."""
    frame = crystal(2)
    process = BoardProcess(board_file())
    with board_on(process.connect()) as board:
        board.load(potential())
        process.kill()
        with pytest.raises(LinkError, match=r"the board has gone|the link broke"):
            potential().evaluate(*frame, board)
    process.stop()
    with BoardProcess(board_file(), port=process.port) as again:
        assert again.port == process.port
        with board_on(again.connect()) as board:
            same_bits(potential().evaluate(*frame, board), potential().evaluate(*frame))


def test_a_byte_takes_its_time():
    """With a baud, cycles of a request grow to those of its bytes: fifty each."""
    with BoardProcess(board_file(), baud=2e7, clock=1e8) as process:
        session = Session(process.connect(), patience=600.0)
        before = words_of(session.request(Kind.STATUS))[-1]
        sent, got = session.counters.sent, session.counters.received
        session.request(Kind.ECHO, b"abcd" * 100)
        after = words_of(session.request(Kind.STATUS))[-1]
        count = session.counters.sent - sent + session.counters.received - got
        session.close()
    assert 850 < count < 950 and session.counters.repeated == 0
    assert 0.9 * 50 * count < after - before < 1.1 * 50 * count


def test_targets_that_are_none():
    for target in ("", "sims", "localhost", ":1", "localhost:", "localhost:0", "a:99999", "a:b"):
        with pytest.raises(InputError, match="expected sim, HOST:PORT, or the path of a serial"):
            nvnmd.connect(target)
    with pytest.raises(LinkError, match="no board answers"):
        nvnmd.connect("127.0.0.1:1")
