"""A package for Debian and its relatives: program, libraries, manual pages and a service.

The service is installed and not enabled: it needs keys first (/usr/share/doc/card-llm/README.Debian).
"""

import gzip
import hashlib
import os
import shutil
from pathlib import Path

import manual
from stage import DIST, ROOT, PackageError, Stage, made_at, run, version

NAME = "card-llm"
SOURCES = ROOT / "packaging" / "debian"
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
# The version of gcc that brought a version of libstdc++'s symbols.
GLIBCXX = {28: "10", 29: "11", 30: "12", 31: "13.1", 32: "13.1", 33: "14"}


def make(stage: Stage, home: str, maintainer: str) -> Path:
    """Writes the package and returns its path."""
    root = DIST / "deb"
    shutil.rmtree(root, ignore_errors=True)
    put(stage.program, root / "usr/bin/card", 0o755)
    for library in stage.libraries:
        put(library, root / "usr/lib/card" / library.name)
    share = root / "usr/share"
    for page in manual.pages(stage, DIST / "manual"):
        packed(page.read_bytes(), share / "man/man1" / f"{page.name}.gz")
    documents = share / "doc" / NAME
    put(SOURCES / "copyright", documents / "copyright")
    put(SOURCES / "README.Debian", documents / "README.Debian")
    packed((ROOT / "CHANGELOG.md").read_bytes(), documents / "changelog.gz")
    put(SOURCES / "card.toml", root / "etc/card/card.toml")
    unit = (ROOT / "deploy" / "card.service").read_text()
    if "/usr/local/bin/card" not in unit:
        raise PackageError("deploy/card.service names no program in /usr/local/bin any more")
    place(root / "lib/systemd/system/card.service", unit.replace("/usr/local/bin/card", "/usr/bin/card"))
    control(root, stage, home, maintainer)
    stamp(root)
    deb = DIST / f"{NAME}_{version()}_{MACHINES[stage.machine]}.deb"
    run("dpkg-deb", "--root-owner-group", "-Zxz", "--build", root, deb)
    return deb


def put(source: Path, target: Path, mode: int = 0o644) -> None:
    """Copies a file into the tree."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)


def place(target: Path, text: str, mode: int = 0o644) -> None:
    """Writes a text into the tree."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    target.chmod(mode)


def packed(content: bytes, target: Path) -> None:
    """Writes a compressed file that says nothing of when it was made."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(gzip.compress(content, 9, mtime=0))
    target.chmod(0o644)


def control(root: Path, stage: Stage, home: str, maintainer: str) -> None:
    """Writes the folder that tells dpkg about the package."""
    files = sorted(file for file in root.rglob("*") if file.is_file())
    size = sum(-(-file.stat().st_size // 1024) for file in files)
    depends = [
        f"libc6 (>= {'.'.join(map(str, stage.newest('GLIBC')))})",
        f"libstdc++6 (>= {gcc(stage.newest('GLIBCXX'))})",
        "libgcc-s1",
    ]
    text = (SOURCES / "control").read_text().format(
        version=version(),
        architecture=MACHINES[stage.machine],
        maintainer=maintainer,
        size=size,
        depends=", ".join(depends),
        home=home,
    )
    # Before the folder is there: it is not part of what is summed.
    sums = "".join(
        f"{hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()}  {file.relative_to(root)}\n"
        for file in files
    )
    place(root / "DEBIAN/control", text)
    place(root / "DEBIAN/md5sums", sums)
    place(root / "DEBIAN/conffiles", "/etc/card/card.toml\n")
    for name in ("postinst", "prerm", "postrm"):
        put(SOURCES / name, root / "DEBIAN" / name, 0o755)


def gcc(glibcxx: tuple[int, ...]) -> str:
    """The version of gcc whose libstdc++ has such symbols, like (3, 4, 30)."""
    part = glibcxx[2] if len(glibcxx) > 2 else 0
    return GLIBCXX.get(part, "14" if part > max(GLIBCXX) else "10")


def stamp(root: Path) -> None:
    """Gives every file and folder the time of the sources, and folders their mode."""
    for path in [root, *root.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)
        os.utime(path, (made_at(), made_at()))
