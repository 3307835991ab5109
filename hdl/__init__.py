"""The accelerator, in Amaranth.

At this level: its parameters (`params`), the core that joins the stages (`core`), its ports
(`axi`), Verilog, export and counts of resources. Inside: `pipeline` (delays, queues, the load
bus), `arith` (number units), `fitting` (the fitting net), `atom` (once per atom: descriptor and
its gradient), `neighbor` (once per neighbour: tables, forward, backward), `host` (the load
image), `verify` (taps, stimulus). May import `quantize`. Start with `core.Core`; docs/hardware.md
has the schedule.
"""
