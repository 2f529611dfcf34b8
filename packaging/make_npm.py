"""Two npm packages: one for this platform with the program, and one for all that starts it.

The second names the first as an optional dependency, with the platforms it is for, so npm fetches
the one that fits and no script runs at installation.
"""

import io
import json
import tarfile
from pathlib import Path

from stage import DIST, LICENSES, ROOT, Stage, made_at, version

MAIN = "card-llm"
# By the machine's name in headers: npm's name of it.
CPUS = {"x86_64": "x64", "aarch64": "arm64"}


def make(stage: Stage, home: str) -> list[Path]:
    """Writes both packages and returns their paths, the one for this platform first."""
    cpu = CPUS[stage.machine]
    common = {
        "version": version(),
        "license": "MIT OR Apache-2.0",
        "repository": {"type": "git", "url": f"git+{home}.git"},
    }
    platform = common | {
        "name": f"@{MAIN}/linux-{cpu}",
        "description": f"The program of {MAIN} for Linux on {cpu}",
        "os": ["linux"],
        "cpu": [cpu],
        "libc": ["glibc"],
        "files": ["bin", "lib"],
    }
    main = common | {
        "name": MAIN,
        "description": "Lossless LLM acceleration: cache-assisted parallel speculative decoding",
        "bin": {"card": "bin/card.js"},
        "files": ["bin"],
        "engines": {"node": ">=18"},
        "optionalDependencies": {f"@{MAIN}/linux-{name}": version() for name in CPUS.values()},
    }
    files = [(f"bin/{stage.program.name}", stage.program.read_bytes(), 0o755)]
    files += [(f"lib/card/{file.name}", file.read_bytes(), 0o644) for file in stage.libraries]
    starter = (ROOT / "packaging" / "npm" / "card.js").read_bytes()
    return [
        pack(platform, files),
        pack(main, [("bin/card.js", starter, 0o755), ("README.md", readme(home), 0o644)]),
    ]


def readme(home: str) -> bytes:
    """What the registry shows."""
    return f"""# card

The command `card` runs language models faster and writes the same text, token for token.

```sh
npm install --global {MAIN}
card generate -p "Write a quicksort in Python"    # fetches the default pair of models first
```

`card --help` shows the rest; the source is at {home}.
""".encode()


def pack(manifest: dict, files: list[tuple[str, bytes, int]]) -> Path:
    """Writes a package as `npm pack` does: a tar file whose names begin with `package/`."""
    files = [("package.json", json.dumps(manifest, indent=2).encode() + b"\n", 0o644), *files]
    files += [(name, (ROOT / name).read_bytes(), 0o644) for name in LICENSES]
    name = manifest["name"].removeprefix("@").replace("/", "-")
    path = DIST / f"{name}-{manifest['version']}.tgz"
    path.unlink(missing_ok=True)
    with tarfile.open(path, "w:gz", compresslevel=6) as archive:
        for name, content, mode in files:
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size, entry.mode, entry.mtime = len(content), mode, made_at()
            archive.addfile(entry, io.BytesIO(content))
    return path
