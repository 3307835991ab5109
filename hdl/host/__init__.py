"""The load image: a model as beats of the load stream, and the loader that receives them.

May import `hdl.fitting` and the rooms below it. Start with `image.build_image`.
"""
