"""Components that move words without computing: delays, rings, queues, lane memories, the load bus.

May import `hdl.params`. Start with `delay.Delay` and `loadbus`.
"""
