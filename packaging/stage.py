"""Builds the portable program and lays it out as it is installed.

A stage is a folder with `bin/card` and `lib/card/*.so`: the program finds its libraries and the
kernels for this processor in `../lib/card`, wherever the two folders are put together.
"""

import json
import os
import platform
import re
import shutil
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "target" / "package"
# The licences of what is inside, beside our own two.
LICENSES = ("LICENSE-MIT", "LICENSE-APACHE")


class PackageError(Exception):
    """What stops a package from being made, and what to do about it."""


@dataclass(frozen=True)
class Stage:
    """A program that is ready to be packed."""

    folder: Path

    @property
    def program(self) -> Path:
        return self.folder / "bin" / "card"

    @property
    def libraries(self) -> list[Path]:
        return sorted((self.folder / "lib" / "card").glob("*.so*"))

    @property
    def files(self) -> list[Path]:
        return [self.program, *self.libraries]

    @property
    def machine(self) -> str:
        """x86_64 or aarch64, as the program's header says."""
        header = self.program.read_bytes()[:20]
        kinds = {b"\x3e\x00": "x86_64", b"\xb7\x00": "aarch64"}
        if header[:4] != b"\x7fELF" or header[18:20] not in kinds:
            raise PackageError(f"{self.program} is no program for Linux on x86-64 or ARM64")
        return kinds[header[18:20]]

    def newest(self, symbol: str) -> tuple[int, ...]:
        """The newest version of a symbol, like GLIBC, that the program or a library asks for."""
        newest = (0, 0)
        for file in self.files:
            asked = run("objdump", "-T", file)
            for found in re.findall(rf"\b{symbol}_(\d+(?:\.\d+)+)\b", asked):
                newest = max(newest, tuple(map(int, found.split("."))))
        return newest


def run(*command, **more) -> str:
    """The output of a command; it must succeed."""
    words = [str(word) for word in command]
    if shutil.which(words[0]) is None:
        raise PackageError(f"{words[0]} is missing; install it (docs/build.md lists what packages need)")
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False, **more)
    if done.returncode != 0:
        raise PackageError(f"`{' '.join(words)}` ends with status {done.returncode}")
    return done.stdout


def version() -> str:
    """The version of all crates."""
    manifest = tomllib.loads((ROOT / "Cargo.toml").read_text())
    return manifest["workspace"]["package"]["version"]


def made_at() -> int:
    """Seconds since 1970 that files in packages carry: those of the last commit, so that the same
    sources give the same bytes."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given:
        return int(given)
    try:
        return int(run("git", "-C", ROOT, "log", "-1", "--format=%ct"))
    except (PackageError, ValueError):
        return 315_532_800  # 1980, the first year that a zip file can name


def build() -> Stage:
    """Compiles the program for all processors of this architecture, and stages it."""
    if platform.system() != "Linux":
        raise PackageError("packages are made on Linux")
    environment = dict(os.environ)
    # In place of what .cargo/config.toml says for a build that stays on its machine.
    cpu = {"x86_64": "x86-64-v2"}.get(platform.machine())
    environment["RUSTFLAGS"] = f"-C target-cpu={cpu}" if cpu else ""
    # llama.cpp's libraries find each other where they lie.
    environment["CMAKE_INSTALL_RPATH"] = "$ORIGIN"
    environment["CARGO_TARGET_DIR"] = str(ROOT / "target" / "portable")
    command = "cargo build --release --locked -p card --features portable"
    told = run(*command.split(), "--message-format=json-render-diagnostics", cwd=ROOT, env=environment)
    messages = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    return stage(built_program(messages), built_libraries(messages))


def built_program(messages: list[dict]) -> Path:
    """The program that cargo's messages name."""
    for message in messages:
        is_card = message.get("target", {}).get("name") == "card"
        if message["reason"] == "compiler-artifact" and is_card and message.get("executable"):
            return Path(message["executable"])
    raise PackageError("cargo built no program `card`")


def built_libraries(messages: list[dict]) -> list[Path]:
    """llama.cpp's libraries and kernels, where its build script put them."""
    for message in messages:
        built = message["reason"] == "build-script-executed"
        if built and "llama-cpp-sys-2" in message["package_id"]:
            out = Path(message["out_dir"])
            found = [*out.glob("lib*/lib*.so"), *out.glob("backends/*.so")]
            if not any("ggml-cpu" in file.name for file in found):
                raise PackageError(f"there are no kernels for processors in {out}/backends")
            return found
    raise PackageError("cargo does not say where llama.cpp was built")


def stage(program: Path, libraries: list[Path]) -> Stage:
    """Copies a program and its libraries into a fresh stage; debug information goes beside it."""
    folder = DIST / "stage"
    shutil.rmtree(folder, ignore_errors=True)
    made = Stage(folder)
    (folder / "lib" / "card").mkdir(parents=True)
    made.program.parent.mkdir()
    shutil.copyfile(program, made.program)
    made.program.chmod(0o755)
    run(ROOT / "scripts" / "split-debug", made.program)
    debug = made.program.with_name("card.debug")
    if debug.exists():
        shutil.move(debug, DIST / f"card-{version()}-linux-{made.machine}.debug")
    for library in libraries:
        copied = folder / "lib" / "card" / (soname(library) or library.name)
        shutil.copyfile(library, copied)  # follows links: one file for each name that is asked for
        copied.chmod(0o644)
        run("strip", "--strip-unneeded", copied)
    for name in LICENSES:
        shutil.copyfile(ROOT / name, folder / name)
    check(made)
    return made


def soname(library: Path) -> str | None:
    """The name by which programs ask for a library; a module that is only loaded has none."""
    found = re.search(r"\(SONAME\).*\[(.+)\]", run("readelf", "-d", library))
    return found.group(1) if found else None


def check(made: Stage) -> None:
    """Starts the staged program, with nothing in the environment that could help it."""
    said = run(made.program, "--version", env={"PATH": "/usr/bin:/bin"})
    if said.split() != ["card", version()]:
        raise PackageError(f"the staged program says it is {said.strip()!r}, not card {version()}")


def staged() -> Stage:
    """The stage of the last build."""
    made = Stage(DIST / "stage")
    if not made.program.exists():
        raise PackageError(f"nothing is staged in {made.folder}; leave out --staged to build")
    return made
