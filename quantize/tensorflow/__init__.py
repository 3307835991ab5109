"""The primitive operations and the quantized network for TensorFlow, with surrogate derivatives.

The only room below `training` that imports TensorFlow. May import `quantize`. Start with `ops`.
"""
