"""A container image, made without a daemon and without a registry.

The lower layer is a Debian of its own, which mmdebstrap unpacks from the mirrors that this machine
uses; the upper one is card. They are written as an OCI archive, which docker, podman, skopeo and
containerd load. Where docker runs, `docker build -f deploy/Dockerfile .` compiles inside instead.
"""

import gzip
import hashlib
import io
import json
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path

from stage import DIST, LICENSES, ROOT, PackageError, Stage, made_at, run, version

# What card needs of Debian: libraries, certificates, and pip for models of the catalogue.
PACKAGES = "libstdc++6,libgcc-s1,ca-certificates,python3,python3-pip"
# The user that it runs as, as in deploy/Dockerfile.
USER = 10001
HOME = "/home/card"
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
HEALTH = "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/health', timeout=4)"


@dataclass(frozen=True)
class Blob:
    """A file of an image, by its hash."""

    kind: str
    content: bytes

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def descriptor(self) -> dict:
        return {"mediaType": self.kind, "digest": f"sha256:{self.digest}", "size": len(self.content)}


def make(stage: Stage, home: str) -> Path:
    """Writes the archive and returns its path."""
    base = DIST / "image-base.tar"
    system(base)
    layers = [base.read_bytes(), card_layer(stage, base)]
    path = DIST / f"card-{version()}-linux-{MACHINES[stage.machine]}.oci.tar"
    archive(path, layers, settings(stage, home, layers))
    return path


def system(target: Path) -> None:
    """Unpacks a small Debian into a tar file."""
    sources = mirrors()
    skipped = ["doc", "man", "locale", "info", "lintian"]
    paths = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in skipped]
    # Debian's own licenses stay.
    paths.append("--dpkgopt=path-include=/usr/share/doc/*/copyright")
    run(
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        f"--include={PACKAGES}",
        *paths,
        "--aptopt=APT::Install-Recommends \"false\"",
        release(),
        target,
        *sources,
    )


def mirrors() -> list[Path]:
    """The files that name this machine's mirrors of Debian."""
    folder = Path("/etc/apt")
    found = [folder / "sources.list", *sorted(folder.glob("sources.list.d/*"))]
    found = [file for file in found if file.suffix in (".list", ".sources") and file.is_file()]
    found = [file for file in found if "deb" in file.read_text()]
    if not found:
        raise PackageError("no mirror of Debian is named in /etc/apt; build the image with deploy/Dockerfile")
    return found


def release() -> str:
    """The name of this machine's Debian, like bookworm."""
    said = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    name = said.get("VERSION_CODENAME", "").strip('"')
    if said.get("ID", "").strip('"') != "debian" or not name:
        raise PackageError("the image's base is made on Debian; elsewhere use deploy/Dockerfile")
    return name


def card_layer(stage: Stage, base: Path) -> bytes:
    """The program, its user, and the folder of models, as a tar file that lies over a base."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as tar:
        add(tar, "usr/local/bin/card", stage.program.read_bytes(), 0o755)
        folder(tar, "usr/local/lib/card", 0o755)
        for library in stage.libraries:
            add(tar, f"usr/local/lib/card/{library.name}", library.read_bytes())
        for name in LICENSES:
            add(tar, f"usr/local/share/doc/card/{name}", (ROOT / name).read_bytes())
        home = HOME.lstrip("/")
        for path in (home, f"{home}/.cache", f"{home}/.cache/card", f"{home}/.cache/huggingface"):
            folder(tar, path, 0o755, USER)
        # A name for the number, for programs that ask for one.
        account = f"card:x:{USER}:{USER}:card:{HOME}:/usr/sbin/nologin\n"
        add(tar, "etc/passwd", content(base, "etc/passwd") + account.encode())
        add(tar, "etc/group", content(base, "etc/group") + f"card:x:{USER}:\n".encode())
    return written.getvalue()


def content(base: Path, name: str) -> bytes:
    """A file of the base."""
    with tarfile.open(base) as tar:
        for path in (f"./{name}", name):
            try:
                found = tar.extractfile(path)
            except KeyError:
                continue
            if found is not None:
                return found.read()
    raise PackageError(f"{base} has no /{name}")


def add(tar: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    """Adds a file."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = len(data), mode, made_at()
    tar.addfile(entry, io.BytesIO(data))


def folder(tar: tarfile.TarFile, name: str, mode: int, owner: int = 0) -> None:
    """Adds a folder."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.mtime = tarfile.DIRTYPE, mode, made_at()
    entry.uid = entry.gid = owner
    tar.addfile(entry)


def settings(stage: Stage, home: str, layers: list[bytes]) -> dict:
    """How the image is started."""
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(made_at()))
    labels = {
        "org.opencontainers.image.title": "card",
        "org.opencontainers.image.version": version(),
        "org.opencontainers.image.source": home,
        "org.opencontainers.image.licenses": "MIT OR Apache-2.0",
    }
    second = 1_000_000_000
    return {
        "created": created,
        "architecture": MACHINES[stage.machine],
        "os": "linux",
        "config": {
            "User": f"{USER}:{USER}",
            "Env": [
                "PATH=/usr/local/bin:/usr/bin:/bin",
                f"HOME={HOME}",
                "CARD_HOST=0.0.0.0",
                "CARD_PORT=8080",
            ],
            "Entrypoint": ["card"],
            "Cmd": ["serve"],
            "WorkingDir": HOME,
            "ExposedPorts": {"8080/tcp": {}},
            "Volumes": {f"{HOME}/.cache/card": {}},
            "StopSignal": "SIGTERM",
            "Labels": labels,
            # Docker's, beside what OCI knows.
            "Healthcheck": {
                "Test": ["CMD", "python3", "-c", HEALTH],
                "Interval": 15 * second,
                "Timeout": 5 * second,
                "StartPeriod": 300 * second,
            },
        },
        "rootfs": {
            "type": "layers",
            "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers],
        },
        "history": [
            {"created": created, "created_by": "mmdebstrap"},
            {"created": created, "created_by": "scripts/package image"},
        ],
    }


def archive(path: Path, layers: list[bytes], config: dict) -> None:
    """Writes layers and settings as an OCI archive (image-spec: image layout)."""
    start = "application/vnd.oci.image"
    packed = [Blob(f"{start}.layer.v1.tar+gzip", gzip.compress(layer, 6, mtime=0)) for layer in layers]
    described = Blob(f"{start}.config.v1+json", compact(config))
    manifest = Blob(
        f"{start}.manifest.v1+json",
        compact({
            "schemaVersion": 2,
            "mediaType": f"{start}.manifest.v1+json",
            "config": described.descriptor,
            "layers": [layer.descriptor for layer in packed],
        }),
    )
    names = {"org.opencontainers.image.ref.name": version(), "io.containerd.image.name": f"card:{version()}"}
    index = {
        "schemaVersion": 2,
        "mediaType": f"{start}.index.v1+json",
        "manifests": [manifest.descriptor | {"annotations": names}],
    }
    with tarfile.open(path, "w") as tar:
        add(tar, "oci-layout", compact({"imageLayoutVersion": "1.0.0"}))
        add(tar, "index.json", compact(index))
        for blob in [described, manifest, *packed]:
            add(tar, f"blobs/sha256/{blob.digest}", blob.content)


def compact(value: dict) -> bytes:
    """JSON without blanks."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
