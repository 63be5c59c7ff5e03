from __future__ import annotations

import pytest

from gradbench import device
from gradbench.device import Device, Gpus, choose
from gradbench.errors import BadOption, DeviceMissing


@pytest.fixture
def machine(monkeypatch):
    """A machine with so many GPUs."""

    def make(count: int) -> None:
        found = (
            Gpus(count, "", tuple(f"GPU {i}" for i in range(count)))
            if count
            else Gpus(reason="there is no CUDA driver")
        )
        monkeypatch.setattr(device, "gpus", lambda: found)

    return make


def test_a_worker_on_the_cpu_sees_no_gpu(machine):
    machine(2)
    environment = choose("cpu").environment({"CUDA_VISIBLE_DEVICES": "0,1", "PATH": "p"})
    assert environment["CUDA_VISIBLE_DEVICES"] == ""
    assert environment["JAX_PLATFORMS"] == "cpu"
    assert environment["PATH"] == "p"
    assert environment["OMP_NUM_THREADS"] == "1"


def test_a_worker_on_a_gpu_sees_that_one_alone(machine):
    machine(3)
    assert choose("cuda:2").environment({})["CUDA_VISIBLE_DEVICES"] == "2"
    assert choose("cuda").environment({})["CUDA_VISIBLE_DEVICES"] == "0"
    assert choose("cuda:1").environment({"CUDA_VISIBLE_DEVICES": "5,7,9"})["CUDA_VISIBLE_DEVICES"] == "7"
    assert choose("cuda").environment({})["JAX_PLATFORMS"] == "cuda"


def test_a_missing_device_is_said(machine):
    machine(0)
    with pytest.raises(DeviceMissing, match="device cuda: there is no CUDA driver"):
        choose("cuda")
    machine(1)
    with pytest.raises(DeviceMissing, match="device cuda:3: the machine has 1, counted from 0"):
        choose("cuda:3")


def test_auto_falls_back_and_says_so(machine):
    machine(0)
    assert choose("auto") == Device(remark="auto: using the CPU, because there is no CUDA driver")
    machine(1)
    assert choose("auto").kind == "cuda"
    assert "GPU 0" in choose("auto").remark


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cuda:-1", "", "cpu:0"])
def test_an_unknown_device_is_refused(machine, name):
    machine(1)
    with pytest.raises(BadOption, match="known are cpu, cuda, cuda:N and auto"):
        choose(name)


def test_the_driver_of_this_machine_is_asked_without_a_crash():
    found = device.gpus()
    assert found.count == len(found.names)
    assert bool(found.count) != bool(found.reason)
