"""The accelerator, in Amaranth: parameters, one component per stage, the top level."""
