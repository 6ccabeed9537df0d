"""The device of a worker: what it is called, and whether its process can still use it."""

from __future__ import annotations

import torch

from silo.errors import SiloOracleError


class DeviceLost(SiloOracleError):
    """This process can't use its GPU any more; another process can.

    After some errors of CUDA (an assertion on the device, an access to memory that isn't there) every later
    call of the process fails, whatever it is for.
    """


def name_of(device: torch.device) -> str:
    """The model of a GPU; empty for a CPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else ""


def check_answers(device: torch.device) -> None:
    """Makes sure that a device computes, before anything is entrusted to it.

    Raises:
        DeviceLost: It doesn't.
    """
    if device.type == "cuda":
        try:
            torch.ones(1, device=device).sum().item()
        except Exception as error:
            raise _lost(error) from error


def raise_if_lost(error: BaseException, device: torch.device) -> None:
    """Tells an error after which a process can't go on from all others; to be asked while it is handled.

    Args:
        error: What computing on the device ended with.
        device: The device; a loop of the user's own may use another one, so CUDA's own errors count on each.

    Raises:
        DeviceLost: The GPU doesn't answer any more.
    """
    of_cuda = isinstance(error, torch.AcceleratorError) or "CUDA error" in str(error)
    if device.type == "cuda" or of_cuda:
        try:
            torch.cuda.synchronize()
        except Exception:
            raise _lost(error) from error


def _lost(error: BaseException) -> DeviceLost:
    lines = str(error).strip().splitlines() or ["no reason given"]
    return DeviceLost(f"the GPU can't be used by this process any more ({type(error).__name__}: {lines[0]})")
