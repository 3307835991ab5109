"""The fitting net in hardware: multiplier array, what follows a layer, the last layer.

May import `hdl.arith` and `hdl.pipeline`. Start with `net.FitNet`; docs/schedule_fitnet.md
has the schedule.
"""
