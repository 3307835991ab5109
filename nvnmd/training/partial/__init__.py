"""Stages in which one half of the network is quantized and the other is float.

May import the stages `continuous` and `quantized`, whose models it combines. Start with `models`.
"""
