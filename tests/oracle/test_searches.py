"""Whole searches over what a spec can name, small but real."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from oracle.results import Results
from tests.support import run_in_process, small_spec

ROOT = Path(__file__).parents[2]


@pytest.fixture
def pictures(tmp_path):
    """Two classes of 8×8 pictures that a network can tell apart."""
    generator = torch.Generator().manual_seed(0)
    for split in ("train", "test"):
        for name, colour in (("cat", 200), ("dog", 60)):
            folder = tmp_path / "pictures" / split / name
            folder.mkdir(parents=True)
            for index in range(24):
                noise = torch.randint(0, 50, (8, 8, 3), generator=generator, dtype=torch.uint8)
                Image.fromarray((noise + colour).numpy()).save(folder / f"{index}.png")
    return tmp_path / "pictures"


def test_resnet20_on_an_image_folder_with_random_pruning(tmp_path, pictures):
    spec = small_spec(
        tmp_path,
        network="resnet20",
        dataset={"name": "image_folder", "arguments": {"root": str(pictures), "augment": True}},
        pruning={"pruner": "random", "rate": 0.5, "keep": ["*head*"]},
        cycles=3,
        grid={"values": [0.01, 0.1], "extend": False},
        replicates=1,
        retraining="fine_tuning",
        training={
            "iterations": 6,
            "batch_size": 16,
            "schedule": {"name": "warmup_drops", "arguments": {"warmup": 2, "drops": [5]}},
        },
    )
    session = run_in_process(spec)
    assert session.search.done
    results = Results.read(session.ledger, session.ledger.search("small"))
    assert [each.density for each in results.decided] == pytest.approx([1, 0.5, 0.25], abs=1e-4)
    selected = session.search.checkpoint(2, 0)
    weights = load_file(f"{spec.storage_root()}/{selected.path}")
    masks = load_file(f"{spec.storage_root()}/cycle-02/replicate-0/start.safetensors")
    for name, mask in masks.items():
        if name.startswith("masks/"):
            assert torch.all(weights[name.removeprefix("masks/")][~mask] == 0)


def test_only_networks_that_are_needed_are_kept(undisturbed):
    root, search = Path(undisturbed.spec.storage_root()), undisturbed.search
    kept = {str(path.relative_to(root)) for path in root.rglob("max_lr-*")}
    assert kept == {search.checkpoint(cycle, replicate).path for cycle in range(3) for replicate in (0, 1)}
