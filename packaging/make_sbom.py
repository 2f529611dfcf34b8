"""A bill of materials (CycloneDX): every crate that is compiled in, and llama.cpp.

It is read from what cargo resolves with the lock file, for the platform and the features of the
packages. Crates that only build or test others are left out: they are not in the program.
"""

import json
import re
import time
import uuid
from pathlib import Path

from stage import DIST, ROOT, PackageError, made_at, run, version

HASH = re.compile(r'name = "([^"]+)"\nversion = "([^"]+)"\nsource = "[^"]+"\nchecksum = "([0-9a-f]+)"')


def make(machine: str, home: str) -> Path:
    """Writes the bill for a machine, and returns its path."""
    target = f"{machine}-unknown-linux-gnu"
    features = ["--features", "card/portable", "--filter-platform", target]
    told = run("cargo", "metadata", "--format-version", "1", "--locked", *features, cwd=ROOT)
    metadata = json.loads(told)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    roots = [i for i, package in packages.items() if package["name"] == "card"]
    if len(roots) != 1:
        raise PackageError("there is not one crate of the name card")
    macros = {i for i, package in packages.items() if is_macro(package)}
    edges = linked(roots[0], nodes, macros)
    sums = {(name, number): found for name, number, found in HASH.findall((ROOT / "Cargo.lock").read_text())}
    components = [component(packages[i], sums) for i in edges if i != roots[0]]
    sys_crates = [i for i in edges if packages[i]["name"] == "llama-cpp-sys-2"]
    dependencies = [
        {"ref": ref(packages[i]), "dependsOn": sorted(ref(packages[to]) for to in tos)}
        for i, tos in edges.items()
    ]
    for i in sys_crates:
        components.append(llama(packages[i]))
        entry = next(entry for entry in dependencies if entry["ref"] == ref(packages[i]))
        entry["dependsOn"].append("llama.cpp")
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": timestamp(),
            "component": component(packages[roots[0]], sums) | {
                "type": "application",
                "externalReferences": [{"type": "vcs", "url": home}],
            },
        },
        "components": sorted(components, key=lambda c: (c["name"], c["version"])),
        "dependencies": sorted(dependencies, key=lambda d: d["ref"]),
    }
    # The same contents have the same number.
    number = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(document, sort_keys=True))
    document["serialNumber"] = f"urn:uuid:{number}"
    path = DIST / f"card-{version()}-linux-{machine}.cdx.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")
    return path


def is_macro(package: dict) -> bool:
    """Whether a crate runs in the compiler."""
    return any("proc-macro" in target["kind"] for target in package["targets"])


def linked(root: str, nodes: dict[str, dict], macros: set[str]) -> dict[str, list[str]]:
    """What is compiled into a crate: each crate with those that it links. Macros and what build
    scripts use run at build time only."""
    edges: dict[str, list[str]] = {}
    waiting = [root]
    while waiting:
        at = waiting.pop()
        if at in edges:
            continue
        kinds = {d["pkg"]: [k["kind"] for k in d["dep_kinds"]] for d in nodes[at]["deps"]}
        edges[at] = [to for to, of in kinds.items() if None in of and to not in macros]
        waiting += edges[at]
    return edges


def timestamp() -> str:
    """The time of the sources."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(made_at()))


def ref(package: dict) -> str:
    """A crate's name in the bill, as package URLs have it."""
    return f"pkg:cargo/{package['name']}@{package['version'].replace('+', '%2B')}"


def component(package: dict, sums: dict) -> dict:
    """What the bill says of a crate."""
    said = {
        "type": "library",
        "bom-ref": ref(package),
        "name": package["name"],
        "version": package["version"],
        "purl": ref(package),
    }
    if package.get("description"):
        said["description"] = " ".join(package["description"].split())
    if package.get("license"):
        # Cargo's older way to say "or".
        said["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    found = sums.get((package["name"], package["version"]))
    if found:
        said["hashes"] = [{"alg": "SHA-256", "content": found}]
    return said


def llama(package: dict) -> dict:
    """llama.cpp, whose sources the crate carries; its version is the crate's."""
    return {
        "type": "library",
        "bom-ref": "llama.cpp",
        "name": "llama.cpp",
        "version": f"as in llama-cpp-sys-2 {package['version']}",
        "licenses": [{"expression": "MIT"}],
    }
