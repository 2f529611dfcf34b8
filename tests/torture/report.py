"""What was checked: a line each, as it comes."""

import time


class Report:
    def __init__(self):
        self.start, self.checks, self.failures = time.monotonic(), 0, []

    def check(self, name, fine, figures=""):
        """A line: whether it is as it should be, what was checked, and the figures."""
        self.checks += 1
        if not fine:
            self.failures.append(name)
        print(f"{'ok  ' if fine else 'FAIL'}  {name:58} {figures}", flush=True)

    def note(self, name, figures):
        """A line that cannot fail."""
        print(f"      {name:58} {figures}", flush=True)

    def end(self):
        seconds = time.monotonic() - self.start
        print(f"{self.checks} checks, {len(self.failures)} failed, {seconds:.0f} s")
        for name in self.failures:
            print(f"  failed: {name}")
        return 1 if self.failures else 0
