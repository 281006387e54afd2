"""Make a language model of a few megabytes, so that real vLLM runs where no hub can be reached.

Run when the image is built (``Dockerfile``), and by hand before recording (tests/contract):

    python make_model.py FOLDER

A Llama with random weights from a fixed seed: it writes nonsense, the same nonsense every time,
which is all that tests of batching and merging need.  The tokenizer is a byte-level BPE trained
on the lines below, so every text can be said and ordinary English takes about two bytes a token.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SEED = 20260101
VOCABULARY = 512
CONTEXT = 4096
SPECIAL = ("<unk>", "<s>", "</s>", "<|user|>", "<|assistant|>", "<|system|>")

CORPUS = """
A batch is a group of requests that the engine computes together. The larger the batch, the more
tokens the fleet makes in a second, and the longer each of them takes. What is the capital of
France? Translate this sentence into German. Write a short poem about the sea. Summarise the
following text in three points. You are a helpful assistant that answers every question in one
sentence. When two people ask the same question at the same time, the answer is computed once and
given to both. How many requests are in flight? The queue is empty, the cache is warm, and the
workers are ready. Please explain how a neural network learns. There is nothing more to say.
""".strip().splitlines()

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}</s>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def tokenizer() -> PreTrainedTokenizerFast:
    bpe = Tokenizer(models.BPE(unk_token="<unk>"))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=list(SPECIAL),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="</s>",
        model_max_length=CONTEXT,
        chat_template=CHAT_TEMPLATE,
    )


def model() -> LlamaForCausalLM:
    torch.manual_seed(SEED)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=256,
            intermediate_size=688,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=CONTEXT,
            bos_token_id=SPECIAL.index("<s>"),
            eos_token_id=SPECIAL.index("</s>"),
            pad_token_id=SPECIAL.index("</s>"),
            initializer_range=0.2,  # wide enough for the likeliest token to win by a clear margin
        )
    ).to(torch.bfloat16)


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    tokenizer().save_pretrained(folder)
    model().save_pretrained(folder)
    for file in sorted(folder.iterdir()):
        file.chmod(0o644)  # the weights are written for their owner alone, and a pod is not root
        print(f"{file.stat().st_size:>10} {file.name}")


if __name__ == "__main__":
    main()
