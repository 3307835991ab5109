"""One worker of a shared training: `python worker_run.py INDEX PORTS STAGE DATA FOLDER MODE`.

Prints what a test looks at as one line of JSON. As a module it offers the same training for one
worker.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HERE))

STEPS = 4


def cnn_config(systems, batch_size, *, scale="none", steps=STEPS):
    """A small continuous stage on the data of the test."""
    from support.cnn_runs import make_config

    from nvnmd.inputs.config import LearningRateConfig

    rate = LearningRateConfig(start_lr=5e-3, stop_lr=1e-4, decay_steps=3, scale_by_worker=scale)
    return make_config(systems, batch_size=batch_size, numb_steps=steps, disp_freq=1,
                       save_freq=2, learning_rate=rate)


def qnn_config(folder, batch_size, *, scale="none", steps=STEPS):
    """A small quantized stage on the data of the test."""
    from support.qnn_stage import run_config

    config = run_config(folder, steps)
    return replace(config, training=replace(config.training, batch_size=batch_size),
                   learning_rate=replace(config.learning_rate, scale_by_worker=scale))


def arguments(index, ports):
    """TF_CONFIG of one of two workers on this machine."""
    hosts = [f"localhost:{port}" for port in ports.split(",")]
    return json.dumps({"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}})


class Recorder:
    """Workers that keep every sum of gradients they come to."""

    def __init__(self, inner):
        self.inner, self.place, self.sums = inner, inner.place, []
        self.from_chief, self.wait = inner.from_chief, inner.wait
        self.tell_failure = inner.tell_failure

    def step(self, model, *args):
        apply = model.apply

        def kept(gradient, lr, step):
            self.sums.append((float(lr), np.asarray(gradient)))
            apply(gradient, lr, step)

        model.apply = kept
        try:
            return self.inner.step(model, *args)
        finally:
            del model.apply


def main(index, ports, stage, data, folder, mode):
    """Train as one of two workers."""
    os.environ["TF_CONFIG"] = arguments(int(index), ports)
    from nvnmd.errors import NvnmdError
    from nvnmd.training.tf_workers import workers_of_environment

    workers = Recorder(workers_of_environment())
    lines = []
    restart = None
    end = {"error": "", "interrupt": ""}
    folder = Path(folder)

    def log(line):
        lines.append(line)
        if mode == "interrupt" and line.startswith("step       2"):
            os.kill(os.getpid(), signal.SIGINT)

    try:
        if stage == "cnn":
            from nvnmd.training.continuous.train import train_cnn

            systems = tuple(json.loads(data))
            if mode == "missing" and index == "1":
                systems = (*systems, "no/such/folder")
            if mode == "restart":
                restart = folder
            sizes = (1, 2, 1)[: len(systems)]
            result = train_cnn(cnn_config(systems, sizes), folder, log=log,
                               restart=restart, workers=workers)
        else:
            from nvnmd.training.quantized.train import train_qnn

            result = train_qnn(qnn_config(Path(data), (1,)), Path(data) / "cnn", folder, log=log,
                               workers=workers)
            end["digest"] = result.model.digest
        end["step"] = result.step
    except NvnmdError as error:
        end["error"] = str(error)
    except KeyboardInterrupt as stop:
        end["interrupt"] = str(stop)
    np.savez(f"{folder}-{index}-{mode}.npz", lr=[lr for lr, _ in workers.sums],
             sums=np.array([row for _, row in workers.sums]))
    print(json.dumps({"lines": lines, **end}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
