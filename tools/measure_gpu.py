#!/usr/bin/env python3
"""The steps of scripts/measure-gpu, which builds card first. Needs nothing but Python.

Each step is one or a few programs with a time that they may take. Their output is kept in the
folder beside results.json and results.md. A step that fails or takes too long is named there with
the reason, and the next one begins.

  facts     device, driver, commit
  costs     what forwards of both models take, and the placement that follows
  gpu       plain decoding, chains, card and auto with both models on the GPU, and llama-server
            plain and speculating on the same prompts in the same run
  cpu       the same with the drafter on the processor
  fast      what exactness costs: plain decoding and auto without it
  context   time to first token and speed-up behind long prompts
  streams   throughput and latency with several streams, card and llama-server
"""
import argparse
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Seconds that each step may take when all of them have eight minutes.
SECONDS = {"facts": 10, "costs": 80, "gpu": 110, "cpu": 70, "fast": 40, "context": 90, "streams": 80}
# With less time left than this no step begins.
LEAST = 15


def options():
    """What is measured, from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", help="the target: a GGUF file, or a model by name as card knows it")
    parser.add_argument("--draft", help="the draft model")
    parser.add_argument("--out", type=Path, default=None, help="folder for the results (default: measure-gpu-DATE)")
    parser.add_argument("--minutes", type=float, default=8.0, help="time for all steps (default 8)")
    parser.add_argument("--llama-server", default=shutil.which("llama-server"), help="a llama-server built for CUDA (default: that of the path, if there is one); it is compared if both models are files")
    parser.add_argument("--card", type=Path, default=ROOT / "target/release/card", help="the program (default: target/release/card)")
    parser.add_argument("--dry-run", action="store_true", help="on the processor, with a model of 135M weights and tiny lengths")
    args = parser.parse_args()
    if args.dry_run:
        args.target, args.draft = args.target or "smol", args.draft or "smol"
    if not args.target or not args.draft:
        parser.error("--target and --draft name the two models")
    if not args.card.is_file():
        parser.error(f"there is no program {args.card}; build it: cargo build --release -p card --features cuda")
    args.out = args.out or Path(f"measure-gpu-{time.strftime('%Y-%m-%d-%H%M')}")
    return args


class Sizes:
    """How much is asked in each step."""

    def __init__(self, dry):
        self.tokens, self.prompts = (4, 1) if dry else (96, 2)
        self.categories = ["code"] if dry else ["code", "maths", "chat", "edit"]
        self.lengths = [2] if dry else [2, 3, 4, 6, 8]
        # Tokens of long prompts.
        self.long = [100, 200] if dry else [8000, 32000]
        self.streams, self.stream_tokens = ([1, 2], 4) if dry else ([1, 4, 16, 64], 32)


class Run:
    """One run of all steps: its folder, its clock, and what was found."""

    def __init__(self, args):
        self.args, self.sizes = args, Sizes(args.dry_run)
        self.begun = time.monotonic()
        self.end = self.begun + 60 * args.minutes
        self.found = {"facts": {}, "steps": []}
        # Programs that serve, to be ended whatever happens.
        self.servers = []
        args.out.mkdir(parents=True, exist_ok=True)

    def left(self):
        return self.end - time.monotonic()

    def step(self, name, work):
        """Does a step within its time; what goes wrong is noted, and the next one begins."""
        allowed = min(SECONDS[name] * self.args.minutes / 8, self.left())
        noted = {"step": name, "allowed_s": round(allowed, 1)}
        self.found["steps"].append(noted)
        if allowed < min(LEAST, SECONDS[name]):
            noted["left_out"] = "no time was left"
            return
        start = time.monotonic()
        print(f"{name}: at most {allowed:.0f} s", flush=True)
        try:
            noted["result"] = work(start + allowed)
        except Exception as error:  # noqa: BLE001: a step that fails must not end the others
            noted["failed"] = str(error) or repr(error)
            print(f"  failed: {noted['failed']}", flush=True)
        finally:
            self.end_servers()
        noted["took_s"] = round(time.monotonic() - start, 1)
        self.save()

    def call(self, name, command, until, ok=(0,)):
        """Runs a program until then; its output is in NAME.log and returned."""
        log = self.args.out / f"{name}.log"
        with log.open("w") as out:
            out.write("$ " + " ".join(map(str, command)) + "\n")
            out.flush()
            process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=out, text=True, start_new_session=True)
            try:
                text, _ = process.communicate(timeout=max(1.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                end(process)
                raise RuntimeError(f"took too long; see {log.name}") from None
            out.write(text)
        if process.returncode not in ok:
            raise RuntimeError(f"ended with {process.returncode}; see {log.name}")
        return text

    def serve(self, name, command, until):
        """Starts a server and waits until it is healthy; returns its address."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        log = (self.args.out / f"{name}.log").open("w")
        process = subprocess.Popen([*map(str, command), "--port", str(port)], stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        self.servers.append(process)
        url = f"http://127.0.0.1:{port}"
        while time.monotonic() < until:
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended with {process.returncode}; see {name}.log")
            if healthy(url):
                return url
            time.sleep(0.2)
        raise RuntimeError(f"{name} did not begin to serve in time; see {name}.log")

    def end_servers(self):
        for process in self.servers:
            end(process)
        self.servers.clear()

    def save(self):
        (self.args.out / "results.json").write_text(json.dumps(self.found, indent=2) + "\n")
        (self.args.out / "results.md").write_text(markdown(self.found))


def end(process):
    """Ends a program and those that it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def healthy(url):
    try:
        with urllib.request.urlopen(url + "/health", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


def said(command):
    """What a program says, in one line; `None` if it cannot be run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, cwd=ROOT)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def models(run):
    """The flags that name both models."""
    return ["-m", run.args.target, "--draft", run.args.draft, "--offline"]


