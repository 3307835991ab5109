"""How callers evaluate: one frame, element names, stress, given pairs, evaluators of their own."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from support.golden_checks import assert_same_bits
from support.md_models import fixture_frame, fixture_potential, small_frame, small_potential

import nvnmd
from nvnmd.errors import InputError, NeighborOverflowError
from nvnmd.evaluation.stepper import Stepper
from nvnmd.neighbors.cells import wrap
from nvnmd.neighbors.slots import candidates

NAMES = ("energy", "atom_energy", "force", "virial", "atom_virial")


@pytest.fixture(scope="module")
def potential() -> nvnmd.Potential:
    return fixture_potential()


@pytest.fixture(scope="module")
def frame():
    return fixture_frame()


@pytest.fixture(scope="module")
def expected(potential, frame):
    coord, box, types = frame
    return potential.evaluate(coord[None], box[None], types)


def test_one_frame_has_no_leading_axis(potential, frame, expected):
    coord, box, types = frame
    symbols = [potential.type_map[t] for t in types]
    for kinds in (types, symbols):
        found = potential.evaluate(coord, box, kinds)
        for name in NAMES:
            assert getattr(found, name).shape == getattr(expected, name).shape[1:]
            assert_same_bits(getattr(found, name), getattr(expected, name)[0], name)
        assert found.stress.shape == (6,) and found.atom_stress.shape == (len(types), 6)
    opened = potential.evaluate(coord, None, types)
    assert opened.force.shape == (len(types), 3)
    with pytest.raises(InputError, match="open boundaries"):
        _ = opened.stress


def test_an_element_that_the_model_does_not_know(potential):
    with pytest.raises(InputError, match=r"^types: atom 1 is Xx, expected one of the model's "):
        potential.evaluate(np.zeros((2, 3)), None, [potential.type_map[0], "Xx"])


def test_stress_is_the_derivative_by_strain():
    """eV/Å³, ASE's sign and order; steps of 1e-2, as the energy of `fixed` is a staircase."""
    potential, (coord, box, types) = small_potential(), small_frame()
    stress = potential.evaluate(coord, box, types).stress
    volume = abs(np.linalg.det(box))
    for number, (a, b) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
        energies = []
        for step in (1e-2, -1e-2):
            strain = np.eye(3)
            strain[a, b] += step / 2
            strain[b, a] += step / 2
            energies.append(potential.evaluate(coord @ strain, box @ strain, types).energy)
        slope = (energies[0] - energies[1]) / 2e-2 / volume
        assert abs(slope - stress[number]) < 2e-3 * np.abs(stress).max()


def test_left_handed_cells_are_turned(potential, frame, expected):
    coord, box, types = frame
    turned = potential.evaluate(coord, box[[1, 0, 2]], types)
    assert_same_bits(turned.force, expected.force[0], "forces")
    mirrored = potential.evaluate(coord, box[[2, 1, 0]], types)
    np.testing.assert_allclose(mirrored.force, expected.force[0], rtol=0, atol=1e-5)
    np.testing.assert_allclose(mirrored.energy, expected.energy[0], rtol=1e-6)


def test_what_a_potential_says_of_itself(potential):
    assert potential.version == 0 and len(potential.sel) == len(potential.type_map)
    text = repr(potential)
    assert "version 0" in text and "rcut" in text and potential.type_map[0] in text


def test_copies_evaluate(potential, frame, expected):
    coord, box, types = frame
    for other in (copy.deepcopy(potential), pickle.loads(pickle.dumps(potential))):
        assert_same_bits(other.evaluate(coord, box, types).force, expected.force[0], "forces")


