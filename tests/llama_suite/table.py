"""Prints how llama-server's tests went: table.py RESULTS LEAST.

Ends with status 1 if fewer than LEAST passed.
"""

import json
import sys
from collections import Counter, defaultdict


def main(path, least):
    files, failed = defaultdict(Counter), []
    with open(path) as lines:
        for line in lines:
            record = json.loads(line)
            file = record["test"].split("::")[0].rsplit("/", 1)[-1]
            files[file][record["outcome"]] += 1
            if record["outcome"] == "failed":
                failed.append((record["test"].split("/", 1)[-1], record["reason"]))
    print("| file | passed | failed | skipped |\n|---|---|---|---|")
    total = Counter()
    for file, counts in files.items():
        total += counts
        print(f"| {file} | {counts['passed']} | {counts['failed']} | {counts['skipped']} |")
    print(f"| **all** | {total['passed']} | {total['failed']} | {total['skipped']} |")
    print("\nNot passed, with the reason:\n")
    for test, why in failed:
        print(f"- {test}: {why}")
    if total["passed"] < least:
        sys.exit(f"error: {total['passed']} passed, and at least {least} should")


main(sys.argv[1], int(sys.argv[2]))
