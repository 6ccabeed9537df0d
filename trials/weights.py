"""The weights that a network begins with, from a file of the user's or made once and kept, and their
fingerprints: are these the weights that a search began with?

The same code and seed draw weights that differ in their last digits from one kind of processor to another, as
torch's random kernels are compiled for each. Bytes alone would take another machine for another network, so a
fingerprint holds a few numbers, too, in which roundings vanish and a changed weight doesn't.
"""

from __future__ import annotations

import hashlib
import io
import math
import platform
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from silo.checks import did_you_mean
from silo.errors import InvalidInput, SiloOracleError
from trials.checkpoints import Store
from trials.paths import read_place
from trials.registry import listed, one_line
from trials.secrets import without_secrets
from trials.tasks import Checkpoint, WeightsFingerprint

_FREQUENCIES = (1.0, 0.5 * (5**0.5 - 1))
"""Radians from one weight to the next of the waves that the weights are projected on."""

_ROUNDING = 1e-5
"""Share of the norm by which roundings can move a projection, with room: float32 rounds by 6e-8, and a single
weight of 10⁸ alike is still 1e-4 of their norm."""

_LARGEST = 1e4
"""Size from which on a number is no weight, but a mask's or a table's: kept by its bytes alone, as beside it
all weights would vanish."""

_PORTION = 1 << 22
"""Weights that are looked at together."""


class InitialWeightsChanged(SiloOracleError):
    """A network doesn't begin with the weights that its search began with."""


def alike(one: WeightsFingerprint, other: WeightsFingerprint) -> bool:
    """Whether two fingerprints are of the same weights, but for roundings."""
    if one.sha256 == other.sha256:
        return True
    room = _ROUNDING * max(one.norm, other.norm)
    pairs = [(one.norm, other.norm), *zip(one.projections, other.projections, strict=True)]
    return one.shapes == other.shapes and all(abs(mine - theirs) <= room for mine, theirs in pairs)


def weights_fingerprint(tensors: Mapping[str, Tensor]) -> WeightsFingerprint:
    """The fingerprint of parameters and buffers by name; their order plays no part."""
    shapes = hashlib.sha256()
    squares, projections, place = 0.0, [0.0] * len(_FREQUENCIES), 0
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        shapes.update(_heading(name, tensor))
        flat = (torch.view_as_real(tensor) if tensor.is_complex() else tensor).reshape(-1)
        for begin in range(0, len(flat), _PORTION):
            portion = flat[begin : begin + _PORTION]
            values = portion.double()
            values = torch.where(values.abs() < _LARGEST, values, 0.0)  # neither NaN nor infinities
            at = torch.arange(place, place + len(values), dtype=torch.float64)
            squares += float(values.square().sum())
            for index, frequency in enumerate(_FREQUENCIES):
                projections[index] += float(values @ torch.cos(frequency * at))
            place += len(values)
    return WeightsFingerprint(
        sha256=weights_sha256(tensors),
        shapes=shapes.hexdigest(),
        norm=math.sqrt(squares),
        projections=tuple(projections),
    )


