"""torchvision, imported so that it works beside every build of torch."""

import importlib
import sys
import threading
from types import ModuleType

import torch

from silo.errors import InvalidInput

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

_lock = threading.Lock()
# A torch.library.Library takes its operators away when it is collected, so it stays here for good.
_kept: list[torch.library.Library] = []


def load_torchvision() -> ModuleType:
    """Imports torchvision, mending the import where its compiled operators can't be loaded.

    torchvision's wheel on PyPI is built against torch with CUDA. Beside a CPU build of torch its compiled
    library does not load, which torchvision tolerates, but then it attaches shape rules to two operators of
    that library and fails with "operator torchvision::nms does not exist" (pytorch/vision issues 9077 and
    9085). With the schemas of ``torchvision::nms`` and ``torchvision::qnms`` defined beforehand the import
    goes through, and data sets, transforms and models work; only the compiled operators themselves (box
    suppression, ROI pooling) stay missing. Nothing is defined where the plain import works.

    Returns:
        The module torchvision. Calling it again costs nothing.

    Raises:
        InvalidInput: torchvision is not installed.
    """
    with _lock:
        try:
            return importlib.import_module("torchvision")
        except ModuleNotFoundError as error:
            if error.name != "torchvision":
                raise
            raise InvalidInput("torchvision is not installed: pip install torchvision") from None
        except RuntimeError as error:
            if not is_missing_operator(error):
                raise
        _define_schemas()
        _forget_torchvision()
        return importlib.import_module("torchvision")


def is_missing_operator(error: BaseException) -> bool:
    """Whether an import failed for lack of torchvision's operators, which load_torchvision mends.

    Or what it failed with first: libraries that import torchvision for what they may need wrap the error.
    """
    seen: BaseException | None = error
    while seen is not None:
        if "operator torchvision::" in str(seen) and "does not exist" in str(seen):
            return True
        seen = seen.__cause__
    return False


def _define_schemas() -> None:
    # torch annotates neither the class nor its method.
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for schema in _SCHEMAS:
        if not hasattr(torch.ops.torchvision, schema.partition("(")[0]):
            library.define(schema)  # type: ignore[no-untyped-call]
    _kept.append(library)


def _forget_torchvision() -> None:
    # The failed import leaves submodules without their parent behind; the next one has to begin from
    # nothing.
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