@pytest.mark.parametrize("form", ["coord", "vectors"])
def test_given_pairs_with_owners_have_the_bits_of_evaluate(potential, frame, expected, form):
    """Pairs of a list that is too long, in any order, images owned by their atoms."""
    coord, box, types = frame
    n = len(types)
    inside = wrap(coord, box)
    first, second, shift = candidates(inside, box, potential.rcut + 0.5)
    mixed = np.random.default_rng(1).permutation(len(first))
    first, second, shift = first[mixed], second[mixed], shift[mixed]
    far = shift[:, 0:1] * box[0] + shift[:, 1:2] * box[1] + shift[:, 2:3] * box[2]
    volume = abs(np.linalg.det(box))
    if form == "vectors":
        found = potential.evaluate_pairs(
            types, (first, second), vectors=inside[second] + far - inside[first], volume=volume)
    else:
        keys, ghost = np.unique(np.column_stack([second, shift]), axis=0, return_inverse=True)
        real = (keys[:, 1:] == 0).all(axis=1)
        number = np.where(real, keys[:, 0], n + np.cumsum(~real) - 1)
        images = keys[~real]
        offset = images[:, 1:2] * box[0] + images[:, 2:3] * box[1] + images[:, 3:4] * box[2]
        everyone = np.concatenate([inside, inside[images[:, 0]] + offset])
        owner = np.concatenate([np.arange(n), images[:, 0]])
        found = potential.evaluate_pairs(
            types[owner], (first, number[ghost.ravel()]), centers=n, coord=everyone, owner=owner,
            volume=volume)
        assert not found.force[n:].any()
        # positions as they were, outside of the cell: shifts say where the images are
        cells = np.zeros((len(owner), 3), int)
        cells[n:] = images[:, 1:]
        wrapped_by = np.rint((coord - inside) @ np.linalg.inv(box)).astype(int)
        again = potential.evaluate_pairs(
            types[owner], (first, number[ghost.ravel()]), centers=n, owner=owner,
            coord=coord[owner], box=box, shift=cells - wrapped_by[owner])
        assert_same_bits(again.atom_energy, expected.atom_energy[0], "atomic energies")
        assert_same_bits(again.force[:n], expected.force[0], "forces")
        loose = potential.evaluate_pairs(
            types[owner], (first, number[ghost.ravel()]), centers=n, coord=everyone)
        summed = np.zeros((n, 3))
        np.add.at(summed, owner, loose.force)
        np.testing.assert_allclose(summed, expected.force[0], rtol=0, atol=1e-12)
        assert np.abs(loose.force[n:]).max() > 0.01
    assert_same_bits(found.atom_energy, expected.atom_energy[0], "atomic energies")
    if form == "coord":
        assert_same_bits(found.force[:n], expected.force[0], "forces")
        assert_same_bits(found.virial, expected.virial[0], "virial")
    # vectors are ordered by their own length in binary32: sums may round otherwise
    np.testing.assert_allclose(found.force[:n], expected.force[0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.stress, expected.stress[0], rtol=1e-13)


def test_no_centres(potential):
    for backend in ("fixed",):
        found = potential.evaluate_pairs([0, 1], ([], []), centers=0, coord=np.zeros((2, 3)),
                                         backend=backend)
        assert found.energy == 0 and found.force.shape == (2, 3) and not found.force.any()


def test_mistakes_in_pairs(potential):
    x = np.zeros((2, 3))
    for settings, match in (
        ({"coord": x, "vectors": x}, "expected one of them"),
        ({"coord": x[:1]}, r"coord: got \(1, 3\) numbers, expected \(2, 3\)"),
        ({"vectors": x}, r"vectors: got \(2, 3\) numbers, expected \(1, 3\)"),
        ({"coord": x * np.nan}, "coord: row 0 has a value that is not finite"),
        ({"coord": x, "centers": 3}, "centers: got 3, expected 0 to 2"),
        ({"coord": x, "owner": [0, 0]}, "owner: atom 1 has 0, expected an atom of its type"),
        ({"coord": x, "box": np.eye(3)}, "box, shift: expected both"),
        ({"coord": x, "box": np.eye(3), "shift": x}, "shift: got float64"),
        ({"coord": x, "box": x, "shift": x.astype(int)}, "box: expected 3 x 3 numbers"),
        ({"coord": x}, "atoms 0 and 1 are at one place"),
    ):
        with pytest.raises(InputError, match=match):
            potential.evaluate_pairs([0, 1], ([0], [1]), **settings)


def test_too_many_neighbours_in_given_pairs(potential):
    many = potential.sel[0] + 1
    rng = np.random.default_rng(2)
    x = np.concatenate([np.zeros((1, 3)), rng.normal(size=(many, 3))])
    pairs = np.zeros(many, int), np.arange(1, many + 1)
    with pytest.raises(NeighborOverflowError, match=r"^atom 0 has"):
        potential.evaluate_pairs(np.zeros(many + 1, int), pairs, centers=1, coord=x)


def test_any_object_may_be_the_backend(potential, frame, expected):
    coord, box, types = frame

    class Board:
        frames = 0

        def __call__(self, near):
            self.frames += 1
            return potential.evaluator("fixed")(near)

    board = Board()
    found = potential.evaluate(coord, box, types, board)
    assert_same_bits(found.force, expected.force[0], "forces")
    Stepper(potential, types, board).evaluate(coord, box)
    assert board.frames == 2


def test_steps_have_the_bits_of_evaluate(potential, frame):
    coord, box, types = frame
    stepper = Stepper(potential, types)
    rng = np.random.default_rng(4)
    for _ in range(4):
        found, plain = stepper.evaluate(coord, box), potential.evaluate(coord, box, types)
        for name in NAMES:
            assert_same_bits(getattr(found, name), getattr(plain, name), name)
        assert_same_bits(found.stress, plain.stress, "stress")
        coord = coord + rng.normal(scale=0.05, size=coord.shape)
    assert stepper.list.searches < 4
