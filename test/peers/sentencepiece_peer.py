#!/usr/bin/env python3
"""The Python package sentencepiece beside ratel: sentencepiece_peer.py RATEL

A model with LLaMA's settings that the package trains encodes 20,000 lines identically in both, and what ratel trains is
read by the package, which encodes with it as ratel does. Austen's novels are the text; where they cannot be had, the
test is skipped (77).
"""

import array
import json
import pathlib
import subprocess
import sys
import tempfile

try:
    import sentencepiece
except ImportError:
    sys.exit(77)

RATEL = sys.argv[1]
TREE = pathlib.Path(__file__).resolve().parents[2]
LINES = 20000


def lines_of_text(folder):
    novels = TREE / "data" / "austen"
    if not novels.is_dir():
        novels = folder / "austen"
        subprocess.run([sys.executable, TREE / "scripts" / "austen.py", novels], capture_output=True, check=False)
    files = sorted(novels.glob("*.txt"))
    if not files:
        print("skipped: there are no novels, and they could not be fetched")
        sys.exit(77)
    lines = dict.fromkeys(line for file in files for line in file.read_text(encoding="utf-8").split("\n") if line)
    if len(lines) < LINES:
        sys.exit(f"expected {LINES} different lines of text, found {len(lines)}")
    return list(lines)[:: len(lines) // LINES][:LINES]


def ratel(*arguments):
    done = subprocess.run([RATEL, *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"ratel {' '.join(map(str, arguments))}: {done.returncode}: {done.stderr}")
    return done.stdout


def ids_by_ratel(model, lines, folder):
    """The ids of each line: rows of a .jsonl are documents, which end in eos."""
    rows, tokens = folder / "rows.jsonl", folder / "rows.bin"
    rows.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines), encoding="utf-8")
    ratel("tokenize", "--tokenizer", model, rows, "--output", tokens)
    ids = array.array("H", tokens.read_bytes())
    documents, document = [], []
    for token in ids:
        if token == 2:
            documents.append(document)
            document = []
        else:
            document.append(token)
    return documents


def check_same(model, lines, folder, what):
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    theirs, ours = processor.encode(lines), ids_by_ratel(model, lines, folder)
    if len(ours) != len(theirs):
        sys.exit(f"{what}: {len(theirs)} lines became {len(ours)} documents")
    for line, a, b in zip(lines, theirs, ours):
        if a != b:
            sys.exit(f"{what}: {line!r} is {a} to the package and {b} to ratel")
    if processor.decode(ours) != lines:
        sys.exit(f"{what}: the package does not decode ratel's ids to the lines")
    print(f"{what}: {len(lines)} lines, {sum(map(len, ours))} ids, all the same")


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        lines = lines_of_text(folder)
        for kind, settings in {
            "bpe": {"vocab_size": 4000, "allow_whitespace_only_pieces": True},
            "unigram": {"vocab_size": 2000},
        }.items():
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(lines), model_prefix=str(folder / kind), model_type=kind, byte_fallback=True,
                split_digits=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
                character_coverage=0.99995, minloglevel=2, **settings)
            check_same(folder / f"{kind}.model", lines, folder, f"{kind}, trained by the package")
        text, model = folder / "text.txt", folder / "ratel.model"
        text.write_text("\n".join(lines), encoding="utf-8")
        ratel("tokenize", "--train", "--vocab", "4000", text, "--output", model)
        check_same(model, lines, folder, "bpe, trained by ratel")


main()