def weights_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Checksum of parameters and buffers by name: of their names, types, shapes and bytes."""
    content = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        content.update(_heading(name, tensor))
        if tensor.numel():
            content.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return content.hexdigest()


def _heading(name: str, tensor: Tensor) -> bytes:
    return f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode()


def check_initial(
    tensors: Mapping[str, Tensor], begun_with: Sequence[WeightsFingerprint], index: int
) -> None:
    """Makes sure that a replicate's network begins as it did when its search began.

    Args:
        tensors: Its parameters and buffers by name.
        begun_with: The fingerprints by replicate; none for one that has none.
        index: The replicate.

    Raises:
        InitialWeightsChanged: It begins with other weights.
    """
    if index >= len(begun_with) or weights_sha256(tensors) == begun_with[index].sha256:
        return
    if not alike(weights_fingerprint(tensors), begun_with[index]):
        raise InitialWeightsChanged(
            f"the initial weights of replicate {index} are not those that the search began with: the "
            "network's code, or a file that it loads, was changed; put it back, or give the search a new name"
        )


def initial_weights(
    store: Store,
    replicate: int,
    begun_with: Sequence[WeightsFingerprint],
    build: Callable[[], dict[str, Tensor]],
) -> dict[str, Tensor]:
    """Parameters and buffers by name that a replicate begins with, to the last bit as its search began.

    They are read from their file. Where it is missing or damaged, they are made again, and written if they
    are the same bits: another kind of processor may round them otherwise.

    Args:
        store: The search's files.
        replicate: The replicate.
        begun_with: Fingerprints of the weights that the search began with, by replicate, if it has any.
        build: Makes them, and refuses others.

    Raises:
        StorageFailed: The storage is full or read-only.
    """
    if replicate >= len(begun_with):
        return build()
    wanted, path = begun_with[replicate].sha256, f"cycle-00/replicate-{replicate}/start.safetensors"
    try:
        stored = store.read_unchecked(path)
    except (OSError, SafetensorError):
        stored = {}
    if weights_sha256(stored) == wanted:
        return stored
    made = build()
    if weights_sha256(made) == wanted:
        store.write(path, {name: tensor.clone() for name, tensor in made.items()})  # none shares memory
    return made


_MOST = 4
"""Names that are listed of each kind of misfit."""

_COUNTS = "num_batches_tracked"
"""A buffer of normalisation layers that older files lack; torch itself does without it, too."""


@dataclass(frozen=True, kw_only=True)
class Misfit:
    """What of some tensors doesn't fit a network, each by its name.

    Attributes:
        missing: What the network has, and they don't.
        left: What they have, and the network doesn't.
        shapes: What has another shape, with both.
        others: Whatever else is wrong, in words.
    """

    missing: tuple[str, ...]
    left: tuple[str, ...]
    shapes: Mapping[str, str]
    others: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.missing or self.left or self.shapes or self.others)

    def __str__(self) -> str:
        parts = [f"missing: {shortened(self.missing)}"] if self.missing else []
        parts += [f"left over: {shortened(self.left)}"] if self.left else []
        shown = [f"{name} is {text}" for name, text in self.shapes.items()]
        parts += [f"other shapes: {shortened(shown)}"] if shown else []
        return "; ".join([*parts, *self.others])


def state_names(module: nn.Module) -> dict[str, Tensor]:
    """The parameters and persistent buffers by their keys in ``state_dict``; tied ones under each."""
    kept = module.state_dict(keep_vars=True)
    return {name: tensor for name, tensor in kept.items() if isinstance(tensor, Tensor)}


@torch.no_grad()
def put_into(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    *,
    leave_out: Sequence[str] = (),
    finite: bool = False,
) -> Misfit:
    """Copies tensors into a network's parameters and buffers, converted to their types; all or none.

    Args:
        module: The network.
        tensors: Its state by the keys of ``state_dict``. One of the names of a tied tensor is enough.
        leave_out: Names and patterns of what stays as it is in the network; tensors of these names aren't
            taken.
        finite: Whether NaN and infinities in what is trained are a misfit, too.

    Returns:
        What doesn't fit; nothing was copied then.
    """
    taken = {name: tensor for name, tensor in tensors.items() if not matches(name, leave_out)}
    wanted = {name: tensor for name, tensor in state_names(module).items() if not matches(name, leave_out)}
    misfit = _misfit(wanted, taken, finite)
    for name in () if misfit else taken:
        wanted[name].copy_(taken[name])
    return misfit


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a name is one of these, or matches one of these patterns."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _misfit(wanted: Mapping[str, Tensor], taken: Mapping[str, Tensor], finite: bool) -> Misfit:
    both = {name: (taken[name], tensor) for name, tensor in wanted.items() if name in taken}
    given = {id(tensor) for _, tensor in both.values()}
    missing = [name for name, tensor in wanted.items() if id(tensor) not in given]
    shapes = {
        name: f"{_shape(one)}, not {_shape(other)}"
        for name, (one, other) in both.items()
        if one.shape != other.shape
    }
    fitting = {name: pair for name, pair in both.items() if name not in shapes}
    return Misfit(
        missing=tuple(name for name in missing if not name.endswith(_COUNTS)),
        left=tuple(sorted(name for name in taken if name not in wanted)),  # safetensors has no order
        shapes=shapes,
        others=tuple(_others(fitting, finite)),
    )


def _others(both: Mapping[str, tuple[Tensor, Tensor]], finite: bool) -> list[str]:
    """What is wrong with tensors of the right shapes: their kinds of numbers, or their numbers."""
    found = []
    if kinds := [name for name, (one, other) in both.items() if _kind(one) != _kind(other)]:
        one, other = both[kinds[0]]
        found.append(f"other kinds of numbers: {shortened(kinds)} ({_type(one)}, not {_type(other)})")
    alike = {name: pair for name, pair in both.items() if name not in kinds}
    trained = {name: one for name, (one, other) in alike.items() if finite and other.requires_grad}
    if broken := [name for name, one in trained.items() if not bool(one.isfinite().all())]:
        found.append(f"NaN or infinite values: {shortened(broken)}")
    firsts: dict[int, str] = {}
    for name, (one, other) in alike.items():
        first = firsts.setdefault(id(other), name)
        if name != first and first not in broken and not torch.equal(one, alike[first][0]):
            found.append(f"two tensors for one that the network ties: {first} and {name}")
    return found


def shortened(names: Sequence[str]) -> str:
    """The first names of a list, and how many more there are."""
    more = len(names) - _MOST
    return f"{', '.join(names[:_MOST])}{f' and {more} more' if more > 0 else ''}"


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "a single number"


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _kind(tensor: Tensor) -> tuple[bool, bool, bool]:
    """Types within which a conversion changes no more than digits."""
    return tensor.is_floating_point(), tensor.is_complex(), tensor.is_quantized


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
        more = re.search(r"GLOBAL ([\w.]+)", str(error))
        why = f"it holds more than tensors: {more.group(1)}" if more else f"damaged: {one_line(error)[:160]}"
        raise InvalidInput(
            f"torch.load(weights_only=True) doesn't take it ({why}); save model.state_dict()"
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
