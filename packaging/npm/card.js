#!/usr/bin/env node
// Starts the program that the package for this platform holds.
"use strict";

const { spawn } = require("node:child_process");
const path = require("node:path");

const platform = `@card-llm/${process.platform}-${process.arch}`;

function program() {
  try {
    const manifest = require.resolve(`${platform}/package.json`);
    return path.join(path.dirname(manifest), "bin", "card");
  } catch {
    console.error(
      `error: ${platform} is not installed. Either there is no card for this platform, or npm left out ` +
        "optional packages: install again without --omit=optional",
    );
    process.exit(1);
  }
}

const child = spawn(program(), process.argv.slice(2), { stdio: "inherit" });
child.on("error", (error) => {
  console.error(`error: cannot start card: ${error.message}`);
  process.exit(1);
});
// A terminal sends its signals to both; those that come to this process alone are passed on.
for (const signal of ["SIGTERM", "SIGHUP"]) {
  process.on(signal, () => child.kill(signal));
}
process.on("SIGINT", () => {});
child.on("exit", (code, signal) => {
  if (signal) {
    // Ends as the program did, which shells tell apart from a status.
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  } else {
    process.exit(code);
  }
});
