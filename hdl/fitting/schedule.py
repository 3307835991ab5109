"""When the passes of the multiplier array may follow one another."""

from __future__ import annotations

from dataclasses import dataclass

from nvnmd.hdl.fitting.mac import mac_latency
from nvnmd.hdl.fitting.one_copy import one_copy_latency
from nvnmd.hdl.fitting.post import post_latency
from nvnmd.hdl.params import AcceleratorConfig


@dataclass(frozen=True)
class Schedule:
    """The cycles of one pass of the array, derived from the configuration and the post lanes.

    Attributes
    ----------
    steps : int
        Array steps of a pass: width^2 / (fit_cols*fit_rows).
    gap : int
        Idle cycles before a pass of the same atom, until its inputs are written in time.
    latency : int
        From a block's last step until its first group of results can be read.
    """

    lanes: int
    steps: int
    gap: int
    latency: int

    @classmethod
    def of(cls, cfg: AcceleratorConfig, lanes: int) -> Schedule:
        """The schedule with a given number of post lanes."""
        chunks = cfg.width // cfg.fit_rows
        steps = chunks * (cfg.width // cfg.fit_cols)
        array = one_copy_latency(cfg) if cfg.weights_once else mac_latency(cfg)
        latency = array + post_latency(cfg) + 1
        # inputs of a step, by the step that first takes them: a row's, or a block for all lanes
        taken = [(chunk, (chunk + 1) * cfg.fit_rows - 1) for chunk in range(chunks)]
        if cfg.weights_once:
            taken += [(start, start + cfg.fit_cols - 1)
                      for start in range(0, cfg.width, cfg.fit_cols)]
        gap = 0
        for step, word in taken:
            block, col = divmod(word, cfg.fit_cols)
            readable = (block + 1) * chunks - 1 + latency + col // lanes
            gap = max(gap, readable - steps - step)
        return cls(lanes, steps, gap, latency)

    @classmethod
    def best(cls, cfg: AcceleratorConfig) -> Schedule:
        """The fewest post lanes with which a pass is within 1/16 of the shortest possible."""
        lanes = max(1, cfg.fit_cols * cfg.fit_rows // cfg.width)
        shortest = cls.of(cfg, cfg.fit_cols)
        while True:
            tried = cls.of(cfg, lanes)
            if 16 * (tried.steps + tried.gap) <= 17 * (shortest.steps + shortest.gap):
                return tried
            lanes *= 2

    def atom_cycles(self, hidden: int, atoms: int = 1) -> int:
        """Cycles between atoms that wait for nothing else, when `atoms` of them take turns.

        An atom's 2*hidden passes begin `between` cycles apart, its successor's first one as soon
        as the array is free: of the last round of passes none waits for results.
        """
        between = max(atoms * self.steps, self.steps + self.gap)
        last = atoms * self.steps
        return -(-((2 * hidden - 1) * between + last) // atoms)
