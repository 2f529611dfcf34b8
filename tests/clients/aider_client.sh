#!/usr/bin/env bash
# aider against a running server, as it comes: it is asked for a function, and takes the answer.
# Usage: aider_client.sh BASE_URL MODEL AIDER, where AIDER is its program
set -euo pipefail
url=$1 model=$2 aider=$3
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
mkdir "$home/work"
cd "$home/work"
printf 'def add(a, b):\n    return a + b\n' >calc.py
said=$(HOME=$home OPENAI_API_BASE=$url OPENAI_API_KEY=test-key LITELLM_LOCAL_MODEL_COST_MAP=True \
  timeout 3000 "$aider" --model "openai/$model" --no-git --yes-always --no-analytics --no-check-update \
  --no-show-model-warnings --no-pretty --map-tokens 0 --edit-format whole \
  --message "Add a function sub(a, b) to calc.py that returns a - b." calc.py </dev/null 2>&1) ||
  { echo "$said" >&2; exit 1; }
# What it makes of the file is the model's affair; that it was answered is the server's.
grep -qE 'Tokens: .* sent, [1-9].* received' <<<"$said" || { echo "$said" >&2; exit 1; }
python3 -c 'import ast; ast.parse(open("calc.py").read())'
echo "aider: ok"
