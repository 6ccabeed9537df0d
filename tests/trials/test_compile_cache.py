"""Graphs become libraries that are kept, found again, and never taken for another's."""

import os
import shutil
import subprocess
import sys
import tempfile

import pytest
import torch

from tests.support import needs_compiler
from trials.engine import compile_cache
from trials.engine.compile_cache import CompilerFailed, find, folder_of, is_compiled
from trials.engine.graphs import Captured, _just_in_time, compile_all, trace


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """A cache with nothing in it; what the compiler found out about this machine before is kept."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(compile_cache.compiler_folder()))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "silo-oracle" / "graphs"


def scaled(factor):
    def function(total, inputs):
        total += factor * inputs
        return (total.sum(dim=0),)

    return function


def traced(factor=2.0, *, shape=(3, 4), dtype=torch.float32):
    return trace(scaled(factor), [torch.zeros(shape, dtype=dtype), torch.ones(shape, dtype=dtype)])


def test_tracing_leaves_what_the_function_changes_as_it_was():
    total = torch.full((3,), 5.0)
    found = trace(scaled(2.0), [total, torch.ones(3)])
    assert total.tolist() == [5.0] * 3
    assert found.graph(total, torch.ones(3))[0] == 21.0 and total.tolist() == [7.0] * 3


def test_a_key_covers_all_that_a_library_depends_on(monkeypatch):
    same, other = traced(), traced()
    assert same.key() == other.key()
    transposed = trace(scaled(2.0), [torch.zeros(3, 4), torch.ones(4, 3).T])
    constants = [trace(scaled(torch.full((4,), value)), same.arguments) for value in (1.0, 2.0)]
    others = [traced(3.0), traced(shape=(3, 5)), traced(dtype=torch.float64), transposed]
    keys = {each.key() for each in (same, *others, *constants)}
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    keys.add(same.key())
    monkeypatch.setattr(compile_cache, "processor", lambda: "another")
    keys.add(same.key())
    assert len(keys) == 9


@needs_compiler
def test_a_library_does_what_its_graph_does_and_is_compiled_once(empty, monkeypatch):
    """Where what was kept is damaged it is compiled anew."""
    ours, sizes = traced(), traced(shape=(5, 6))
    folder = folder_of(ours.key())
    folder.mkdir(parents=True)
    (folder / "program.so").write_bytes(b"half a library")
    (program,) = compile_all([ours])
    assert is_compiled(ours.key()) and not is_compiled(sizes.key())
    assert [each.name for each in empty.iterdir()] == [ours.key()]
    total, inputs = (torch.randn(tensor.shape) for tensor in ours.arguments)
    expected = total + 2.0 * inputs
    (found,) = program(total, inputs)
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(found, expected.sum(dim=0))
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", None)  # nothing is compiled again
        found = find(ours.key(), ours.arguments)
        assert found(torch.zeros(3, 4), torch.ones(3, 4))[0].tolist() == [6.0] * 4
        assert find(ours.key(), sizes.arguments) is None and find("another", ours.arguments) is None
        (again,) = compile_all([traced()])
    # What lies in memory in another order is read as what it is; what has another size is refused.
    inputs = torch.arange(12.0).view(4, 3).T
    assert again(torch.zeros(3, 4), inputs)[0].tolist() == (2 * inputs).sum(dim=0).tolist()
    with pytest.raises(ValueError, match=r"compiled for torch.float32 \(3, 4\) on cpu, not for .*\(3, 5\)"):
        again(torch.zeros(3, 5), torch.ones(3, 5))
    (folder / "program.so").rename(folder / "another")  # what is left of one that was being deleted
    assert find(ours.key(), ours.arguments) is None


def test_a_failing_compiler_is_a_reason_and_leaves_nothing_behind(empty, tmp_path, monkeypatch):
    """Not even where torch would look by itself, in a folder that anybody can have filled before."""
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    (tmp_path / "shared").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "shared"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    with pytest.raises(CompilerFailed, match=r"[Cc]ompiler"):
        compile_all([traced()])
    assert not is_compiled(traced().key())
    assert not [each for each in empty.iterdir() if each.name.startswith("compiling-")]
    assert not list((tmp_path / "shared").glob("torchinductor*"))
    assert (empty.parent / "compiler").stat().st_mode & 0o777 == 0o700


def test_only_the_last_used_libraries_are_kept(empty, monkeypatch):
    monkeypatch.setattr(compile_cache, "_KEPT", 2)
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    for age, name in enumerate("abcd"):
        (empty / name).mkdir(parents=True)
        compile_cache.os.utime(empty / name, (1000 + age, 1000 + age))
    with pytest.raises(CompilerFailed, match="exit code 1"):
        compile_all([traced()])
    assert sorted(each.name for each in empty.iterdir()) == ["c", "d"]


def test_where_no_cache_can_be_written_the_temporary_folder_serves(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a" / "b"))
    assert folder_of("key") == tmp_path / "a" / "b" / "silo-oracle" / "graphs" / "key"
    monkeypatch.setattr(compile_cache.os, "access", lambda path, mode: path != tmp_path)
    monkeypatch.setattr(compile_cache.tempfile, "gettempdir", lambda: str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    found = folder_of("key")
    own = tmp_path / "temporary" / f"cache-{compile_cache.os.getuid()}"
    assert own in found.parents and own.stat().st_mode & 0o777 == 0o700
    # A folder that somebody else has made there could hold anything.
    monkeypatch.setattr(compile_cache.os, "getuid", lambda: 12345)
    own.rename(own.with_name("cache-12345"))
    with pytest.raises(CompilerFailed, match="others can write to"):
        folder_of("key")


@pytest.mark.parametrize("planted", ["a folder that all write to", "a link", "a group's"])
def test_a_folder_that_others_can_write_to_is_no_place_for_libraries(tmp_path, monkeypatch, planted):
    cache, temporary = tmp_path / "cache", tmp_path / "temporary"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "given"))
    monkeypatch.setattr(compile_cache.tempfile, "gettempdir", lambda: str(temporary))
    mode = 0o1777 if planted == "a folder that all write to" else 0o770
    for place in (cache / "silo-oracle", tmp_path / "given"):
        place.mkdir(parents=True)
        place.chmod(mode)
        if planted == "a link":
            place.rename(f"{place}-of-somebody")
            place.symlink_to(f"{place}-of-somebody")
    ours = temporary / f"cache-{os.getuid()}"
    assert ours in folder_of("key").parents and ours in compile_cache.compiler_folder().parents
    assert ours.stat().st_mode & 0o777 == 0o700
    ours.chmod(mode)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "given"))
    for look in (lambda: folder_of("key"), compile_cache.compiler_folder):
        with pytest.raises(CompilerFailed, match=r"others can write to .*: set XDG_CACHE_HOME"):
            look()


def test_what_is_made_is_this_users_alone_whatever_the_umask(empty, monkeypatch):
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    before = os.umask(0o002)
    try:
        found = [compile_cache.compiler_folder() for _ in range(2)]
    finally:
        os.umask(before)
    assert found == [empty.parent / "compiler"] * 2 and folder_of("key").parent == empty
    assert [each.stat().st_mode & 0o777 for each in (found[0], found[0].parent)] == [0o700, 0o700]


def test_what_is_compiled_on_cuda_gives_the_same_numbers_every_time(monkeypatch):
    given = {}
    monkeypatch.setattr(torch, "compile", lambda graph, **options: given.update(options) or graph)
    _just_in_time(traced())
    known = torch._inductor.list_options()
    assert given["options"] == {"deterministic": True} and known.count("deterministic") == 1


def test_without_a_gpu_a_captured_program_is_called():
    total = torch.zeros(3)
    found = trace(scaled(2.0), [total, torch.ones(3)])
    replay = Captured(found.graph, found.arguments)
    assert replay()[0] == 6.0 and replay()[0] == 12.0 and total.tolist() == [4.0] * 3
