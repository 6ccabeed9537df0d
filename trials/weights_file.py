"""Weights that a network begins with, from a file of the user's: safetensors, or torch's of a state."""

from __future__ import annotations

import hashlib
import io
import platform
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from silo.checks import did_you_mean
from silo.errors import InvalidInput
from trials.checkpoints import read_place
from trials.recipe import Checkpoint
from trials.registry import listed, one_line
from trials.secrets import without_secrets
from trials.state_fit import Misfit, matches, put_into, shortened, state_names
from trials.weights import InitialWeightsChanged

_WRAPPERS = ("state_dict", "model_state_dict", "model", "model_state", "net", "network", "module", "weights")
"""What training loops call a network's state beside optimizer and epoch, the likeliest first."""

_MOST_PATTERNS = 3


@dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """The tensors of a checkpoint's file.

    Attributes:
        place: Where it was read from, without secrets.
        sha256: Checksum of its bytes.
        tensors: Its tensors by name, on the CPU.
        entry: Under what they stand in it; empty where the file holds nothing else.
        leave_out: Names and patterns of what is not taken.
    """

    place: str
    sha256: str
    tensors: Mapping[str, Tensor]
    entry: str
    leave_out: tuple[str, ...]

    @classmethod
    def read(cls, checkpoint: Checkpoint) -> WeightsFile:
        """Reads the file, on this node.

        Raises:
            InvalidInput: There is no such file here, or none of weights.
            InitialWeightsChanged: It is not the file that the search began with.
            OSError: It can't be read now; trying again may help.
        """
        place = without_secrets(checkpoint.file)
        data = read_place(checkpoint.file, "checkpoint")
        sha256 = hashlib.sha256(data).hexdigest()
        if checkpoint.sha256 and sha256 != checkpoint.sha256:
            raise InitialWeightsChanged(
                f"checkpoint {place} on {platform.node()} is not the file that the search began with; put it "
                "back, or give the search a new name"
            )
        try:
            tensors, entry = _tensors(data)
        except InvalidInput as error:
            raise InvalidInput(f"checkpoint {place}: {error}") from error
        return cls(place=place, sha256=sha256, tensors=tensors, entry=entry, leave_out=checkpoint.leave_out)

    def put_into(self, module: nn.Module) -> str:
        """Gives a network these weights; what is left out stays as it was drawn.

        Returns:
            What was done, in words.

        Raises:
            InvalidInput: They don't fit, or a pattern leaves nothing out.
        """
        names = state_names(module)
        kept = {name: tensor for name, tensor in self.tensors.items() if not matches(name, self.leave_out)}
        tensors, prefix = _unprefixed(kept, names)
        for pattern in self.leave_out:
            known = {*self.tensors, *tensors, *names}
            if not any(matches(name, [pattern]) for name in known):
                raise InvalidInput(
                    f"checkpoint {self.place}: leave_out: nothing is called {pattern!r} in it or in the "
                    f"network{did_you_mean(pattern, known)}"
                )
        if misfit := put_into(module, tensors, leave_out=self.leave_out, finite=True):
            raise InvalidInput(
                f"checkpoint {self.place} doesn't fit the network: {misfit}; {_would_do(misfit, names)}"
            )
        drawn = [name for name in names if matches(name, self.leave_out)]
        taken = len(names) - len(drawn)
        if not taken:
            raise InvalidInput(f"checkpoint {self.place}: leave_out leaves nothing of the network to take")
        how = [f"its entry {self.entry!r}"] if self.entry else []
        how += [f"without the prefix {prefix!r}"] if prefix else []
        where = f"{self.place} ({', '.join(how)})" if how else self.place
        rest = f"; drawn for each replicate: {shortened(drawn)}" if drawn else ""
        return f"begins with {taken} of its {len(names)} tensors from checkpoint {where}{rest}"


def _tensors(data: bytes) -> tuple[dict[str, Tensor], str]:
    """The tensors of a file's bytes, and under what they stand in it."""
    if data[8:9] == b"{":
        try:
            return safetensors.torch.load(data), ""
        except Exception as error:  # safetensors has no common error
            raise InvalidInput(f"a damaged safetensors file ({one_line(error)})") from error
    if not data.startswith((b"PK", b"\x80")):
        raise InvalidInput(
            "neither a safetensors file nor one of torch.save; it "
            f"{f'begins with {data[:24]!r}' if data else 'is empty'}"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, of its older formats
            found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a file of anybody's makes of the unpickler
        raise InvalidInput(
            "torch.load(weights_only=True) doesn't take it, as it is damaged or holds more than tensors "
            f"({one_line(error)[:160]}); save model.state_dict()"
        ) from error
    return _state_of(found)


def _state_of(found: Any) -> tuple[dict[str, Tensor], str]:
    """The state in what torch.load gives: itself, or an entry of it."""
    if not isinstance(found, Mapping):
        raise InvalidInput(f"it holds a {type(found).__name__}, no tensors by name; save model.state_dict()")
    states = {name: tensors for name, value in found.items() if (tensors := _tensors_in(value))}
    usual = [name for name in _WRAPPERS if name in states]
    if not usual and (tensors := _tensors_in(found)):
        return tensors, ""
    if not usual and len(states) != 1:
        raise InvalidInput(
            f"it has no tensors by name, but {listed(map(str, found))}; save model.state_dict()"
        )
    entry = [*usual, *states][0]
    return states[entry], str(entry)


def _tensors_in(value: Any) -> dict[str, Tensor]:
    if not isinstance(value, Mapping):
        return {}
    return {
        str(name): each.detach().to_dense() if each.layout != torch.strided else each.detach()
        for name, each in value.items()
        if isinstance(each, Tensor)
    }


def _unprefixed(tensors: Mapping[str, Tensor], names: Mapping[str, Any]) -> tuple[dict[str, Tensor], str]:
    """The tensors without a beginning that all of their names share and none of the network's has.

    ``module.`` is DataParallel's, ``_orig_mod.`` torch.compile's, and ``model.`` many a trainer's.
    """
    found, prefix = dict(tensors), ""
    while found:
        shared = {name.partition(".")[0] for name in found}
        first = f"{shared.pop()}."
        if shared or not all(name.startswith(first) for name in found):
            break
        if any(name.startswith(first) for name in names):
            break
        found, prefix = {name.removeprefix(first): each for name, each in found.items()}, prefix + first
    return found, prefix


def _would_do(misfit: Misfit, names: Mapping[str, Any]) -> str:
    """What would make them fit: to leave out the modules that differ, if those are a few."""
    differing = [*misfit.missing, *misfit.left, *misfit.shapes]
    patterns = list(dict.fromkeys(_module_of(name) for name in differing))
    if misfit.others or len(patterns) > _MOST_PATTERNS or len(misfit.missing) == len(names):
        return "give that of the same network"
    return f"leave_out: [{', '.join(patterns)}] takes the rest"


def _module_of(name: str) -> str:
    module, dot, _ = name.rpartition(".")
    return f"{module}.*" if dot else name
