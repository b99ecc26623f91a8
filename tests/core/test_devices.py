import os

import pytest
import torch

from solo_gedi.core.devices import best_device, room
from solo_gedi.core.reference import Reference


@pytest.mark.parametrize(
    ("cuda", "mps", "best"),
    [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_the_best_device(cuda, mps, best, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert best_device() == torch.device(best)


def test_room_on_a_gpu_counts_what_torch_holds_and_does_not_use(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 50)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 20)
    assert room(torch.device("cuda", 0)) == 130


@pytest.mark.parametrize(("limit", "expected"), [(None, 4000), ("max", 4000), ("300", 300)])
def test_room_on_the_cpu_is_its_memory_or_its_containers(limit, expected, tmp_path, monkeypatch):
    known = {"SC_PAGE_SIZE": 40, "SC_PHYS_PAGES": 100}
    monkeypatch.setattr(os, "sysconf", known.get, raising=False)
    monkeypatch.setattr("solo_gedi.core.devices._CONTAINER", tmp_path / "memory.max")
    if limit:
        (tmp_path / "memory.max").write_text(limit + "\n")
    assert room(torch.device("cpu")) == expected


class OnMPS(torch.Tensor):
    """Refuses double precision, as Apple's GPUs do, until it is on the CPU."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is torch.Tensor.cpu:
            return args[0].as_subclass(torch.Tensor)
        assert func is not torch.Tensor.double, "MPS has no float64"
        return super().__torch_function__(func, types, args, kwargs or {})


def test_the_reference_is_doubled_on_the_cpu():
    log_p = torch.arange(101.0)
    reference = Reference.of([log_p.as_subclass(OnMPS)])
    assert reference == Reference.of([log_p])
    shares = reference.share_below(log_p[:3].as_subclass(OnMPS))
    torch.testing.assert_close(shares, torch.tensor([0.0, 0.01, 0.02]))
