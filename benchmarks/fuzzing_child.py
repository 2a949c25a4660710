"""One target under libFuzzer, in a process that memory, time or a crash may end; `benchmarks.fuzzing` starts it.

python -m benchmarks.fuzzing_child TARGET FINDINGS LIBFUZZER-ARGUMENTS...
"""

from __future__ import annotations

import logging
import random
import re
import resource
import sys
import tempfile
from itertools import islice
from pathlib import Path

import atheris

from benchmarks.fuzzing import keep

OURS = ("prototxt", "weights", "converter", "verify")
MEMORY = 4 << 30
"""Bytes of address space: what asks for more gets a MemoryError, which is a finding where it is not handled."""

with atheris.instrument_imports(include=list(OURS)):
    from benchmarks import fuzzing_targets

_NUMBER = re.compile(rb"(?<=[:\s])[-+]?[0-9][0-9.eE+-]*")


def main() -> None:
    name, findings = sys.argv[1], Path(sys.argv[2])
    target = fuzzing_targets.TARGETS[name]
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    shared_memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared_memory if shared_memory.is_dir() else None) as folder:
        path = Path(folder) / f"input{target.suffix}"

        def one_input(data: bytes) -> None:
            try:
                target.one_input(path, data)
            except Exception as error:  # noqa: BLE001 (whatever it is, it is what is looked for)
                keep(findings, error, data, target.suffix)

        for seed in islice(target.seeds(), 3):  # what is imported late would count as slow
            one_input(seed)
        mutate = {"custom_mutator": with_numbers} if target.suffix == ".prototxt" else {}
        atheris.Setup([sys.argv[0], *sys.argv[3:]], one_input, **mutate)
        atheris.Fuzz()


def with_numbers(data: bytes, longest: int, seed: int) -> bytes:
    """libFuzzer's own change, or every third time another number in the place of one that is written."""
    draw = random.Random(seed)
    places = list(_NUMBER.finditer(data))
    if not places or draw.random() > 1 / 3:
        return bytes(atheris.Mutate(data, longest))
    for found in sorted(draw.sample(places, min(len(places), draw.randint(1, 2))), key=lambda m: -m.start()):
        data = data[: found.start()] + draw.choice(fuzzing_targets.NUMBERS).encode() + data[found.end() :]
    return data[:longest]


if __name__ == "__main__":
    main()
