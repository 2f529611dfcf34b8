#!/usr/bin/env bash
# Codex's own package against a running server, as it comes: it answers a question.
# Usage: codex_client.sh BASE_URL MODEL FOLDER, where FOLDER has node_modules
set -euo pipefail
url=$1 model=$2 codex=$3/node_modules/.bin/codex
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
mkdir "$home/work"
cd "$home/work"
said=$(CODEX_HOME=$home CARD_KEY=test-key timeout 600 "$codex" exec --skip-git-repo-check \
  -c "model=\"$model\"" -c 'model_provider="card"' \
  -c "model_providers.card={name=\"card\",base_url=\"$url\",env_key=\"CARD_KEY\",wire_api=\"responses\"}" \
  "Say hi." </dev/null 2>"$home/log") || { cat "$home/log" >&2; exit 1; }
[ -n "$said" ] || { cat "$home/log" >&2; echo "error: Codex said nothing" >&2; exit 1; }
echo "codex: ok"
