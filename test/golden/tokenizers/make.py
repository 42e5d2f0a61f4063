#!/usr/bin/env python3
"""Makes the tokenizers of this folder and what they do to some texts: make.py AUSTEN, a folder that scripts/austen.py made.

The Python package sentencepiece is the independent program here; test/text/tokenizer_test.cpp holds ratel against it.
  llama.model   LLaMA's settings: bpe, byte_fallback, split digits, identity, no space removed; 700 pieces
  unigram.model the same with unigram, and no space put before a text; 500 pieces
  lossy.model   unigram without byte_fallback, rules of its own, extra spaces removed, a user-defined symbol; 200 pieces
  expected.json {"llama": {"encode": [{"text", "ids", "decoded"}, ...], "decode": [{"ids", "text"}, ...]}, ...}
"""

import io
import json
import os
import pathlib
import random
import sys
import tempfile

import sentencepiece

FOLDER = pathlib.Path(__file__).resolve().parent
TEXTS = [
    "", " ", "  ", "a", " a", "a ", "  a  b  ", "It is a truth universally acknowledged,", "Emma Woodhouse, handsome, clever",
    "\n", "\n\n", " \n ", "a\nb", "a\n\n  b\r\n", "tab\tbetween", "\x00", "a\x00b", "\x01\x1f\x7f", "1815", "in 1815, 24 years",
    "caf\u00e9", "na\u00efve r\u00e9sum\u00e9", "\u4f60\u597d\uff0c\u4e16\u754c", "\U0001f600 smile \U0001f469\u200d\U0001f680", "\ufffd",
    "\u3000wide\u00a0space", "<s> </s> <unk> <0x41>", "x" * 300, "the the the", "\u2582\u2585", "<sep>a<sep> b", "e\u0301", "fi \ufb01",
    "\u0627\u0644\u0633\u0644\u0627\u0645", "\U0010ffff", "\ud7ff\ue000", "a" + " " * 40 + "b", "--- ***", "_Emma_", "don't--won't",
]


def train(lines, **settings):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=model, num_threads=1,
                                             minloglevel=2, **settings)
    return model.getvalue()


def expected(model, lines, seed):
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    encode = []
    for text in TEXTS + lines:
        ids = processor.encode(text)
        encode.append({"text": text, "ids": ids, "decoded": processor.decode(ids)})
    chance = random.Random(seed)
    decode = []
    while len(decode) < 60:
        size = processor.vocab_size()
        ids = [chance.choice([0, 1, 2, chance.randrange(35, 130), chance.randrange(size)]) if chance.random() < 0.3 else
               chance.randrange(size // 2, size) for _ in range(chance.randrange(1, 9))]
        text = processor.decode(ids)
        if "\ufffd" not in text:
            decode.append({"ids": ids, "text": text})
    return {"encode": encode, "decode": decode}


def main():
    austen = pathlib.Path(sys.argv[1])
    lines = (austen / "persuasion.txt").read_text(encoding="utf-8").splitlines()
    llama = train(lines, model_type="bpe", vocab_size=700, byte_fallback=True, split_digits=True,
                  normalization_rule_name="identity", remove_extra_whitespaces=False, character_coverage=1.0)
    unigram = train(lines, model_type="unigram", vocab_size=500, byte_fallback=True, normalization_rule_name="identity",
                    remove_extra_whitespaces=False, character_coverage=1.0, add_dummy_prefix=False)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # the model records the name of its rules
        # e with an accent, the ligature fi, kinds of space
        pathlib.Path("rules.tsv").write_text("E9\t65\nFB01\t66 69\nA0\t20\n9\t20\nA\t20\n")
        lossy = train(lines, model_type="unigram", vocab_size=200, normalization_rule_tsv="rules.tsv",
                      user_defined_symbols=["<sep>"])
        os.chdir(FOLDER)
    (FOLDER / "llama.model").write_bytes(llama)
    (FOLDER / "unigram.model").write_bytes(unigram)
    (FOLDER / "lossy.model").write_bytes(lossy)
    some = [line for line in lines if line][100:140]
    result = {"llama": expected(llama, some, 1), "unigram": expected(unigram, some[:10], 2),
              "lossy": expected(lossy, some[:10], 3)}
    (FOLDER / "expected.json").write_text(json.dumps(result) + "\n", encoding="utf-8")


main()
