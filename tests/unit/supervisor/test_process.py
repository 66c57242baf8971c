"""prctl(2), in processes of its own."""

from __future__ import annotations

import os
import select
import subprocess
import sys

import pytest

from deora.supervisor import process

# The parent starts a child that ties its life to it, and says the child's id once that is done.
PARENT = """
import os, signal, subprocess, sys, time
code = (
    "import sys; from deora.supervisor.process import die_with; die_with(int(sys.argv[1]));"
    "print(1, flush=True); sys.stdin.read()"
)
child = subprocess.Popen([sys.executable, "-c", code, str(os.getpid())], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
sys.stdin.read()
"""

SUBREAPER = """
import os
from deora.supervisor.process import become_subreaper
become_subreaper()
read_end, write_end = os.pipe()
if os.fork() == 0:
    if os.fork() == 0:
        os.close(write_end)
        os.read(read_end, 1)
        os._exit(7)
    os._exit(0)
os.close(read_end)
assert os.wait()[1] == 0
os.close(write_end)
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, timeout=20
    )


def test_a_child_dies_with_its_parent() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
        parent.wait()
        # A pidfd is readable once its process has ended; the child's is not ours to wait for.
        poll = process_ended(child)
        os.close(child)
    assert poll


def process_ended(pidfd: int, timeout_s: float = 5) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))


def test_whoever_has_another_parent_ends() -> None:
    code = "from deora.supervisor.process import die_with; die_with(1); print('lives')"
    # Its parent is this process, which is not process 1.
    ended = run(code)
    assert (ended.returncode, ended.stdout) == (1, "")


def test_orphans_become_the_subreapers_children() -> None:
    ended = run(SUBREAPER)
    assert (ended.returncode, ended.stdout) == (0, "7\n"), ended.stderr


def test_a_name_is_cut_to_what_the_system_keeps() -> None:
    code = """
from pathlib import Path
from deora.supervisor.process import name_process
for name in ("deora", "deora:secondary-12"):
    name_process(name)
    print(Path("/proc/self/comm").read_text(), end="")
"""
    ended = run(code)
    assert ended.stdout.splitlines() == ["deora", "deora:secondary"], ended.stderr


def test_a_refusal_of_the_system_is_an_error() -> None:
    with pytest.raises(OSError, match="prctl"):
        process._prctl(-1, 0)


def test_it_waits_for_the_process_in_between() -> None:
    code = """
import os
from deora.supervisor.process import become_subreaper, die_with
become_subreaper()
read_end, write_end = os.pipe()
parent = os.getpid()
if os.fork() == 0:
    middle = os.getpid()
    if os.fork() == 0:
        os.close(write_end)
        die_with(parent, after=middle)
        os._exit(7)
    os.close(write_end)
    os.read(read_end, 1)  # until the parent lets it go
    os._exit(0)
os.close(read_end)
os.close(write_end)
assert os.wait()[1] == 0
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    ended = run(code)
    assert (ended.returncode, ended.stdout) == (0, "7\n"), ended.stderr


@pytest.mark.parametrize(("role", "expected"), [("replayer", (5,)), ("worker", (0,)), ("store", (0, -5))])
def test_what_everybody_waits_for_is_served_first(role: str, expected: tuple[int, ...]) -> None:
    """The store's claim is a right that not every user has; where it is refused, nothing changes."""
    load = "import os; from deora.supervisor.process import set_niceness"
    ended = run(f"{load}; before = os.nice(0); set_niceness({role!r}); print(os.nice(0) - before)")
    assert int(ended.stdout) in expected, ended.stderr


# -- ends


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("exit 0", "exit code 0"),
        ("exit 3", "exit code 3"),
        ("kill -9 $$", "killed by SIGKILL"),
        ("kill -15 $$", "killed by SIGTERM"),
        # A real-time signal has no name.
        ("kill -40 $$", "killed by signal 40"),
    ],
)
def test_how_a_child_ended(command: str, reason: str) -> None:
    child = subprocess.Popen(["sh", "-c", command])
    pidfd = os.pidfd_open(child.pid)
    assert process_ended(pidfd)
    assert process.exit_reason(pidfd) == reason
    # Whoever comes second is not told, and does not fail.
    assert process.exit_reason(pidfd) == "its exit status is not known"
    os.close(pidfd)
    child.wait()


def test_strangers_are_reaped_and_others_left_alone() -> None:
    code = """
import os, subprocess
from deora.supervisor.process import reap_strangers
stranger, known = (subprocess.Popen(["true"]) for _ in range(2))
alive = subprocess.Popen(["sleep", "60"])
for child in (stranger, known):
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
reap_strangers({known.pid, None})
reap_strangers({known.pid, None})
print(known.wait(), alive.poll())
try:
    os.waitpid(stranger.pid, 0)
except ChildProcessError:
    print("reaped")
alive.kill()
alive.wait()
"""
    ended = run(code)
    assert (ended.returncode, ended.stdout) == (0, "0 None\nreaped\n"), ended.stderr
