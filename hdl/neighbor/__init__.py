"""Stages that run once per neighbour: front end, tables, GR sums, store, backward pass.

May import `hdl.atom` (for its records) and the rooms below it. Start with `forward`;
docs/schedule_forward.md and docs/schedule_backward.md have the schedules.
"""
