"""LambdaConcept ECPIX-5 with the larger ECP5-5G; a host reaches it by the FTDI serial port."""

from nvnmd.boards.catalog import BoardType

BOARD = BoardType(
    name="ecpix5-85f", fpga="ECP5", part="LFE5UM5G-85F", oscillator=100e6, link="UART (FT2232H)",
    baud=2_000_000, luts=83640, multipliers=156, memories=208, checked="routed",
    platform="ecpix5.ECPIX585Platform", cable="ecpix5")
