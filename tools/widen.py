#!/usr/bin/env python3
"""Makes a small Llama model as dear to run as a large one, without changing what it says.

  tools/widen.py small.gguf wide.gguf [--times 16]        (needs: pip install gguf)

For measuring schedules on a device that is too fast for the models at hand: the answers and
what a draft model makes of them are real, the weights that are read and multiplied are as many
as a large model has, and only its wisdom is missing. Say so beside every figure.

Every matrix is padded with zeros, so what the small model computes goes on in a corner of the
wide one. RMSNorm divides by the root of a mean, which is smaller by `times` as zeros join it;
its weights make up for that by the root of `times`, which has to be whole, so that nothing is
rounded. 16 makes a model of 25 billion weights of SmolLM2 135M, 4 one of 1.7 billion.
"""
import argparse
import math
import sys

import gguf
import numpy as np

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("small")
parser.add_argument("wide")
parser.add_argument("--times", type=int, default=16, help="how much wider; a power of 4 (default 16)")
args = parser.parse_args()

TIMES, ROOT = args.times, math.isqrt(args.times)
if TIMES < 4 or ROOT * ROOT != TIMES or ROOT & (ROOT - 1):
    sys.exit("--times must be 4, 16, 64, …")
small = gguf.GGUFReader(args.small)
arch = small.get_field("general.architecture").contents()
if arch != "llama":
    sys.exit(f"{args.small} is of the family {arch}; only llama is padded so that nothing changes")

WIDER = ["embedding_length", "feed_forward_length", "attention.head_count", "attention.head_count_kv"]
EPSILON = f"{arch}.attention.layer_norm_rms_epsilon"


def widened(key, value):
    """What becomes of a number in the model's description."""
    if key in [f"{arch}.{name}" for name in WIDER]:
        return value * TIMES
    return value / TIMES if key == EPSILON else value


def shape(tensor):
    """Rows and bytes (or numbers) of a row, as stored."""
    rows, width = (1, *tensor.data.shape)[-2:]
    if tensor.name == "rope_freqs.weight":  # as long as half a head, which stays
        return rows, width
    # One row for each token of the vocabulary, which stays too.
    words = tensor.name in ("token_embd.weight", "output.weight")
    return rows if words or tensor.data.ndim == 1 else rows * TIMES, width * TIMES


wide = gguf.GGUFWriter(args.wide, arch)
for key, field in small.fields.items():
    if key.startswith("GGUF.") or key == "general.architecture":
        continue
    inner = field.types[1] if len(field.types) > 1 else None
    wide.add_key_value(key, widened(key, field.contents()), field.types[0], sub_type=inner)
for tensor in small.tensors:
    rows, width = shape(tensor)
    size = (width,) if tensor.data.ndim == 1 else (rows, width)
    kind = np.dtype(tensor.data.dtype)
    wide.add_tensor_info(tensor.name, size, kind, rows * width * kind.itemsize, raw_dtype=tensor.tensor_type)
wide.write_header_to_file()
wide.write_kv_data_to_file()
wide.write_ti_data_to_file()
for i, tensor in enumerate(small.tensors, 1):
    rows, width = shape(tensor)
    padded = np.zeros((rows, width), tensor.data.dtype)
    data = np.atleast_2d(tensor.data)
    padded[: data.shape[0], : data.shape[1]] = data / ROOT if "_norm." in tensor.name else data
    wide.write_tensor_data(padded[0] if tensor.data.ndim == 1 else padded)
    if sys.stderr.isatty():
        print(f"\r{i} of {len(small.tensors)} tensors", end="", file=sys.stderr)
wide.close()
print(f"\r{args.wide} is written", file=sys.stderr)
