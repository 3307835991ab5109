"""Bounds of single values of an input document, and how messages name them."""

from __future__ import annotations

from typing import Any

from nvnmd.data.probability import blocks_of

# what the trainings write under names of their own
OUTPUTS = ("train.json", "checkpoint", "weights.npz", "weight.npy", "config.npy", "map.npy",
           "model.nvnmd")
OWN_FILE = f"a file name that is none of {', '.join(OUTPUTS)}"
AUTO_FACTOR = 1.1
# layouts of the tables: those of nvnmd.quantize.table_layout, a room of the same floor
LAYOUTS = ("vendor", "octave", "octave8")
DEVICES = ("vu9p", "vu13p")
# Slots that the hardware of sub_version 2 has: fewer are raised to one of these
STEPPED_SLOTS = (128, 160, 192, 224, 256)
# no hardware holds more neighbours than this, however few the data have
MOST_FACTOR = 256.0
SEL_LIMIT = 'positive integers, "auto" or "auto:FACTOR" with a factor from 1 to 256'
SEED_LIMIT = "null or an integer from 0 to 4294967295"
STYLES = '"prob_uniform", "prob_sys_size" or "prob_sys_size;BEGIN:END:WEIGHT;..."'


def positive(value: float) -> bool:
    return value > 0


def not_negative(value: float) -> bool:
    return value >= 0


def is_seed(value: int | None) -> bool:
    return value is None or 0 <= value < 2**32


def is_batch_size(value: Any) -> bool:
    if isinstance(value, str):
        head, _, count = value.partition(":")
        if value == "auto":
            return True
        # 7 digits: more atoms or frames are in no batch, and would be drawn one by one
        return (head in ("auto", "mixed", "max", "filter") and count.isdecimal()
                and len(count) <= 7 and int(count) > 0)
    return all(n > 0 for n in (value if isinstance(value, list) else [value]))


def is_plain_batch_size(value: Any) -> bool:
    return is_batch_size(value) and not str(value).startswith("mixed")


def is_style(value: str) -> bool:
    try:
        blocks_of(value)
    except ValueError:
        return False
    return True


def are_probabilities(value: list[float] | None) -> bool:
    if value is None:
        return True
    return bool(value) and sum(one for one in value if one >= 0) <= 1.0 + 1e-6


def are_pairs(value: list[Any]) -> bool:
    return all(isinstance(pair, list) and len(pair) == 2
               and all(isinstance(kind, int) and not isinstance(kind, bool) for kind in pair)
               for pair in value)


def is_name(value: str) -> bool:
    return bool(value) and "/" not in value


def names_file(value: str) -> bool:
    return value.rsplit("/", 1)[-1] not in ("", ".", "..")


def names_own_file(value: str) -> bool:
    return names_file(value) and value.rsplit("/", 1)[-1] not in OUTPUTS


def auto_factor(text: str) -> float:
    """Return the factor of ``auto`` or ``auto:FACTOR``.

    Raises
    ------
    ValueError
        It is neither, or the factor is below 1 or above `MOST_FACTOR`.
    """
    head, colon, number = text.partition(":")
    factor = float(number) if colon else AUTO_FACTOR
    if head != "auto" or not (1.0 <= factor <= MOST_FACTOR):
        raise ValueError(text)
    return factor


def is_sel(value: Any) -> bool:
    if isinstance(value, str):
        try:
            return auto_factor(value) >= 1.0
        except ValueError:
            return False
    return all(n > 0 for n in (value if isinstance(value, list) else [value]))
