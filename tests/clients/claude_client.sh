#!/usr/bin/env bash
# Claude Code's own package against a running server, as it comes: it answers a question.
# Usage: claude_client.sh URL MODEL FOLDER, where FOLDER has node_modules
set -euo pipefail
url=$1 model=$2 claude=$3/node_modules/.bin/claude
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
mkdir "$home/work"
cd "$home/work"
# Its instructions and tools are some ten thousand tokens, which a slow machine reads for minutes.
said=$(HOME=$home CLAUDE_CONFIG_DIR=$home/config ANTHROPIC_BASE_URL=$url ANTHROPIC_AUTH_TOKEN=test-key \
  ANTHROPIC_MODEL=$model ANTHROPIC_SMALL_FAST_MODEL=$model API_TIMEOUT_MS=3000000 \
  CLAUDE_CODE_MAX_OUTPUT_TOKENS=32 CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 \
  timeout 3000 "$claude" -p "Say hi." --max-turns 1 --output-format json </dev/null 2>"$home/log") ||
  { cat "$home/log" >&2; echo "$said" >&2; exit 1; }
# What it says is the model's affair; that it was answered without an error is the server's.
python3 - "$said" <<'PY'
import json, sys
said = json.loads(sys.argv[1])
# With --output-format json, newer versions tell all events and the result last.
result = said[-1] if isinstance(said, list) else said
assert result["type"] == "result" and not result["is_error"], result
assert result["usage"]["output_tokens"] > 0, result
PY
echo "claude code: ok"
