"""Writes manual pages from what the program says of itself with --help."""

import re
import subprocess
from pathlib import Path

from stage import Stage, run, version


def pages(stage: Stage, folder: Path) -> list[Path]:
    """Writes card.1 and a page for each command into a folder, and returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = said(stage.program)
    commands = re.findall(r"^  ([a-z][a-z-]+)  +\S", section(whole, "Commands:"), re.MULTILINE)
    commands = [name for name in commands if name != "help"]
    made = [page(folder, "card", whole, [f"card-{name}" for name in commands])]
    for name in commands:
        made.append(page(folder, f"card-{name}", said(stage.program, name), ["card"]))
    return made


def said(program: Path, *words: str) -> str:
    """The help of a command, without colours and of a fixed width."""
    environment = {"PATH": "/usr/bin:/bin", "NO_COLOR": "1", "COLUMNS": "100", "HOME": "/nonexistent"}
    return run(program, *words, "--help", env=environment, stderr=subprocess.DEVNULL)


def section(text: str, title: str) -> str:
    """The lines below a title, up to the next one."""
    _, _, rest = text.partition(f"\n{title}\n")
    return re.split(r"\n(?=\S[^\n]*:\n)", rest)[0]


def page(folder: Path, name: str, text: str, others: list[str]) -> Path:
    """Writes one page: a first line for NAME, then the help as it is."""
    summary = text.strip().splitlines()[0].rstrip(".")
    lines = [
        f'.TH {name.upper()} 1 "" "card {version()}" "User commands"',
        ".SH NAME",
        f"{escaped(name)} \\- {escaped(summary)}",
        ".SH DESCRIPTION",
        ".nf",
        *(escaped(line) for line in text.rstrip().splitlines()),
        ".fi",
        ".SH SEE ALSO",
        ", ".join(f"\\fB{escaped(other)}\\fR(1)" for other in others),
    ]
    path = folder / f"{name}.1"
    path.write_text("\n".join(lines) + "\n")
    return path


def escaped(line: str) -> str:
    """A line whose characters mean nothing to roff."""
    line = line.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{line}" if line.startswith((".", "'")) else line
