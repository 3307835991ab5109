"""The quantized stage, `train-qnn`: fitting nets trained inside the quantized network.

May import `training` and the rooms below it, but not the other stages. Start with
`train.train_qnn`, then `setup`; docs/surrogates.md explains the derivatives.
"""
