"""The choice of a stepper for a run."""

import torch

from bitnet.training.device_steps import DeviceSteps
from bitnet.training.host_steps import HostSteps
from bitnet.training.population import Stepper


def stepper_for(device: str | torch.device, *, compiled: bool = False, muon: bool = False) -> Stepper:
    """`HostSteps` for Muon and for uncompiled runs on a CPU, else `DeviceSteps`."""
    if muon or (torch.device(device).type == "cpu" and not compiled):
        return HostSteps()
    return DeviceSteps(compiled=compiled)
