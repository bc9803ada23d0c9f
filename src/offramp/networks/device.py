"""Where tensors live, and how many CPU threads work on them."""

import torch

from offramp.project.errors import InputError


def set_up(device: str, threads: int) -> torch.device:
    """Fix the number of CPU threads and return the device; `auto` is the accelerator if there is one, else the CPU.

    Raises InputError for a device that this machine or this build of torch lacks.
    """
    torch.set_num_threads(threads)
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"compute.device is {device!r}, which does not work here: {reason}; use auto or cpu") from None
    return torch.device(device)
