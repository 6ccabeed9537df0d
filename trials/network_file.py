"""A trained network as a file to take home, which torch alone reads (or safetensors, or what runs ONNX)."""

from __future__ import annotations

import importlib.util
import io
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from silo.errors import InvalidInput
from trials.registry import one_line
from trials.weights import state_names

_ONNX_NEEDS = ("onnx", "onnxscript")


def check_kind(path: Path) -> str:
    """The kind of file that a path's ending asks for.

    Raises:
        InvalidInput: There is no such kind, or what it needs isn't installed.
    """
    kind = path.suffix.lower()
    if kind not in KINDS:
        raise InvalidInput(f"a network's file must end in one of {', '.join(KINDS)}, not so as {path.name!r}")
    missing = [name for name in _ONNX_NEEDS if importlib.util.find_spec(name) is None]
    if kind == ".onnx" and missing:
        raise InvalidInput(
            f"an .onnx file needs {' and '.join(missing)}: pip install 'silo-oracle[onnx]'; .safetensors and "
            ".pt need nothing more"
        )
    return kind


def network_bytes(
    kind: str,
    module: nn.Module,
    masks: Mapping[str, Tensor],
    metadata: Mapping[str, Any],
    example: Tensor | None,
) -> bytes:
    """The contents of a file.

    Args:
        kind: As :func:`check_kind` gives it.
        module: The network, on the CPU.
        masks: Name of each prunable weight to its mask.
        metadata: What there is to say of it, as JSON-able data by name.
        example: [1, …], an input as the network is given it; None where none is known.

    Raises:
        InvalidInput: The network can't be exported in this form.
    """
    return KINDS[kind](module.eval(), masks, metadata, example)


def _safetensors(
    module: nn.Module, _masks: Mapping[str, Tensor], metadata: Mapping[str, Any], _example: Tensor | None
) -> bytes:
    return safetensors.torch.save(_state(module), _texts(metadata))


def _pt(
    module: nn.Module, masks: Mapping[str, Tensor], metadata: Mapping[str, Any], _example: Tensor | None
) -> bytes:
    file = io.BytesIO()
    kept = {name: mask.clone() for name, mask in masks.items()}
    torch.save({"state_dict": _state(module), "masks": kept, "metadata": dict(metadata)}, file)
    return file.getvalue()


def _onnx(
    module: nn.Module, _masks: Mapping[str, Tensor], metadata: Mapping[str, Any], example: Tensor | None
) -> bytes:
    if example is None:
        raise InvalidInput(
            "an .onnx file needs an input to trace the network with, and the search has no data set of its "
            "own: take .safetensors or .pt"
        )
    inputs = torch.cat([example, example])  # a dimension of 1 would be taken for a constant
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own, of torch's internals
            program = torch.onnx.export(
                module,
                (inputs,),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                input_names=["inputs"],
                output_names=["outputs"],
                verbose=False,
            )
        assert program is not None, "dynamo gives one"
        model = program.model_proto
        for name, text in _texts(metadata).items():
            entry = model.metadata_props.add()
            entry.key, entry.value = name, text
        return bytes(model.SerializeToString())
    except Exception as error:  # torch's exporter and the user's network may raise anything
        raise InvalidInput(
            f"the network can't be exported as ONNX ({type(error).__name__}: {one_line(error)[:300]}); take "
            ".safetensors or .pt"
        ) from error


KINDS: dict[str, Callable[[nn.Module, Mapping[str, Tensor], Mapping[str, Any], Tensor | None], bytes]] = {
    ".safetensors": _safetensors,
    ".pt": _pt,
    ".pth": _pt,
    ".onnx": _onnx,
}
"""Ending to what makes such a file of a network, its masks, its metadata and an example."""


def _state(module: nn.Module) -> dict[str, Tensor]:
    """Its state, every tensor with a memory of its own: tied ones are written under each name."""
    return {name: tensor.detach().clone().contiguous() for name, tensor in state_names(module).items()}


def _texts(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Texts as they are, all else as JSON."""
    return {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in metadata.items()
    }
