#!/usr/bin/env python3
"""Tokenizes a text with ratel and with the Python package sentencepiece, side by side:
tokenize_sentencepiece.py RATEL FOLDER OUT.json COMMIT

FOLDER holds medium.jsonl and medium.txt of scripts/medium_text.py; a model of 8000 pieces with LLaMA's settings is
trained there once. The Python package is given its documents in memory and only its encode() is timed; ratel's time is
the whole command, from the file to the tokens on the disk. Each figure is the best of three, or of as many as begin
within ten seconds. The ids must be equal.
"""

import array
import json
import pathlib
import platform
import re
import subprocess
import sys
import time

import sentencepiece

REPEATS, SECONDS = 3, 10


def train(folder):
    """The model's path."""
    model = folder / "llama8000.model"
    if not model.is_file():
        sentencepiece.SentencePieceTrainer.train(
            input=str(folder / "medium.txt"), model_prefix=str(model.with_suffix("")), model_type="bpe", vocab_size=8000,
            byte_fallback=True, split_digits=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True, character_coverage=0.9999, input_sentence_size=100000,
            shuffle_input_sentence=True, max_sentence_length=16384, num_threads=2, minloglevel=2)
    return model


def best(measure):
    """Of some calls that return (seconds, result): the least seconds, and the last result."""
    begin, results = time.perf_counter(), []
    while len(results) < REPEATS and (not results or time.perf_counter() - begin < SECONDS):
        results.append(measure())
    return min(seconds for seconds, _ in results), results[-1][1]


def ratel(binary, tokenizer, text, threads, output):
    def measure():
        begin = time.perf_counter()
        command = [binary, "tokenize", "--tokenizer", tokenizer, text, "--output", output, "--threads", str(threads), "--json"]
        result = subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True)
        return time.perf_counter() - begin, json.loads(result.stdout)

    return best(measure)


def peer(processor, documents, threads):
    def measure():
        begin = time.perf_counter()
        ids = processor.encode(documents, num_threads=threads)
        return time.perf_counter() - begin, ids

    return best(measure)


def main():
    binary, folder, out, commit = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]), sys.argv[4]
    model = train(folder)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    documents = [json.loads(line)["text"] for line in (folder / "medium.jsonl").open(encoding="utf-8")]
    text_bytes = sum(len(text.encode()) for text in documents)
    runs, expected = [], None

    def add(program, tokenizer, threads, size, seconds):
        runs.append({"program": program, "tokenizer": tokenizer, "threads": threads, "text_bytes": size,
                     "seconds": round(seconds, 4), "megabytes_per_second": round(size / seconds / 1e6, 2)})
        print("tokenize:", json.dumps(runs[-1]), file=sys.stderr)

    tokens = folder / "tokens.bin"
    for threads in (1, 2):
        seconds, result = ratel(binary, "bytes", folder / "medium.txt", threads, tokens)
        add("ratel", "bytes", threads, result["bytes"], seconds)
    for threads in (1, 2):
        seconds, ids = peer(processor, documents, threads)
        expected = array.array("H", [id for document in ids for id in [*document, processor.eos_id()]])
        add(f"Python sentencepiece {sentencepiece.__version__}", model.name, threads, text_bytes, seconds)
    for threads in (1, 2):
        seconds, result = ratel(binary, model, folder / "medium.jsonl", threads, tokens)
        add("ratel", model.name, threads, result["bytes"], seconds)
        if tokens.read_bytes() != expected.tobytes():
            sys.exit("tokenize: ratel's ids are not those of the Python package")

    machine = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    out.write_text(json.dumps({
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "commit": commit,
        "machine": machine[1] if machine else platform.machine(), "command": "bench/tokenize.sh",
        "documents": len(documents), "tokens": len(expected), "ids_equal": True, "runs": runs}, indent=1) + "\n",
        encoding="utf-8")


if __name__ == "__main__":
    main()
