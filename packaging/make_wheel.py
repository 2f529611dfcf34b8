"""A Python wheel: `pip install card-llm`, then `card`.

The program goes where scripts go and its libraries where data goes, which are `bin/` and
`lib/card/` of the same environment. A wheel is a zip file with a list of what is in it (PEP 427),
so nothing but Python is needed to write one.
"""

import base64
import hashlib
import time
import zipfile
from pathlib import Path

from stage import DIST, LICENSES, ROOT, Stage, made_at, version

NAME = "card_llm"

WHEEL = """\
Wheel-Version: 1.0
Generator: card scripts/package
Root-Is-Purelib: false
Tag: py3-none-{platform}
"""

METADATA = """\
Metadata-Version: 2.4
Name: card-llm
Version: {version}
Summary: Lossless LLM acceleration: cache-assisted parallel speculative decoding
License-Expression: MIT OR Apache-2.0
License-File: LICENSE-MIT
License-File: LICENSE-APACHE
Project-URL: Source, {home}
Keywords: llm,inference,speculative-decoding,llama.cpp
Classifier: Environment :: Console
Classifier: Operating System :: POSIX :: Linux
Classifier: Topic :: Scientific/Engineering :: Artificial Intelligence
Requires-Python: >=3.8
Description-Content-Type: text/markdown

# card

The command `card` runs language models faster and writes the same text, token for token.

```sh
pip install card-llm
card generate -p "Write a quicksort in Python"    # fetches the default pair of models first
```

`card --help` shows the rest; the source is at {home}.
"""


def platform(stage: Stage) -> str:
    """The platform's name (PEP 600): the oldest glibc on which the program starts."""
    major, minor = stage.newest("GLIBC")[:2]
    return f"manylinux_{major}_{minor}_{stage.machine}"


def make(stage: Stage, home: str, sbom: Path | None = None) -> Path:
    """Writes the wheel and returns its path."""
    named = f"{NAME}-{version()}"
    info, data = f"{named}.dist-info", f"{named}.data"
    tag = platform(stage)
    contents: list[tuple[str, bytes, int]] = []
    for file in sorted((ROOT / "packaging" / NAME).glob("*.py")):
        contents.append((f"{NAME}/{file.name}", file.read_bytes(), 0o644))
    contents.append((f"{data}/scripts/card", stage.program.read_bytes(), 0o755))
    for library in stage.libraries:
        contents.append((f"{data}/data/lib/card/{library.name}", library.read_bytes(), 0o644))
    for name in LICENSES:
        contents.append((f"{info}/licenses/{name}", (ROOT / name).read_bytes(), 0o644))
    if sbom is not None:
        contents.append((f"{info}/sboms/{sbom.name}", sbom.read_bytes(), 0o644))
    said = METADATA.format(version=version(), home=home)
    contents.append((f"{info}/METADATA", said.encode(), 0o644))
    contents.append((f"{info}/WHEEL", WHEEL.format(platform=tag).encode(), 0o644))
    record = "".join(f"{name},{digest(content)},{len(content)}\n" for name, content, _ in contents)
    record += f"{info}/RECORD,,\n"
    contents.append((f"{info}/RECORD", record.encode(), 0o644))
    wheel = DIST / f"{named}-py3-none-{tag}.whl"
    write(wheel, contents)
    return wheel


def digest(content: bytes) -> str:
    """A hash as RECORD has it."""
    hashed = base64.urlsafe_b64encode(hashlib.sha256(content).digest())
    return "sha256=" + hashed.rstrip(b"=").decode()


def write(wheel: Path, contents: list[tuple[str, bytes, int]]) -> None:
    """Writes a zip file of names, bytes and modes."""
    when = time.gmtime(max(made_at(), 315_532_800))[:6]
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, content, mode in contents:
            entry = zipfile.ZipInfo(name, when)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o100000 | mode) << 16
            entry.create_system = 3  # Unix: the mode counts
            archive.writestr(entry, content)
