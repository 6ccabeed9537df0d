"""A pretended accelerator, which tells where a training would wait for it.

Tensors of the device ``meta`` have no numbers: whatever asks for one fails, as ``.item()``, ``nonzero`` and a
copy to the CPU do. What is left is to look at the copies that come from the CPU.
"""

import torch
from torch.utils._python_dispatch import TorchDispatchMode

DEVICE = torch.device("meta")


class Waited(Exception):
    """A copy was not over before the call returned."""


class NoWaiting(TorchDispatchMode):
    """Refuses copies to the accelerator out of memory that isn't pinned, or that are waited for.

    Attributes:
        copies: Those that were made.
    """

    def __init__(self):
        super().__init__()
        self.copies, self._pinned = 0, []

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = operator.name()
        if name in ("aten::is_pinned", "aten::_pin_memory"):  # which a CPU alone hasn't
            if name == "aten::is_pinned":
                return False
            self._pinned.append(args[0].clone())
            return self._pinned[-1]
        found = operator(*args, **kwargs)
        if name in ("aten::_to_copy", "aten::copy_"):
            source = args[1] if name == "aten::copy_" else args[0]
            waits = not (kwargs.get("non_blocking") or (name == "aten::copy_" and True in args[2:]))
            if source.device.type == "cpu" and found.device == DEVICE:
                if waits or not any(source is each for each in self._pinned):
                    raise Waited(f"{operator} of {tuple(source.shape)}")
                self.copies += 1
        return found
