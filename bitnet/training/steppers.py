"""Which stepper a run is made with."""

import torch

from bitnet.training.device_steps import DeviceSteps
from bitnet.training.host_steps import HostSteps
from bitnet.training.population import Stepper


def stepper_for(device: str | torch.device, *, compiled: bool = False) -> Stepper:
    """Steps made by the host one operation at a time on a CPU; elsewhere, and where compiled, staged on the device."""
    return DeviceSteps(compiled=compiled) if compiled or torch.device(device).type != "cpu" else HostSteps()
