"""The text that models are trained on, and the text that is held out."""

import hashlib
import json
import subprocess
import sys

from pieces import write_atomically
from sizes import ROOT

NOVELS = ("sense_and_sensibility", "pride_and_prejudice", "mansfield_park", "emma", "northanger_abbey")
LONGEST = 65536  # bytes of a document that is held out


def script(name, folder):
    done = subprocess.run([sys.executable, ROOT / "scripts" / name, folder], stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise OSError(f"scripts/{name} could not make the text: {done.stderr.strip()}\nhint: it needs apt-get and a "
                      f"network, or its files in {folder}")


def austen(folder, heldout_bytes):
    """Five novels; the beginning of the sixth is held out."""
    script("austen.py", folder / "austen")
    novels = [(folder / "austen" / f"{name}.txt").read_text() for name in NOVELS]
    return "".join(novels), (folder / "austen" / "persuasion.txt").read_text()[:heldout_bytes]


def medium(folder, heldout_bytes):
    """28 MB of prose and documentation; held out are whole documents of at most 64 KiB, in the order of their hashes,
    so that every source has its share."""
    script("medium_text.py", folder / "medium")
    rows = [json.loads(line)["text"] for line in (folder / "medium" / "medium.jsonl").read_text().splitlines()]
    heldout, size = set(), 0
    for index in sorted(range(len(rows)), key=lambda index: hashlib.sha256(rows[index].encode()).digest()):
        if len(rows[index]) <= LONGEST and size < heldout_bytes:
            heldout.add(index)
            size += len(rows[index])
    return ("\n".join(text for index, text in enumerate(rows) if index not in heldout),
            "\n".join(rows[index] for index in sorted(heldout)))


def last_tenth(path, heldout_bytes):
    text = path.read_text()
    cut = len(text) - len(text) // 10
    return text[:cut], text[cut:][:heldout_bytes]


def prepare(size, folder):
    """Writes train.txt and heldout.txt, and returns where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    if size.text == "austen":
        parts = austen(folder, size.heldout_bytes)
    elif size.text == "medium":
        parts = medium(folder, size.heldout_bytes)
    else:
        parts = last_tenth(ROOT / size.text, size.heldout_bytes)
    paths = folder / "train.txt", folder / "heldout.txt"
    for path, text in zip(paths, parts):
        if not path.exists() or path.read_text() != text:
            write_atomically(path, text)
    return paths
