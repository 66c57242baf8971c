"""The example of the README, run as it stands there.

`python -m tests.process.readme_example` plays it against `make run` on port 3000 and writes what it saw into README.md.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
README = PROJECT / "README.md"
URL = "http://127.0.0.1:3000"
BLOCK = re.compile(r"(?<=```console\n).*?(?=^```)", re.DOTALL | re.MULTILINE)


def steps(text: str) -> list[tuple[str, str]]:
    """(command, output) of each step of the README's console block."""
    [block] = BLOCK.findall(text)
    parts = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    return [(command, output) for command, _, output in (part.partition("\n") for part in parts)]


def run(commands: list[str]) -> list[str]:
    """Runs the commands in one shell and returns what each of them printed."""
    mark = "--- next ---"
    script = "\n".join(f"{command}\nprintf '\\n%s\\n' '{mark}'" for command in commands)
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, check=True, cwd=PROJECT)
    # Like a terminal, the README has each output end with a line's end, whether or not curl printed one.
    return [output.strip("\n") + "\n" if output.strip() else "" for output in done.stdout.split(f"{mark}\n")[:-1]]


def main() -> None:
    """Writes the README's example anew."""
    text = README.read_text(encoding="utf-8")
    commands = [command for command, _ in steps(text)]
    block = "".join(f"$ {command}\n{output}" for command, output in zip(commands, run(commands), strict=True))
    README.write_text(BLOCK.sub(lambda _: block, text), encoding="utf-8")


if __name__ == "__main__":
    main()
