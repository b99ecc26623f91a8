"""What the command line does to the memory of a process."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

OWN = ("MALLOC_TRIM_THRESHOLD_", "LD_PRELOAD")
FAULTS = """
import resource
import torch
from solo_gedi.cli import main

main(["configs"])  # any command
for _ in range(30):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    [torch.ones(2**22) for _ in range(5)]
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


HUGE = Path("/sys/kernel/mm/transparent_hugepage/enabled")
ALWAYS = HUGE.exists() and "[always]" in HUGE.read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's, on Linux")
@pytest.mark.skipif(ALWAYS, reason="this kernel's pages are huge, and cannot be counted")
def test_tensors_take_the_pages_of_those_before() -> None:
    """A command keeps what a tensor has freed, unless the user sets glibc's own variable."""

    def faults(**variables: str) -> int:
        ended = subprocess.run(
            [sys.executable, "-c", FAULTS],
            env={k: v for k, v in os.environ.items() if k not in OWN} | variables,
            capture_output=True,
            text=True,
            check=True,
        )
        return int(ended.stdout.split()[-1])

    pages = 5 * 2**24 // resource.getpagesize()
    assert faults() < 0.1 * pages
    assert faults(MALLOC_TRIM_THRESHOLD_="131072") >= pages
