"""Prints how llama-server's tests went: table.py RESULTS LEAST.

Ends with status 1 if fewer than LEAST passed in earnest.
"""

import json
import sys
from collections import Counter, defaultdict

OUTCOMES = ("passed", "failed", "vacuous", "skipped")


def row(name, counts):
    return f"| {name} | " + " | ".join(str(counts[outcome]) for outcome in OUTCOMES) + " |"


def main(path, least):
    files, others = defaultdict(Counter), defaultdict(list)
    with open(path) as lines:
        for line in lines:
            record = json.loads(line)
            outcome = record["outcome"]
            file = record["test"].split("::")[0].rsplit("/", 1)[-1]
            files[file][outcome] += 1
            if outcome != "passed":
                others[outcome].append((record["test"].split("/", 1)[-1], record.get("reason", "")))
    print("| file | " + " | ".join(OUTCOMES) + " |\n|---|" + "---|" * len(OUTCOMES))
    total = Counter()
    for file, counts in files.items():
        total += counts
        print(row(file, counts))
    print(row("**all**", total))
    titles = {
        "failed": "Not passed, with the reason",
        "vacuous": "Passed, but not in earnest, with the reason",
        "skipped": "Skipped, with the reason",
    }
    for outcome, title in titles.items():
        if others[outcome]:
            print(f"\n{title}:\n")
        for test, why in others[outcome]:
            print(f"- {test}: {why}")
    if total["passed"] < least:
        sys.exit(f"error: {total['passed']} passed in earnest, and at least {least} should")


main(sys.argv[1], int(sys.argv[2]))
