"""TensorFlow, imported quietly and with the settings that results depend on.

Every module that needs TensorFlow takes `tf` from here, so that the settings are in place before
the library starts.
"""

from __future__ import annotations

import os
import warnings

# The library reads these once, while it is imported. Its own log is kept to errors; oneDNN's
# kernels are left out because they round differently from one processor to the next.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

with warnings.catch_warnings():
    # Deprecations inside TensorFlow's own dependencies are not the user's business.
    warnings.simplefilter("ignore")
    import tensorflow as tf

tf.get_logger().setLevel("ERROR")

__all__ = ["tf"]
