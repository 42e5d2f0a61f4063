#!/usr/bin/env python3
"""Writes 28 MB of English text: medium_text.py OUTDIR

  medium.jsonl  a document a row: {"text": ..., "source": ...}
  medium.txt    the same texts, one after the other

The documents are Jane Austen's novels (from the Debian package r-cran-janeaustenr, read by austen.py), the King James
Bible (bible-kjv), the pages of the Anarchist FAQ (anarchism, Markdown) and of Perl's manual (perl-doc, POD). Packages
are downloaded and unpacked, not installed. Nothing is done where the files are there already.
"""

import gzip
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import austen

FILES = ("medium.txt", "medium.jsonl")


def unpacked(package, folder):
    """Where the contents of a package are."""
    place = pathlib.Path(folder) / package
    place.mkdir()
    place.chmod(0o755)  # apt fetches as the user _apt
    subprocess.run(["dpkg-deb", "-x", austen.download(place, package), place], check=True)
    return place


def bible(folder):
    """The verses, by the program of the package itself, without their numbers."""
    program = unpacked("bible-kjv", folder) / "usr/bin/bible"
    data = unpacked("bible-kjv-text", folder) / "usr/lib"
    command = [program, "-f", "-l", "9999", "-p", data, "gen1:1-rev22:21"]
    text = subprocess.run(command, capture_output=True, check=True).stdout.decode("utf-8", errors="replace")
    return re.sub(r"^\S+ ", "", text, flags=re.MULTILINE)


def pages(place, pattern):
    for path in sorted(place.rglob(pattern)):
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        yield data.decode("utf-8", errors="replace")


def documents(folder):
    """Pairs of source and text."""
    yield from (("austen", text) for _, text in austen.novels())
    yield "bible", bible(folder)
    yield from (("anarchism", text) for text in pages(unpacked("anarchism", folder), "*.md.gz"))
    yield from (("perl", text) for text in pages(unpacked("perl-doc", folder), "*.pod"))


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print("usage: medium_text.py OUTDIR", file=sys.stderr)
        return 2
    outdir = pathlib.Path(sys.argv[1])
    if not all((outdir / name).is_file() for name in FILES):
        outdir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            rows = [{"text": text, "source": source} for source, text in documents(folder) if text.strip()]
        contents = {"medium.txt": "\n\n".join(row["text"] for row in rows),
                    "medium.jsonl": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)}
        for name in FILES:
            temporary = outdir / (name + ".tmp")
            temporary.write_bytes(contents[name].encode("utf-8"))
            temporary.replace(outdir / name)
    for name in FILES:
        print(f"{(outdir / name).stat().st_size:11,} {outdir / name}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        sys.exit(f"medium_text: {error}")
