"""Makes the models that llama-server's tests run on: models.py FOLDER.

The tests' own models lie on a hub. These stand for them: small ones with made-up weights, always
the same. Those that write say nothing sensible and never end a text.

| file | what it is |
|---|---|
| text.gguf | a Llama of two layers, 8192 tokens of context, places to fill in, ChatML |
| text-00001-of-00003.gguf, … | the same in three files |
| embeddings.gguf | a BERT of two layers, 1024 tokens of context |
| ranks.gguf | one that scores a text by the words of the question that stand in it |
"""

import os
import random
import struct
import sys
from array import array

# Types of a GGUF file's metadata.
SHORT, NUMBER, SIGNED, FLOAT, FLAG, TEXT, LIST = 2, 4, 5, 6, 7, 8, 9
ALIGNMENT = 32
# Types of tokens.
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6

WORDS = """the of and to in is it you that he was for on are with as his they be at one have this
from or had by hot but some what there we can out other were all your when up use word how said an
each she which do their time if will way about many then them would write like so these her long
make thing see him two has look more day could go come did my sound no most number who over know
water than call first people may down side been now find any new work part take get place made live
where after back little only round man year came show every good me give our under name very
through just form much great think say help low line before turn cause same mean differ move right
boy old too does tell sentence set three want air well also play small end put home read hand port
large spell add even land here must big high such follow act why ask men change went light kind off
need house picture try us again animal point mother world near build self earth father machine
learning test hello life meaning believe joke model city
This What Hello The Once You Write Book Image""".split()
# What stands in a BERT's vocabulary beside words.
BERT_MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# Marks of chat templates, which would be long without a token of their own. The last letter of one
# is left off: a token of the whole name ends answers, and puts a space before what follows.
MARKS = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|")


def text(value):
    value = value.encode()
    return struct.pack("<Q", len(value)) + value


class File:
    """A GGUF file that is made key by key and tensor by tensor."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.keys, self.tensors = [], []

    def put(self, key, kind, value):
        self.keys.append(entry(key, kind, value))

    def text(self, key, value):
        self.put(key, TEXT, text(value))

    def number(self, key, value):
        self.put(key, NUMBER, struct.pack("<I", value))

    def float(self, key, value):
        self.put(key, FLOAT, struct.pack("<f", value))

    def flag(self, key, value):
        self.put(key, FLAG, struct.pack("<?", value))

    def texts(self, key, values):
        head = struct.pack("<IQ", TEXT, len(values))
        self.put(key, LIST, head + b"".join(map(text, values)))

    def list(self, key, kind, values):
        head = struct.pack("<IQ", kind, len(values))
        self.put(key, LIST, head + array("i" if kind == SIGNED else "f", values).tobytes())

    def weights(self, name, shape, weights):
        """A tensor (F32); the first number of its shape is that of the weights in a row."""
        head = text(name) + struct.pack("<I", len(shape))
        head += b"".join(struct.pack("<Q", n) for n in shape) + struct.pack("<I", 0)
        self.tensors.append((head, array("f", weights).tobytes()))

    def spread(self, name, shape, width, middle=0.0):
        """A tensor whose weights lie about `middle`, mostly no further than `width`."""
        count = 1
        for n in shape:
            count *= n
        self.weights(name, shape, (self.random.gauss(middle, width) for _ in range(count)))

    def write(self, path):
        write_part(path, self.keys, self.tensors)

    def write_in_parts(self, path, count):
        """The same in `count` files beside `path`, with the names that llama.cpp gives parts."""
        each = -(-len(self.tensors) // count)
        for number in range(count):
            keys = [
                *(self.keys if number == 0 else ()),
                entry("split.no", SHORT, struct.pack("<H", number)),
                entry("split.count", SHORT, struct.pack("<H", count)),
                entry("split.tensors.count", SIGNED, struct.pack("<i", len(self.tensors))),
            ]
            own = self.tensors[number * each : (number + 1) * each]
            stem = path.removesuffix(".gguf")
            write_part(f"{stem}-{number + 1:05}-of-{count:05}.gguf", keys, own)


def entry(key, kind, value):
    """A key of a file's metadata."""
    return text(key) + struct.pack("<I", kind) + value


def write_part(path, keys, tensors):
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)) + b"".join(keys)
    data = bytearray()
    for info, weights in tensors:
        head += info + struct.pack("<Q", len(data))
        data += weights + bytes(-len(weights) % ALIGNMENT)
    head += bytes(-len(head) % ALIGNMENT)
    with open(path + ".part", "wb") as file:
        file.write(head + data)
    os.replace(path + ".part", path)