def facts(run, until):
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    found = run.found["facts"]
    found["device"] = said(query) or ("none (dry run)" if run.args.dry_run else "none")
    found["devices of card"] = run.call("devices", [run.args.card, "devices"], until).strip()
    found["CUDA compiler"] = (said(["nvcc", "--version"]) or "not found").splitlines()[-1]
    found["processor"] = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    found["commit"] = said(["git", "describe", "--always", "--dirty"]) or "unknown"
    found["card"] = said([str(run.args.card), "--version"]) or "unknown"
    found["target"], found["draft"] = run.args.target, run.args.draft
    server = run.args.llama_server
    found["llama-server"] = server if server and not run.args.dry_run else "not compared"
    found["date"] = time.strftime("%Y-%m-%d %H:%M %Z")
    if found["device"] == "none":
        raise RuntimeError("there is no GPU that nvidia-smi knows; --dry-run tests the script without one")
    return {}


def costs(run, until):
    """What forwards take, as `card selftest` and `card calibrate` have it."""
    card = run.args.card
    target = json.loads(run.call("selftest", [card, "selftest", "-m", run.args.target, "--draft", "none", "--offline", "--json"], until))
    calibrated = run.call("calibrate", [card, "calibrate", *models(run)], until)
    report = target[0]["report"]
    sizes = [{key: size[key] for key in ("rows", "class", "ms", "max_diff")} for size in report["sizes"]]
    return {"means": target[0]["means"], "sizes": sizes, "prefill": report["prefill"], "calibrate": calibrated}


def bench(run, name, flags, until):
    """A `card bench`: rows by category."""
    out = run.args.out / name
    command = [run.args.card, "bench", *models(run), "--tokens", run.sizes.tokens, "--prompts", run.sizes.prompts, "-o", out, *flags]
    run.call(name, command, until)
    report = json.loads((out / "bench.json").read_text())
    keys = ("name", "speed_up", "answer_speed_up", "tokens_per_second", "first_ms", "mean_accepted_length", "same_text", "runs")
    return [{"category": cell["category"], "rows": [{key: row[key] for key in keys} for row in cell["rows"]]} for cell in report["cells"]]


def asked(run):
    """The flags of the grid: categories and lengths of chains."""
    lengths = ",".join(map(str, run.sizes.lengths))
    return ["--category", ",".join(run.sizes.categories), "--draft-lens", lengths, "--ctx", 2048]


def llama(run, name, flags, until, context, streams=1):
    """Starts llama-server, all on the GPU, with these flags; `None` if there is none, or no room."""
    # It takes files only.
    files = Path(run.args.target).is_file() and Path(run.args.draft).is_file()
    if run.args.dry_run or not run.args.llama_server or not files:
        return None
    command = [run.args.llama_server, "-m", run.args.target, "-ngl", 99, "-c", context * streams, "-np", streams, "--cache-ram", 0, *flags]
    try:
        return run.serve(name, command, until)
    except RuntimeError as error:
        print(f"  not compared: {error}", flush=True)
        return None


def speculating(run):
    return ["-md", run.args.draft, "-ngld", 99, "--spec-type", "draft-simple,ngram-simple", "--spec-draft-n-max", 5, "--spec-draft-p-min", 0.6]


def device(run, name):
    """The flags that put the drafter there; a dry run has one device."""
    return [] if run.args.dry_run else ["--draft-device", name]


