"""Several workers: TF_CONFIG, shares of a batch, and two real workers beside one."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.cnn_runs import data  # noqa: F401
from support.qnn_stage import stage  # noqa: F401
from support.worker_run import Recorder, cnn_config, qnn_config

from nvnmd.data.sampler import BatchSampler
from nvnmd.errors import InputError
from nvnmd.training.loop import TrainingLoop
from nvnmd.training.setup import loop_setup
from nvnmd.training.workers import OneWorker, Place, ShareSampler, guarded, place_of, rate_factor

HERE = Path(__file__).resolve().parents[1]
TWO = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}


def environment(**changes):
    return {"TF_CONFIG": json.dumps(TWO | changes)}


def test_place_of_a_worker():
    assert place_of({}) == place_of({"TF_CONFIG": " "}) == Place(0, 1)
    assert place_of(environment()) == Place(1, 2) and not place_of(environment()).chief
    jobs = {"chief": ["c:1"], "worker": ["a:1", "b:1"]}
    assert place_of(environment(cluster=jobs)) == Place(2, 3)
    first = place_of(environment(cluster=jobs, task={"type": "chief", "index": 0}))
    assert first == Place(0, 3) and first.chief


@pytest.mark.parametrize(("text", "words"), [
    ("{", "TF_CONFIG: got '{', expected {\"cluster\""),
    ("[]", "TF_CONFIG: got '\\[\\]', expected"),
    (json.dumps(TWO | {"task": {"type": "worker", "index": 2}}), "task/index: got 2, expected an "),
    (json.dumps(TWO | {"task": {"type": "ps", "index": 0}}), "task/type: got 'ps'"),
    (json.dumps(TWO | {"cluster": {"worker": ["a"]}}), "cluster/worker: got 'a', expected HOST"),
    (json.dumps(TWO | {"cluster": {"worker": ["a:1"], "ps": ["b:1"]}}), "got the job 'ps'"),
])
def test_a_wrong_tf_config_is_one_line(text, words):
    with pytest.raises(InputError, match=words) as caught:
        place_of({"TF_CONFIG": text})
    assert len(str(caught.value).splitlines()) == 1


def test_the_slurm_script_of_the_documentation(tmp_path):
    text = (HERE.parent / "docs" / "distributed.md").read_text(encoding="utf-8")
    (script,) = (part for part in re.findall(r"```sh\n(.*?)```", text, re.S) if "#SBATCH" in part)
    programs = {
        "scontrol": 'test "$*" = "show hostnames n[1-3]" && printf "n1\\nn2\\nn3\\n"',
        "srun": 'while [[ $1 == --* ]]; do shift; done\n'
                'for i in 0 1 2; do SLURM_PROCID=$i "$@"; done',
        "nvnmd": 'test "$*" = "train-cnn input.json" && echo "$TF_CONFIG"',
    }
    for name, body in programs.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    settings = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_NODELIST": "n[1-3]",
                "SLURM_CPUS_PER_TASK": "16"}
    done = subprocess.run(["bash", "-c", script], env=settings, capture_output=True, text=True,
                          check=True)
    found = [place_of({"TF_CONFIG": line}) for line in done.stdout.splitlines()]
    assert found == [Place(0, 3), Place(1, 3), Place(2, 3)]
    cluster = json.loads(done.stdout.splitlines()[0])["cluster"]
    assert cluster == {"worker": ["n1:29500", "n2:29500", "n3:29500"]}


def test_rate_factors():
    assert [rate_factor(how, 4) for how in ("linear", "sqrt", "none")] == [4.0, 2.0, 1.0]


def test_the_shares_make_the_batch_that_one_worker_draws():
    nframes, sizes = [7, 12], [1, 2]
    one = BatchSampler(nframes, [3, 6], 5)
    shares = [ShareSampler(nframes, sizes, 5, Place(k, 3)) for k in range(3)]
    for _ in range(20):
        system, frames = one.draw()
        drawn = [sampler.draw() for sampler in shares]
        assert {found for found, _ in drawn} == {system}
        np.testing.assert_array_equal(np.concatenate([part for _, part in drawn]), frames)
        assert [sampler.weight for sampler in shares] == [1 / 3] * 3
    # the state of any of them is that of all, and of one worker
    assert shares[0].state() == shares[2].state() == one.state()


def test_a_system_too_small_for_all_workers():
    shares = [ShareSampler([2], [4], 5, Place(k, 3)) for k in range(3)]
    drawn = [sampler.draw()[1] for sampler in shares]
    assert [sampler.weight for sampler in shares] == [0.5, 0.5, 0.0]
    assert sorted(np.concatenate(drawn[:2])) == [0, 1] and len(drawn[2]) == 1
    # five frames for three workers: one each, as that is what all can have
    shares = [ShareSampler([5], [4], 5, Place(k, 3)) for k in range(3)]
    assert [len(sampler.draw()[1]) for sampler in shares] == [1, 1, 1]


def test_an_error_is_told_to_the_others():
    class Listening(OneWorker):
        told = 0

        def tell_failure(self):
            self.told += 1

    workers = Listening()
    with pytest.raises(InputError), guarded(workers):
        raise InputError("no")
    assert workers.told == 1
    with guarded(workers):
        pass
    assert workers.told == 1


def two_workers(kind, systems, folder, mode="train"):
    """Run both workers; return what they print."""
    with socket.socket() as one, socket.socket() as two:
        for found in (one, two):
            found.bind(("localhost", 0))
        ports = f"{one.getsockname()[1]},{two.getsockname()[1]}"
    settings = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1",
                "OMP_NUM_THREADS": "1"}
    runs = [
        subprocess.Popen(
            [sys.executable, HERE / "support" / "worker_run.py", str(k), ports, kind, systems,
             folder, mode],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | settings)
        for k in range(2)
    ]
    found = []
    for run in runs:
        out, err = run.communicate(timeout=300)
        assert run.returncode == 0, err[-2000:]
        found.append(json.loads(out.splitlines()[-1]))
    return found


def sums(folder, index, mode="train"):
    """Learning rates (steps,) and sums of gradients (steps, variables) that a worker saw."""
    with np.load(f"{folder}-{index}-{mode}.npz") as file:
        return file["lr"], file["sums"]


class Split(OneWorker):
    """One worker that takes gradient and update apart, for a recorder to see."""

    def step(self, model, batch, weight, prefactors, lr, step, stop):
        model.apply(model.gradient(batch, prefactors) * weight, lr, step)
        return stop


def quiet(_):
    pass


def assert_same_sums(folder, expected):
    """Both workers saw the gradients of one worker, up to the order of sums."""
    rates = [lr for lr, _ in expected]
    for index in range(2):
        lr, found = sums(folder, index)
        np.testing.assert_allclose(lr, rates, rtol=1e-15)
        for row, (_, wanted) in zip(found, expected, strict=True):
            np.testing.assert_allclose(row, wanted, rtol=1e-8, atol=1e-11 * np.abs(wanted).max())
    # the workers' own copies stay the same to the last bit
    np.testing.assert_array_equal(sums(folder, 0)[1], sums(folder, 1)[1])


def test_two_workers_have_the_gradients_of_one(data, tmp_path):
    from nvnmd.training.continuous.train import train_cnn

    folder = tmp_path / "two"
    chief, other = two_workers("cnn", json.dumps(data), folder)
    assert chief["error"] == other["error"] == "" and chief["step"] == other["step"] == 4
    assert "2 workers; the optimizer takes 1 times the learning rate" in chief["lines"]
    assert other["lines"] == []
    assert {path.name for path in folder.iterdir()} >= {
        "train.json", "lcurve.out", "checkpoint", "weights.npz", "weight.npy", "map.npy"}

    workers = Recorder(Split())
    result = train_cnn(cnn_config(data, (2, 4)), tmp_path / "one", log=quiet, workers=workers)
    assert result.step == 4
    assert_same_sums(folder, workers.sums)


@pytest.mark.slow
def test_two_workers_of_the_quantized_stage(stage, tmp_path):
    from nvnmd.training.quantized.train import train_qnn

    chief, other = two_workers("qnn", str(stage[0]), tmp_path / "two")
    assert chief["error"] == other["error"] == "" and chief["step"] == other["step"] == 4
    # errors before and after are the chief's, the decision is everyone's
    assert any(line.startswith("kept: ") for line in chief["lines"])
    assert (tmp_path / "two" / "model.nvnmd").is_file() and chief["digest"] == other["digest"]
    workers = Recorder(Split())
    train_qnn(qnn_config(stage[0], (2,)), stage[0] / "cnn", tmp_path / "one", log=quiet,
              workers=workers)
    assert_same_sums(tmp_path / "two", workers.sums)


@pytest.mark.slow
def test_interrupted_together_and_continued(data, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    two_workers("cnn", json.dumps(data), whole)
    ends = two_workers("cnn", json.dumps(data), broken, "interrupt")
    assert all(end["interrupt"].startswith("interrupted at step 3") for end in ends)
    assert "--restart" in ends[0]["interrupt"] and "--restart" not in ends[1]["interrupt"]
    ends = two_workers("cnn", json.dumps(data), broken, "restart")
    assert [end["step"] for end in ends] == [4, 4]
    assert (broken / "weights.npz").read_bytes() == (whole / "weights.npz").read_bytes()


@pytest.mark.slow
def test_an_error_in_one_worker_ends_the_other_with_a_line(data, tmp_path):
    chief, other = two_workers("cnn", json.dumps(data), tmp_path / "two", "missing")
    assert other["error"].startswith("no/such/folder")
    assert chief["error"] == ("another worker ended with an error, which it reports; "
                              "worker 0 ends, too")


class Nothing:
    """A model and a part of the data that do nothing."""

    def __init__(self):
        self.rates = []
        self.sampler = self
        self.weight = 1.0
        self.weights = self
        self.moments = {}

    def arrays(self):
        return {}

    def state(self):
        return {}

    def draw(self):
        return None

    def apply(self, gradient, lr, step):
        self.rates.append(lr)


@pytest.mark.parametrize(("how", "factor"), [("linear", 4.0), ("sqrt", 2.0), ("none", 1.0)])
def test_the_learning_rate_is_scaled_and_only_the_chief_writes(how, factor, tmp_path):
    class Third(OneWorker):
        place = Place(2, 4)

        def step(self, model, batch, weight, prefactors, lr, step, stop):
            model.apply(None, lr, step)
            return step == 3

    config = cnn_config(("none",), (1,), scale=how)
    model = Nothing()
    setup = loop_setup("cnn", config, tmp_path)
    loop = TrainingLoop(setup, model, model, None, quiet, Third())
    with pytest.raises(KeyboardInterrupt, match="interrupted at step 3"):
        loop.loop()
    assert model.rates == [factor * setup.rate(step) for step in range(3)]
    assert list(tmp_path.iterdir()) == []
