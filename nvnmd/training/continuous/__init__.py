"""The continuous stage, `train-cnn`: the float network, in TensorFlow or by compiled passes.

May import `training` and the rooms below it, but not the other stages. Start with
`train.train_cnn`, then `setup`; the formulas of the reverse passes are in docs/training_speed.md.
"""