def text_vocabulary():
    """Tokens like SentencePiece's, with their types."""
    tokens = [("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL)]
    tokens += [(f"<0x{byte:02X}>", BYTE) for byte in range(256)]
    control = ("im_start", "im_end", "fim_prefix", "fim_suffix", "fim_middle")
    tokens += [(f"<|{name}|>", CONTROL) for name in control]
    # A word comes together letter by letter, so all that it begins with are tokens too.
    plain = ["\u2581"] + [chr(letter) for letter in range(ord("!"), ord("~") + 1)]
    long = ["\u2581" + word for word in WORDS] + list(MARKS)
    plain += [word[:end] for word in long for end in range(2, len(word) + 1)]
    return tokens + [(token, NORMAL) for token in dict.fromkeys(plain)]


CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + "
    "message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def write_text_model(path):
    width, heads, feed, layers = 128, 2, 256, 2
    file = File("text")
    tokens = text_vocabulary()
    file.text("general.architecture", "llama")
    file.text("general.name", "Made up")
    file.number("llama.context_length", 8192)
    file.number("llama.embedding_length", width)
    file.number("llama.block_count", layers)
    file.number("llama.feed_forward_length", feed)
    file.number("llama.attention.head_count", heads)
    file.number("llama.attention.head_count_kv", heads)
    file.number("llama.rope.dimension_count", width // heads)
    file.float("llama.attention.layer_norm_rms_epsilon", 1e-5)
    file.text("tokenizer.ggml.model", "llama")
    file.text("tokenizer.ggml.pre", "default")
    file.texts("tokenizer.ggml.tokens", [token for token, _ in tokens])
    # The longer token comes first.
    scores = [float(len(token)) if kind == NORMAL else 0.0 for token, kind in tokens]
    file.list("tokenizer.ggml.scores", FLOAT, scores)
    file.list("tokenizer.ggml.token_type", SIGNED, [kind for _, kind in tokens])
    for name, number in (("unknown", 0), ("bos", 1), ("eos", 2)):
        file.number(f"tokenizer.ggml.{name}_token_id", number)
    file.flag("tokenizer.ggml.add_bos_token", True)
    file.flag("tokenizer.ggml.add_eos_token", False)
    file.text("tokenizer.chat_template", CHATML)
    file.spread("token_embd.weight", [width, len(tokens)], 1.0)
    file.spread("output_norm.weight", [width], 0.1, 1.0)
    # Only what has a text is ever said: logits spread by about three, others are 0. The line
    # feed is one of them.
    rows = array("f")
    for token, kind in tokens:
        said = (kind == NORMAL and not token.startswith("<|")) or token == "<0x0A>"
        rows.extend(file.random.gauss(0.0, 0.27) if said else 0.0 for _ in range(width))
    file.weights("output.weight", [width, len(tokens)], rows)
    for layer in range(layers):
        part = f"blk.{layer}."
        for name in ("attn_norm", "ffn_norm"):
            file.spread(f"{part}{name}.weight", [width], 0.1, 1.0)
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            file.spread(f"{part}{name}.weight", [width, width], width**-0.5)
        for name in ("ffn_gate", "ffn_up"):
            file.spread(f"{part}{name}.weight", [width, feed], width**-0.5)
        file.spread(f"{part}ffn_down.weight", [feed, width], feed**-0.5)
    file.write(path)
    file.write_in_parts(path, 3)


def bert(width, heads, feed, layers, context):
    """A file of a BERT without its weights, and its tokens."""
    file = File("vectors")
    pieces = [f"\u2581{word}" for word in dict.fromkeys(WORDS)]
    pieces += [f"\u2581{letter}" for letter in "abcdefghijklmnopqrstuvwxyz?!.,0123456789"]
    tokens = list(BERT_MARKS) + list(dict.fromkeys(pieces))
    file.text("general.architecture", "bert")
    file.text("general.name", "Made up")
    file.number("bert.context_length", context)
    file.number("bert.embedding_length", width)
    file.number("bert.block_count", layers)
    file.number("bert.feed_forward_length", feed)
    file.number("bert.attention.head_count", heads)
    file.float("bert.attention.layer_norm_epsilon", 1e-12)
    file.flag("bert.attention.causal", False)
    # The vector of the first token; the head that ranks looks at it too.
    file.number("bert.pooling_type", 2)
    file.text("tokenizer.ggml.model", "bert")
    file.texts("tokenizer.ggml.tokens", tokens)
    file.list("tokenizer.ggml.scores", FLOAT, [0.0] * len(tokens))
    kinds = [CONTROL if token in BERT_MARKS else NORMAL for token in tokens]
    file.list("tokenizer.ggml.token_type", SIGNED, kinds)
    file.number("tokenizer.ggml.token_type_count", 2)
    numbers = {"padding": 0, "unknown": 1, "bos": 2, "cls": 2, "seperator": 3, "mask": 4}
    for name, number in numbers.items():
        file.number(f"tokenizer.ggml.{name}_token_id", number)
    return file, tokens


def write_vectors(path):
    width, heads, feed, layers, context = 64, 2, 128, 2, 1024
    file, tokens = bert(width, heads, feed, layers, context)

    def norm(name):
        file.spread(f"{name}.weight", [width], 0.1, 1.0)
        file.spread(f"{name}.bias", [width], 0.1)

    def matrix(name, of, to):
        file.spread(f"{name}.weight", [of, to], of**-0.5)
        file.spread(f"{name}.bias", [to], 0.1)

    file.spread("token_embd.weight", [width, len(tokens)], 1.0)
    file.spread("token_types.weight", [width, 2], 0.1)
    file.spread("position_embd.weight", [width, context], 0.3)
    norm("token_embd_norm")
    for layer in range(layers):
        part = f"blk.{layer}."
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            matrix(part + name, width, width)
        norm(part + "attn_output_norm")
        matrix(part + "ffn_up", width, feed)
        matrix(part + "ffn_down", feed, width)
        norm(part + "layer_output_norm")
    file.write(path)


def place_code(at, numbers, chance):
    """A code for a place in a text. Those of the first places have nothing in common at all: they
    are rows of a Hadamard matrix. Others have hardly anything."""
    if at + 1 >= len(numbers):
        return {n: chance.choice((-1.0, 1.0)) for n in numbers}
    return {n: 1.0 - 2.0 * ((at + 1 & i).bit_count() % 2) for i, n in enumerate(numbers)}


def write_ranks(path):
    """A BERT that scores a document by how many of a question's first three words stand in it.

    Its weights are not learned but set, each for something. A vector is a code for the word, one
    for the place, and three numbers: whether it is a word, whether it is `[CLS]`, and what was
    found. In the first layer a word looks for the same word in another place, and at `[CLS]` if
    there is none. In the second, `[CLS]` reads what the three words behind it have found, and that
    is the score.
    """
    width, feed, context = 128, 32, 1024
    word, place, is_word, is_first, found = range(48), range(48, 112), 112, 113, 114
    file, tokens = bert(width, 1, feed, 2, context)
    chance = file.random

    def matrix(name, to, of, weights, bias=None):
        """A matrix that is 0 but where `weights` says otherwise, by row and column."""
        numbers = (weights.get((row, n), 0.0) for row in range(to) for n in range(of))
        file.weights(f"{name}.weight", [of, to], numbers)
        if bias is not None:
            file.weights(f"{name}.bias", [to], (bias.get(row, 0.0) for row in range(to)))

    def norm(name):
        file.weights(f"{name}.weight", [width], [1.0] * width)
        file.weights(f"{name}.bias", [width], [0.0] * width)

    def layer(number, query, key, value):
        """A layer of attention; each of the three is its weights and its bias."""
        part = f"blk.{number}."
        for name, (weights, bias) in (("q", query), ("k", key), ("v", value)):
            matrix(f"{part}attn_{name}", width, width, weights, bias)
        matrix(f"{part}attn_output", width, width, {(found, found): 1.0}, {})
        norm(part + "attn_output_norm")
        matrix(part + "ffn_up", feed, width, {}, {})
        matrix(part + "ffn_down", width, feed, {}, {})
        norm(part + "layer_output_norm")

    vectors = {(BERT_MARKS.index("[CLS]"), is_first): 8.0}
    for number in range(len(BERT_MARKS), len(tokens)):
        vectors |= {(number, n): chance.choice((-1.0, 1.0)) for n in word}
        vectors[number, is_word] = 1.0
    matrix("token_embd", len(tokens), width, vectors)
    matrix("token_types", 2, width, {})
    places = [place_code(at, place, chance) for at in range(context)]
    codes = {(at, n): sign for at, code in enumerate(places) for n, sign in code.items()}
    matrix("position_embd", context, width, codes)
    norm("token_embd_norm")
    # The same word counts 24, another one about 0, the same place -36, and [CLS] 16. An attention's
    # products are divided by the root of the width.
    root = width**0.5
    query = {(n, n): root * 24 / len(word) for n in word}
    query |= {(n, n): -root * 36 / len(place) for n in place}
    key = {(n, n): 1.0 for n in (*word, *place, is_first)}
    layer(0, (query, {is_first: root * 2.0}), (key, {}), ({(found, is_word): 4.0}, {}))
    # The first three places count 40 each, and others about 0.
    first = {n: sum(places[at][n] for at in (1, 2, 3)) * root * 40 / len(place) for n in place}
    layer(1, ({}, first), ({(n, n): 1.0 for n in place}, {}), ({(found, found): 1.0}, {}))
    matrix("cls", width, width, {(0, found): 0.2}, {})
    matrix("cls.output", 1, width, {(0, 0): 1.0}, {})
    file.write(path)


def main(folder):
    os.makedirs(folder, exist_ok=True)
    write_text_model(os.path.join(folder, "text.gguf"))
    write_vectors(os.path.join(folder, "embeddings.gguf"))
    write_ranks(os.path.join(folder, "ranks.gguf"))


if __name__ == "__main__":
    main(sys.argv[1])