def on_gpu(run, until):
    # Servers that do not start leave time for the rest.
    soon = time.monotonic() + (until - time.monotonic()) / 3
    urls = {}
    for name, flags in (("llama-server-plain", []), ("llama-server-speculating", speculating(run))):
        url = llama(run, name, flags, soon, 2048)
        if url:
            urls[f"peer {url}"] = name
    peers = [flag for url in urls for flag in ("--peer", url.removeprefix("peer "))]
    cells = bench(run, "gpu", [*asked(run), *device(run, "CUDA0"), *peers], until)
    for cell in cells:
        for row in cell["rows"]:
            row["name"] = urls.get(row["name"], row["name"])
    return cells


def on_cpu(run, until):
    return bench(run, "cpu", [*asked(run), *device(run, "CPU")], until)


def fast(run, until):
    flags = ["--category", ",".join(run.sizes.categories), "--draft-lens", run.sizes.lengths[0], "--ctx", 2048, "--exactness", "fast"]
    return bench(run, "fast", [*flags, *device(run, "CUDA0")], until)


def long_prompt(tokens):
    """A prompt of about so many tokens, from the documents of the repository."""
    pages = sorted((ROOT / "docs").glob("*.md"))
    text = "\n\n".join(page.read_text() for page in pages)
    # About four characters a token.
    text = (text * (1 + 4 * tokens // max(1, len(text))))[: 4 * tokens]
    return f"{text}\n\nThe text above is documentation of a program. What does the program do, and how? Answer in your own words."


def context(run, until):
    """Speed-up and time to first token behind prompts of several lengths."""
    found = []
    for n, tokens in enumerate(run.sizes.long):
        file = run.args.out / f"prompt-{tokens}.jsonl"
        file.write_text(json.dumps({"prompt": long_prompt(tokens)}) + "\n")
        flags = [file, "--draft-lens", run.sizes.lengths[-1], "--ctx", int(1.4 * tokens) + 256]
        soon = time.monotonic() + (until - time.monotonic()) / (len(run.sizes.long) - n)
        try:
            cells = bench(run, f"context-{tokens}", [*flags, *device(run, "CUDA0")], soon)
            found.append({"tokens": tokens, "rows": cells[0]["rows"]})
        except RuntimeError as error:
            # A model may have no room for so many tokens.
            found.append({"tokens": tokens, "failed": str(error)})
    return found


def streams(run, until):
    """Throughput and latency by the number of streams."""
    most = max(run.sizes.streams)
    serve = [run.args.card, "serve", *models(run), *device(run, "CUDA0"), "--parallel", most, "--ctx", 1024, "--exactness", "fast"]
    soon = time.monotonic() + (until - time.monotonic()) / 2
    urls = {
        "card auto": run.serve("serve-auto", serve, soon),
        "card plain": run.serve("serve-plain", [*serve, "--mode", "plain"], soon),
        "llama-server plain": llama(run, "llama-streams-plain", [], soon, 1024, most),
        "llama-server speculating": llama(run, "llama-streams-speculating", speculating(run), soon, 1024, most),
    }
    urls = {name: url for name, url in urls.items() if url}
    prompts = run.args.out / "prompts.jsonl"
    subjects = ["rivers", "recursion", "hash tables", "tides", "bridges", "sorting", "vaccines", "compilers"]
    lines = [json.dumps({"prompt": f"Explain {subject} to a child of {age}."}) for age in range(6, 14) for subject in subjects]
    prompts.write_text("\n".join(lines) + "\n")
    out = run.args.out / "streams.json"
    command = [sys.executable, ROOT / "tools/load.py", "compare", *urls.values(), "--prompts", prompts, "--json", out,
               "--streams", ",".join(map(str, run.sizes.streams)), "--rounds", 1, "--tokens", run.sizes.stream_tokens]
    try:
        run.call("streams", command, until)
    except RuntimeError:
        # What was measured before the time was over counts.
        if not out.is_file():
            raise
    names = {url: name for name, url in urls.items()}
    return [{**row, "name": names[row["url"]]} for row in json.loads(out.read_text())]


def spread(values, places=2):
    return f"{values['median']:.{places}f} ({values['least']:.{places}f}–{values['most']:.{places}f})"


def table(head, rows):
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in [head, ["---"] * len(head), *rows]]
    return "\n".join(lines) + "\n"


def grid(cells):
    """Speed-ups by category, and how `auto` stands against the best of the others."""
    names = [row["name"] for row in cells[0]["rows"]]
    by_name = [{row["name"]: row for row in cell["rows"]} for cell in cells]
    rows = [[name, *(spread(cell[name]["speed_up"]) if name in cell else "" for cell in by_name)] for name in names]
    against = lambda own: [ratio(cell, own) for cell in by_name]
    rows.append(["auto / best schedule of card", *against(True)])
    if any(name.startswith("llama-server") for name in names):
        rows.append(["auto / best of llama-server", *against(False)])
    return table(["", *(cell["category"] for cell in cells)], rows)


def ratio(rows, own):
    """`auto` against the best of the others: of card's schedules, or of llama-server's."""
    others = [row for name, row in rows.items() if name != "auto" and name.startswith("llama-server") != own]
    if "auto" not in rows or not others:
        return ""
    speed = lambda row: row["tokens_per_second"]["median"]
    return f"{speed(rows['auto']) / max(max(map(speed, others)), 1e-9):.2f}"


def cost_of_exactness(exact, loose):
    """Plain decoding and auto under `exact` against `fast`, by category."""
    rows = []
    for exact_cell, fast_cell in zip(exact, loose):
        speeds = [{row["name"]: row["tokens_per_second"]["median"] for row in cell["rows"]} for cell in (exact_cell, fast_cell)]
        for name in ("plain", "auto"):
            one, other = (speed.get(name) for speed in speeds)
            if one and other:
                rows.append([exact_cell["category"], name, f"{one:.1f}", f"{other:.1f}", f"{100 * (1 - one / other):.1f} %"])
    return table(["", "", "exact, tokens/s", "fast, tokens/s", "cost"], rows)


def of_context(found):
    rows = []
    for entry in found:
        if "failed" in entry:
            rows.append([entry["tokens"], "failed", entry["failed"], ""])
            continue
        for row in entry["rows"]:
            rows.append([entry["tokens"], row["name"], spread(row["answer_speed_up"]), spread(row["first_ms"], 0)])
    return table(["prompt, tokens (about)", "", "speed-up of the answer", "time to first token, ms"], rows)


def plot(found):
    """Speed-up against context length, as bars of text: one line for each length and schedule."""
    bars = []
    for entry in found:
        for row in entry.get("rows", []):
            value = row["answer_speed_up"]["median"]
            bars.append(f"{entry['tokens']:>6}  {row['name']:<24} {'█' * round(10 * value)} {value:.2f}")
    return "```\n" + "\n".join(bars) + "\n```\n" if bars else ""


def of_streams(found):
    rows = [[row["streams"], row["name"], f"{row['tokens_per_second']:.1f}", f"{row['ratio']:.2f}",
             f"{row['first_ms'][0]:.0f} / {row['first_ms'][1]:.0f}", f"{row['gap_ms'][0]:.0f} / {row['gap_ms'][1]:.0f}"] for row in found]
    return table(["streams", "", "tokens/s", "against the first", "first token p50 / p95, ms", "gap p50 / p95, ms"], rows)


def markdown(found):
    """The results as a page."""
    results = {step["step"]: step["result"] for step in found["steps"] if step.get("result")}
    parts = ["# A pair on one GPU\n", table(["", ""], [[k, str(v).replace("\n", "<br>")] for k, v in found["facts"].items()])]
    if "costs" in results:
        cost = results["costs"]
        rows = [[s["rows"], s["class"], f"{s['ms']:.2f}", f"{s['max_diff']:.2g}"] for s in cost["sizes"]]
        parts += ["## What forwards cost\n", f"`exact` holds by: {cost['means']}.\n", table(["rows", "class", "ms", "largest difference of a logit"], rows)]
        parts += ["```", cost["calibrate"].strip(), "```\n"]
    for step, title in (("gpu", "Both models on the GPU"), ("cpu", "The drafter on the processor")):
        if step in results:
            parts += [f"## {title}\n", "Speed-up over plain decoding, median (least–most).\n", grid(results[step])]
    if "gpu" in results and "fast" in results:
        parts += ["## What `exact` costs\n", cost_of_exactness(results["gpu"], results["fast"])]
    if "context" in results:
        parts += ["## Long prompts\n", of_context(results["context"]), plot(results["context"])]
    if "streams" in results:
        parts += ["## Streams\n", "`--exactness fast`, since one class runs one stream at a time.\n", of_streams(results["streams"])]
    rows = [[s["step"], s.get("took_s", ""), s.get("left_out") or s.get("failed") or "done"] for s in found["steps"]]
    parts += ["## Steps\n", table(["step", "seconds", ""], rows)]
    return "\n".join(parts)


def main():
    run = Run(options())
    steps = {"facts": facts, "costs": costs, "gpu": on_gpu, "cpu": on_cpu, "fast": fast, "context": context, "streams": streams}
    for name, work in steps.items():
        run.step(name, lambda until, work=work: work(run, until))
        if name == "facts" and "failed" in run.found["steps"][0]:
            sys.exit(run.found["steps"][0]["failed"])
    print(f"written: {run.args.out}/results.json, {run.args.out}/results.md")
    failed = [step["step"] for step in run.found["steps"] if "failed" in step]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
