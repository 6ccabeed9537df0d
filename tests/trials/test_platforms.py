"""What only Unix has is asked for where it is, so that the packages work elsewhere."""

import subprocess
import sys

ELSEWHERE = """
import os, pathlib, psutil, sys, torch._dynamo, torch._inductor.config
for name in ("getuid", "geteuid", "killpg", "setsid", "fork", "uname", "sched_getaffinity", "O_DIRECTORY"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("resource", "fcntl", "pwd", "grp", "termios"):
    sys.modules[name] = None

from trials.checkpoints import Store
from trials.engine.compile_cache import folder_of
from trials.process import peak_memory

assert peak_memory(torch.device("cpu")) == 0
assert folder_of("key").name == "key"
store = Store(sys.argv[1])
file = store.write("folder/file", {"weight": torch.ones(2)})
assert store.read(file)["weight"].tolist() == [1, 1]
"""


def test_it_works_without_what_windows_lacks(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(tmp_path / "storage")],
        capture_output=True,
        text=True,
        env={"XDG_CACHE_HOME": "/proc/none", "TMPDIR": str(tmp_path), "PYTHONPATH": ":".join(sys.path)},
    )
    assert ended.returncode == 0, ended.stderr
