"""A board that evaluates: models in, energies and forces out, the bits of the backend `fixed`."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nvnmd.boards.application import ATOMS_HEAD, FACTS, LAST_BIT
from nvnmd.boards.link.frames import Fault, Kind
from nvnmd.boards.link.session import BoardFaultError, Session, words_of
from nvnmd.boards.link.transport import LinkError
from nvnmd.errors import InputError, NvnmdError, RangeError
from nvnmd.evaluation.backends import Evaluator, FloatNetwork
from nvnmd.evaluation.potential import Potential, Prediction
from nvnmd.hdl.host.image import build_image, check_fits, fingerprint
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.verify.stimulus import Stimulus, build_stimulus
from nvnmd.neighbors.slots import Neighborhood
from nvnmd.quantize.forces import Forces, assemble_forces
from nvnmd.quantize.formats import decode_flt
from nvnmd.quantize.model import Model

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class BoardFacts:
    """What a board tells of itself.

    Attributes
    ----------
    protocol, fingerprint : int
        Version of the link, and the sizes of its accelerator as a number.
    request_words, reply_words : int
        Words of a request and of a reply that it holds.
    status : int
        The accelerator's status bits.
    check : int
        CRC-32 of the image it has loaded; 0 without a model.
    dropped, repeated : int
        Frames that did not arrive whole there, and replies it sent again.
    cycles : int
        Clock cycles since its start, modulo 2**32.
    """

    protocol: int
    fingerprint: int
    request_words: int
    reply_words: int
    status: int
    check: int
    dropped: int
    repeated: int
    cycles: int

    @classmethod
    def of(cls, words: tuple[int, ...], name: str) -> BoardFacts:
        """Take the words of a reply to HELLO or STATUS."""
        if len(words) != FACTS:
            raise LinkError(f"{name}: the board tells {len(words)} facts of itself, expected "
                            f"{FACTS}; it carries no accelerator of this program")
        protocol, finger, sizes, status, check, dropped, repeated, cycles = words
        return cls(protocol, finger, sizes & 0xFFFF, sizes >> 16, status, check, dropped, repeated,
                   cycles)


@dataclass(frozen=True)
class Digest:
    """What a board read back from its memories.

    Attributes
    ----------
    digests : (int, int)
        CRC-32 of the image as it stands there, of the first and of the second copies of what is
        held twice.
    cycles : int
        Clock cycles that it took.
    """

    digests: tuple[int, int]
    cycles: int

    def __str__(self) -> str:
        first, second = (f"{digest:08x}" for digest in self.digests)
        return (f"digest {first}" + (f", copies {second}" if second != first else "")
                + f" in {self.cycles} cycles")


@dataclass(frozen=True)
class Words:
    """What a board answered for `n` atoms.

    Attributes
    ----------
    energy : (n,) int64
        Energy words, with the model's fraction bits, without the atomic bias.
    deriv : (k, 4) uint32
        dE/d[u,x,y,z] as flt words, of each neighbour in order.
    cycles : int
        Clock cycles that the board was at work on them.
    """

    energy: NDArray[np.int64]
    deriv: NDArray[np.uint32]
    cycles: int


def _silent(done: int, whole: int) -> None:
    """Tell nobody."""


class Board:
    """A board on a link; a context that gives the link back.

    Parameters
    ----------
    open_link : callable
        Called with the accelerator's configuration that a model needs, with every model; returns a
        session with a board that carries one, the same as before if it serves.
    release : callable
        Called at the end: gives back whatever `open_link` took.
    configure : callable
        The accelerator that a model needs. Only its sizes count where a board is there already;
        folds are the board's own affair.
    session : Session, optional
        The link, where it is open already.
    frame_words : int
        Words of the longest request and reply, where the board's memories hold as many; short
        frames come through a bad link more often.

    Notes
    -----
    Not for several threads at once.
    """

    def __init__(self, open_link: Callable[[AcceleratorConfig], Session],
                 release: Callable[[], None],
                 configure: Callable[[Model], AcceleratorConfig],
                 session: Session | None = None, frame_words: int = 1 << 14) -> None:
        self._open_link, self._release, self._configure = open_link, release, configure
        self._session, self._frame_words = session, frame_words
        self._model: Model | None = None
        self._facts: BoardFacts | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give the link back."""
        self._session = self._model = self._facts = None
        self._release()

    @property
    def session(self) -> Session:
        """The link.

        Raises
        ------
        InputError
            There is none yet: no model was loaded.
        """
        if self._session is None:
            raise InputError("board: no model is loaded, expected board.load(model) first")
        return self._session

    def status(self) -> BoardFacts:
        """Ask the board how it is."""
        return BoardFacts.of(words_of(self.session.request(Kind.STATUS)),
                             self.session.transport.name)

    def load(self, model: Model | Potential, tell: Callable[[int, int], None] = _silent) -> Digest:
        """Load a model, unless the board has it already, and have its memories read back.

        Parameters
        ----------
        model : Model or Potential
            A frozen one.
        tell : callable
            Told after each part of the image how many beats the board has, and of how many.

        Returns
        -------
        Digest
            What was read back: the image's check, twice.

        Raises
        ------
        InputError
            The model does not fit the accelerator, or is a float network.
        LinkError
            The board carries another accelerator, refused the image, or does not answer.
        """
        network = model.network if isinstance(model, Potential) else model
        if not isinstance(network, Model):
            raise InputError("board: got a continuous network, expected a frozen model "
                             "(model.nvnmd)")
        cfg = self._configure(network)
        check_fits(network, cfg)
        self._model = None
        self._session = self._open_link(cfg)
        name = self._session.transport.name
        self._facts = BoardFacts.of(self._session.facts, name)
        image = build_image(network, self._as_built(cfg, name))
        check = zlib.crc32(image[1:].astype("<u4").tobytes())
        found = self._still_there(check) if self.status().check == check else None
        if found is None:
            self._send_image(image, tell)
            held = self.status().check
            if held != check:
                raise LinkError(f"{name}: the board holds an image with the check {held:08x}, "
                                f"expected {check:08x}")
            found = self.digest()
            if found.digests != (check, check):
                raise LinkError(f"{name}: the memories read back with the {found}, expected "
                                f"{check:08x}")
        self._model = network
        return found

    def digest(self) -> Digest:
        """Have the board read the memories of the model back, through the ports of evaluation.

        Raises
        ------
        LinkError
            There is no model, or the memories do not hold what was loaded: the board forgets it.
        """
        words, pause = words_of(self.session.request(Kind.DIGEST)), 5e-3
        # one word: not there yet; how long it may take is the board's affair, which gives up itself
        while len(words) == 1:
            time.sleep(pause)
            pause = min(2 * pause, 0.2)
            words = words_of(self.session.request(Kind.DIGEST))
        if len(words) != 3:
            raise LinkError(f"{self.session.transport.name}: a digest of {len(words)} words, "
                            "expected 3")
        return Digest((words[0], words[1]), words[2])

    def _still_there(self, check: int) -> Digest | None:
        """The digest, if an image that was loaded earlier stands in the memories, word by word."""
        try:
            found = self.digest()
        except BoardFaultError as error:
            if error.fault != Fault.MEMORY:
                raise
            return None
        return found if found.digests == (check, check) else None

    def _as_built(self, cfg: AcceleratorConfig, name: str) -> AcceleratorConfig:
        """The configuration with weights kept once or twice, as the board's accelerator has them.

        Both take the same models, from different images.
        """
        assert self._facts is not None
        found = self._facts.fingerprint
        other = replace(cfg, weights_once=not cfg.weights_once, fit_rows=1)
        for kind in (cfg, other):
            if found == fingerprint(kind):
                return kind
        raise LinkError(
            f"{name}: the board's accelerator has other sizes (fingerprint {found:08x}), expected "
            f"{fingerprint(cfg):08x} or {fingerprint(other):08x} for this model")

    def _send_image(self, image: NDArray[np.uint32], tell: Callable[[int, int], None]) -> None:
        assert self._facts is not None
        per = (min(self._facts.request_words, self._frame_words) - 1) // 4
        parts = (
            (Kind.LOAD, np.concatenate([[begin], image[begin : begin + per].ravel()])
             .astype("<u4").tobytes())
            for begin in range(0, len(image), per)
        )
        # one at a time: the board takes the parts of an image in their order only
        for part, _ in enumerate(self.session.requests(parts, under_way=1), 1):
            tell(min(part * per, len(image)), len(image))

    def words(self, stimulus: Stimulus) -> Words:
        """Send atoms and return the words that the accelerator made of them.

        Raises
        ------
        RangeError
            A value left its format on the board.
        LinkError
            The link or the accelerator failed, or an atom does not fit the board's memories.
        """
        energies, derivs, cycles = [], [], 0
        name = self.session.transport.name
        batches = list(self._batches(stimulus))
        try:
            replies = self.session.requests((Kind.ATOMS, data) for _, _, data in batches)
            for (atoms, neighbors, _), reply in zip(batches, replies, strict=True):
                row = np.frombuffer(reply, dtype="<u4")
                if len(row) != ATOMS_HEAD + atoms + 4 * neighbors:
                    raise LinkError(f"{name}: a reply of {len(row)} words, "
                                    f"expected {ATOMS_HEAD + atoms + 4 * neighbors}")
                cycles += int(row[1])
                energies.append(row[ATOMS_HEAD : ATOMS_HEAD + atoms].astype(np.int32))
                derivs.append(row[ATOMS_HEAD + atoms :].reshape(-1, 4))
        except BoardFaultError as error:
            # the accelerator was reset, so that nothing of this stays behind
            self._model = None
            if error.fault == Fault.STATUS:
                raise RangeError(str(error)) from None
            raise
        return Words(np.concatenate(energies or [np.zeros(0, np.int32)]).astype(np.int64),
                     np.concatenate(derivs or [np.zeros((0, 4), np.uint32)]), cycles)

    def _batches(self, stimulus: Stimulus) -> Iterator[tuple[int, int, bytes]]:
        """Atoms, neighbours and payload of each request."""
        assert self._facts is not None
        request_words = min(self._facts.request_words, self._frame_words)
        reply_words = min(self._facts.reply_words, self._frame_words)
        beats = stimulus.beats.copy()
        beats[:, 3] |= stimulus.last.astype(np.uint32) << LAST_BIT
        ends = np.flatnonzero(stimulus.last) + 1
        begin = first = 0
        total = len(stimulus.counts)
        while first < total:
            last = first
            while last < total:
                count = int(ends[last]) - begin
                real = int(stimulus.counts[first : last + 1].sum())
                if (ATOMS_HEAD + 4 * count > request_words
                        or ATOMS_HEAD + (last + 1 - first) + 4 * real > reply_words):
                    break
                last += 1
            if last == first:
                raise LinkError(f"{self.session.transport.name}: an atom with "
                                f"{int(stimulus.counts[first])} neighbours does not fit the board's"
                                f" memories of {request_words} and {reply_words} words")
            end, real = int(ends[last - 1]), int(stimulus.counts[first:last].sum())
            head = np.array([last - first, real], dtype="<u4")
            yield (last - first, real,
                   head.tobytes() + beats[begin:end].astype("<u4").tobytes())
            begin, first = end, last

    def for_model(self, model: Model | FloatNetwork) -> Evaluator:
        """Return what evaluates neighbourhoods with a model, which is loaded when it is needed."""
        if not isinstance(model, Model):
            raise InputError("board: got a continuous network, expected a frozen model "
                             "(model.nvnmd)")

        def evaluate(near: Neighborhood) -> tuple[Floats, Forces]:
            if self._model is not model:
                self.load(model)
            return self._evaluate(model, near)

        return evaluate

    def evaluate(self, coord: ArrayLike, box: ArrayLike | None, types: Sequence[str] | ArrayLike
                 ) -> Prediction:
        """Evaluate frames with the model that was loaded; see `nvnmd.Potential.evaluate`."""
        if self._model is None:
            raise InputError("board: no model is loaded, expected board.load(model) first")
        return Potential(self._model).evaluate(coord, box, types, self.for_model(self._model))

    def _evaluate(self, model: Model, near: Neighborhood) -> tuple[Floats, Forces]:
        found = self.words(build_stimulus(near.center_types, near.rij, near.mask,
                                          near.neighbor_types, model.widths))
        deriv = np.zeros((*near.mask.shape, 4))
        deriv[near.mask] = decode_flt(found.deriv, model.widths.flt)
        if not np.isfinite(deriv).all():
            raise NvnmdError("the board answered with a word that is no number")
        energy = found.energy * 2.0**-model.widths.fix_frac + model.t_bias_atom_e[near.center_types]
        return energy, assemble_forces(deriv, near.rij, near.index, near.ghosts,
                                       model.widths.flt_frac)
