"""Installs packages afresh, as their users do, and runs what was installed."""

import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

from stage import DIST, PackageError, version

# Nothing of the machine that makes packages helps them to run.
BARE = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
# A model that is small, and perfect for nothing.
MODEL, TARGET = "smol", "smollm2-135m"


class Trial:
    """A fresh folder in which one package is tried."""

    def __init__(self, kind: str):
        self.folder = DIST / "trial" / kind
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        models = Path(os.environ.get("CARD_HOME", Path.home() / ".cache/card")) / "models"
        home = self.folder / "card-home"
        home.mkdir()
        if models.is_dir():
            # What is fetched is shared; what is learned is not.
            (home / "models").symlink_to(models)
        self.environment = BARE | {"HOME": str(self.folder), "CARD_HOME": str(home)}

    def run(self, *command, status: int = 0, environment: dict | None = None) -> str:
        """The output of a command, which must end with this status."""
        words = [str(word) for word in command]
        if shutil.which(words[0], path=os.environ["PATH"]) is None:
            raise PackageError(f"{words[0]} is missing, which tries this package")
        done = subprocess.run(
            words,
            env=self.environment | (environment or {}),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        if done.returncode != status:
            said = (done.stdout + done.stderr)[-2000:]
            raise PackageError(f"`{' '.join(words)}` ends with {done.returncode}, not {status}:\n{said}")
        return done.stdout

    def card(self, *program) -> None:
        """Runs the installed program: its version, its list, a wrong flag, a few tokens."""
        said = self.run(*program, "--version")
        expect(said.split() == ["card", version()], f"it says its version is {said!r}")
        listed = self.run(*program, "list")
        expect(MODEL in listed, f"the catalogue has no {MODEL}")
        self.run(*program, "no-such-command", status=2)
        self.run(*program, "devices")
        self.generate(*program)

    def generate(self, *program) -> None:
        """Writes a few tokens, with a model that is here."""
        model = os.environ.get("CARD_TEST_MODEL")
        if model is None:
            here = json.loads(self.run(*program, "list", "--json"))
            if not any(found["name"] == TARGET for found in here):
                print(f"  not tried: writing text, since {MODEL} is not here (card pull {MODEL})")
                return
            model = MODEL
        # Nothing is compared or measured first: it is the package that is tried, not the machine.
        plain = ["--draft", "none", "--mode", "plain", "--exactness", "fast", "--kernels", "ggml"]
        text = self.run(*program, "generate", "-m", model, *plain, "-n", "8", "-p", "Once upon a time")
        expect(len(text.split()) > 3, f"it wrote {text!r}")

    def linked(self, program: Path) -> None:
        """All libraries of a program are found, and llama.cpp's lie where they were installed."""
        for line in self.run("ldd", program).splitlines():
            expect("not found" not in line, f"{program.name} does not find {line.strip()}")
            if "libllama" in line or "libggml" in line:
                place = Path(line.split("=>")[1].split()[0]).resolve()
                expect(place.is_relative_to(self.folder.resolve()), f"{place} is not of this package")


def expect(holds: bool, otherwise: str) -> None:
    """Ends the trial unless something holds."""
    if not holds:
        raise PackageError(otherwise)


def the(pattern: str) -> Path:
    """The one file of this version that a pattern names."""
    found = sorted(DIST.glob(pattern))
    if len(found) != 1:
        raise PackageError(f"{len(found)} files in {DIST} are called {pattern}; run scripts/package first")
    return found[0]


def wheel() -> None:
    """pip into a fresh virtual environment, without any index."""
    trial = Trial("wheel")
    venv = trial.folder / "venv"
    trial.run("python3", "-m", "venv", venv, environment={"PATH": os.environ["PATH"]})
    pip = [venv / "bin/python", "-m", "pip", "--disable-pip-version-check"]
    trial.run(*pip, "install", "--quiet", "--no-index", the("card_llm-*.whl"))
    trial.linked(venv / "bin/card")
    trial.card(venv / "bin/card")
    said = trial.run(venv / "bin/python", "-m", "card_llm", "--version")
    expect(said.split() == ["card", version()], f"as a module it says its version is {said!r}")
    trial.run(*pip, "uninstall", "--quiet", "--yes", "card-llm")
    left = [file for file in ("bin/card", "lib/card/libllama.so.0") if (venv / file).exists()]
    expect(not left, f"pip leaves {left}")


def npm() -> None:
    """npm into a fresh folder, without a registry."""
    trial = Trial("npm")
    node = {"PATH": os.environ["PATH"]}
    packages = [the("card-llm-linux-*.tgz"), the(f"card-llm-{version()}.tgz")]
    words = ["npm", "install", "--prefix", trial.folder, "--offline", "--no-audit", "--no-fund", "--loglevel=error"]
    trial.run(*words, *packages, environment=node)
    trial.environment |= node
    program = trial.folder / "node_modules/.bin/card"
    real = next((trial.folder / "node_modules/@card-llm").glob("linux-*/bin/card"))
    trial.linked(real)
    trial.card(program)
    shutil.rmtree(trial.folder / "node_modules/@card-llm")
    trial.run(program, "--version", status=1)


def deb() -> None:
    """dpkg unpacks it; nothing is installed on this machine."""
    trial = Trial("deb")
    package = the("card-llm_*.deb")
    root = trial.folder / "root"
    trial.run("dpkg-deb", "--extract", package, root)
    trial.run("dpkg-deb", "--control", package, trial.folder / "control")
    sums = "cd root && md5sum --quiet --check ../control/md5sums"
    trial.run("sh", "-c", sums)
    for script in ("postinst", "prerm", "postrm"):
        trial.run("sh", "-n", trial.folder / "control" / script)
    trial.linked(root / "usr/bin/card")
    trial.card(root / "usr/bin/card")
    for name in ("man/man1/card.1.gz", "man/man1/card-serve.1.gz", "doc/card-llm/copyright"):
        expect((root / "usr/share" / name).is_file(), f"/usr/share/{name} is missing")
    unit = root / "lib/systemd/system/card.service"
    expect("ExecStart=/usr/bin/card serve" in unit.read_text(), "the service starts another program")
    if shutil.which("lintian"):
        # Static libraries of crates, and a name that Debian has no policy for.
        tags = "embedded-library,no-manual-page,bad-distribution-in-changes-file,initial-upload-closes-no-bugs"
        trial.run("lintian", "--fail-on", "error", "--suppress-tags", tags, package)


def image() -> None:
    """Unpacks the layers, and runs the program inside as its user."""
    trial = Trial("image")
    layout, root = trial.folder / "layout", trial.folder / "root"
    unpack(the("card-*.oci.tar"), layout)
    index = json.loads((layout / "index.json").read_text())
    manifest = blob(layout, index["manifests"][0]["digest"])
    config = blob(layout, manifest["config"]["digest"])
    expect(config["config"]["User"] == "10001:10001", "it runs as root")
    for layer in manifest["layers"]:
        unpack(layout / "blobs" / layer["digest"].replace(":", "/"), root)
    if shutil.which("skopeo"):
        trial.run("skopeo", "inspect", f"oci:{layout}")
    inside = "mount -t proc proc proc && exec chroot --userspec=10001:10001 . \"$@\""
    enter = ["unshare", "--mount", "sh", "-c", f"cd '{root}' && {inside}", "sh", "/usr/bin/env", "HOME=/home/card"]
    try:
        said = trial.run(*enter, "/usr/local/bin/card", "--version")
    except PackageError as error:
        print(f"  not tried: inside the image, since this machine lets nobody mount ({str(error)[-80:].strip()!r})")
        trial.linked(root / "usr/local/bin/card")
        trial.card(root / "usr/local/bin/card")
        return
    expect(said.split() == ["card", version()], f"it says its version is {said!r}")
    trial.run(*enter, "CARD_HOME=/tmp/card", "/usr/local/bin/card", "devices")
    trial.run(*enter, "/usr/bin/python3", "-m", "pip", "--version")
    trial.card(root / "usr/local/bin/card")


def unpack(archive: Path, folder: Path) -> None:
    """Unpacks a tar file that was made here."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["tar", "-xf", archive, "-C", folder, "--exclude=./dev/*", "--exclude=dev/*"], check=True)


def blob(layout: Path, digest: str) -> dict:
    """A JSON file of an image layout."""
    return json.loads((layout / "blobs" / digest.replace(":", "/")).read_text())


def sbom() -> None:
    """The bill follows CycloneDX's schema, and has a licence for each crate."""
    trial = Trial("sbom")
    path = the("card-*.cdx.json")
    bill = json.loads(path.read_text())
    nameless = [c["name"] for c in bill["components"] if "licenses" not in c]
    expect(not nameless, f"no licence is named for {nameless}")
    venv = trial.folder / "venv"
    # The schema comes with a package of Python's, so this needs the index.
    online = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/root")}
    trial.run("python3", "-m", "venv", venv, environment=online)
    trial.run(venv / "bin/pip", "install", "--quiet", "cyclonedx-python-lib[json-validation]==11.*", environment=online)
    check = (
        "import sys; from cyclonedx.schema import SchemaVersion; "
        "from cyclonedx.validation.json import JsonStrictValidator; "
        "wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read()); "
        "sys.exit(str(wrong) if wrong else 0)"
    )
    trial.run(venv / "bin/python", "-c", check, path)


def sums() -> None:
    """The checksums fit."""
    subprocess.run(["sha256sum", "--quiet", "--check", "SHA256SUMS"], cwd=DIST, check=True)
