import importlib
import subprocess
import sys
import textwrap

import pytest
import torch

from silo.errors import InvalidInput
from trials import vision


def run_fresh(code: str) -> str:
    """Runs code in a new interpreter, where nothing of torchvision is loaded yet."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_loads_beside_this_build_of_torch_even_from_several_threads():
    printed = run_fresh("""
        from concurrent.futures import ThreadPoolExecutor
        from trials.vision import load_torchvision
        with ThreadPoolExecutor(4) as pool:
            modules = set(pool.map(lambda _: load_torchvision(), range(4)))
        [torchvision] = modules
        import torch
        from torchvision.transforms import v2
        assert v2.functional.horizontal_flip(torch.arange(3).view(1, 1, 3)).tolist() == [[[2, 1, 0]]]
        print(sum(p.numel() for p in torchvision.models.resnet18().parameters()))
    """)
    assert printed == "11689512"


def test_the_mend_after_a_failed_import_starts_from_nothing():
    run_fresh("""
        try:
            import torchvision
        except RuntimeError as error:
            assert "torchvision::nms" in str(error)
        from trials.vision import load_torchvision
        torchvision = load_torchvision()
        assert load_torchvision() is torchvision
        assert torchvision.extension is __import__("sys").modules["torchvision.extension"]
    """)


def test_defines_nothing_where_the_import_works(monkeypatch):
    monkeypatch.setattr(vision, "_kept", [])
    monkeypatch.setattr(importlib, "import_module", lambda name: f"the module {name}")
    assert vision.load_torchvision() == "the module torchvision"
    assert vision._kept == []


def test_defining_the_schemas_twice_is_harmless():
    vision._define_schemas()
    vision._define_schemas()
    assert torch.ops.torchvision.nms.default is not None


@pytest.mark.parametrize(
    "error", [RuntimeError("CUDA driver"), ModuleNotFoundError("No module named 'PIL'", name="PIL")]
)
def test_another_error_is_not_hidden(monkeypatch, error):
    def fail(name):
        raise error

    monkeypatch.setattr(importlib, "import_module", fail)
    monkeypatch.setattr(vision, "_define_schemas", lambda: pytest.fail("defined what nothing asked for"))
    with pytest.raises(type(error), match=str(error)):
        vision.load_torchvision()


def test_missing_torchvision(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(InvalidInput, match="pip install torchvision"):
        vision.load_torchvision()
