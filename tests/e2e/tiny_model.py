"""A model of 100 KB for llama.cpp, that always says the same.

Its weights are made so that the next token follows from the last one alone: behind the assistant's mark comes `SAID` word by word, and then its end.
Where a grammar forbids the end (a tool must be called) the mark of a tool call is next best, and inside of JSON what closes it is. So an answer is
known to the token, stops by itself, and can be cut by `max_tokens`. All other weights are random with a fixed seed.

The architecture is Qwen 3's, the smallest change from Llama's that has a head for reranking.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import gguf
import numpy as np

SAID = ("It", " runs", " here", ",", " says", " the", " llama", ".")
"""The tokens of every answer."""
CONTEXT = 2048
END, ASSISTANT, CALL = "<|end|>", "<|assistant|>", "<tool_call>"
MARKS = ("<|begin|>", END, "<|system|>", "<|user|>", ASSISTANT, "<|tool|>")
WIDTH, HEADS = 32, 2
TEMPLATE = """{%- if tools %}<|system|>{% for tool in tools %}{{ tool | tojson }}{% endfor %}<|end|>{% endif %}
{%- for message in messages %}<|{{ message.role }}|>
{%- if message.content %}{{ message.content }}{% endif %}
{%- for call in message.tool_calls or [] %}<tool_call>{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
{%- endfor %}<|end|>{% endfor %}
{%- if add_generation_prompt %}<|assistant|>{% endif %}"""


def _byte_letters() -> list[str]:
    """GPT-2's letter for each byte: the printable ones stand for themselves."""
    plain = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]


def write_model(path: Path) -> None:
    letters = _byte_letters()
    tokens = [*letters, *MARKS, CALL]
    types = [gguf.TokenType.NORMAL] * 256 + [gguf.TokenType.CONTROL] * len(MARKS) + [gguf.TokenType.USER_DEFINED]
    said = []
    for word in SAID:
        spelled = "".join(letters[byte] for byte in word.encode())
        if spelled not in tokens:
            tokens.append(spelled)
            types.append(gguf.TokenType.NORMAL)
        said.append(tokens.index(spelled))
    random = np.random.default_rng(7)

    # dimension 0 is always on: its output weights are how likely a token is by itself. The others are the places in what is said.
    embedding = random.normal(0, 0.02, (len(tokens), WIDTH)).astype(np.float32)
    output = random.normal(0, 0.05, (len(tokens), WIDTH)).astype(np.float32)
    embedding[:, 0], output[:, 0] = 1.0, 0.0
    output[[*range(32), *range(127, 256)], 0] = -3.0
    output[[tokens.index(mark) for mark in (*MARKS, CALL)], 0] = -4.0
    for token, likely in (('"', 1.5), ("}", 1.2), ("]", 1.0), (END, 0.9)):
        output[tokens.index(token), 0] = likely
    order = [tokens.index(ASSISTANT), *said, tokens.index(END)]
    for place, (token, following) in enumerate(pairwise(order), 1):
        embedding[token, place], output[following, place] = 3.0, 4.0
    output[tokens.index(CALL), len(SAID) + 1] = 3.7

    writer = gguf.GGUFWriter(path, "qwen3")
    writer.add_name("tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_key_length(WIDTH // HEADS)
    writer.add_value_length(WIDTH // HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_array("qwen3.classifier.output_labels", ["yes", "no"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(["a b"])  # the reader wants the list not to be empty
    writer.add_bos_token_id(tokens.index(MARKS[0]))
    writer.add_eos_token_id(tokens.index(END))
    writer.add_pad_token_id(tokens.index(END))
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)

    writer.add_tensor("token_embd.weight", embedding)
    writer.add_tensor("output.weight", output)
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
    for name in ("attn_q_norm", "attn_k_norm"):
        writer.add_tensor(f"blk.0.{name}.weight", np.ones(WIDTH // HEADS, np.float32))
    for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        writer.add_tensor(f"blk.0.{name}.weight", random.normal(0, 0.01, (WIDTH, WIDTH)).astype(np.float32))
    writer.add_tensor("cls.output.weight", random.normal(0, 1, (2, WIDTH)).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
