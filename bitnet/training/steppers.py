"""The choice of a stepper for a run."""

import torch

from bitnet.training.device_steps import DeviceSteps
from bitnet.training.host_steps import HostSteps
from bitnet.training.population import Stepper


def stepper_for(device: str | torch.device, *, compiled: bool = False) -> Stepper:
    """`HostSteps` for uncompiled runs on a CPU, else `DeviceSteps`."""
    return DeviceSteps(compiled=compiled) if compiled or torch.device(device).type != "cpu" else HostSteps()
