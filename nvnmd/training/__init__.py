"""Training: the loop over steps, and what both stages share around it.

Checkpoints, learning curve, schedule, batches of mixed data, several workers. The stages live
inside: `continuous` (float network), `quantized` (quantized network) and `partial` (one half
quantized). Only this room and `quantize/tensorflow` import TensorFlow. May import everything from
`deepmd` and `mapping` down, but not `evaluation`. Start with `setup` (what a run is), then
`loop.TrainingLoop`.
"""
