#!/usr/bin/env python3
"""Writes Jane Austen's six novels as text files: austen.py OUTDIR

They are in the public domain and come from the Debian package r-cran-janeaustenr, an R lazy-load database: an index
(Rdata.rdx) that names, for every variable, offset and length of its chunk in Rdata.rdb; each chunk is a vector of lines.
Nothing is installed, and nothing is done where the six files are there already.
"""

import gzip
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib

PACKAGE = "r-cran-janeaustenr"
DATA = "usr/lib/R/site-library/janeaustenr/data/Rdata"
NOVELS = {  # R's name of each: the file's
    "sensesensibility": "sense_and_sensibility.txt",
    "prideprejudice": "pride_and_prejudice.txt",
    "mansfieldpark": "mansfield_park.txt",
    "emma": "emma.txt",
    "northangerabbey": "northanger_abbey.txt",
    "persuasion": "persuasion.txt",
}


class RReader:
    """R's serialization, XDR format: vectors of strings and numbers, and lists of them, which become dicts by name."""

    NULL, REFERENCE = 254, 255
    SYMBOL, PAIRS, CHARS, LOGICAL, INTEGERS, STRINGS, LIST = 1, 2, 9, 10, 13, 16, 19

    def __init__(self, data):
        self.data, self.at, self.symbols = data, 0, []
        if self.take(2) != b"X\n":
            raise ValueError("not R's XDR format")
        version = self.integer()
        self.take(8)  # the versions of R that wrote it and that can read it
        if version == 3:
            self.take(self.integer())  # the native encoding

    def take(self, count):
        if count < 0 or self.at + count > len(self.data):
            raise ValueError(f"R data ends at byte {len(self.data)}, expected {count} more at {self.at}")
        self.at += count
        return self.data[self.at - count : self.at]

    def integer(self):
        return struct.unpack(">i", self.take(4))[0]

    def value(self):
        flags = self.integer()
        kind, has_attributes, has_tag = flags & 0xFF, flags & 0x200, flags & 0x400
        if kind == self.NULL:
            return None
        if kind == self.REFERENCE:
            return self.symbols[(flags >> 8) - 1]
        if kind == self.SYMBOL:
            self.symbols.append(self.value())
            return self.symbols[-1]
        if kind == self.CHARS:
            length = self.integer()
            return None if length < 0 else self.take(length).decode("latin-1" if flags & 0x4000 else "utf-8")
        if kind == self.PAIRS:
            attributes = self.value() if has_attributes else None
            tag = self.value() if has_tag else None
            return {tag: self.value(), **(self.value() or {})}
        length = self.integer()
        if kind in (self.LOGICAL, self.INTEGERS):
            result = list(struct.unpack(f">{length}i", self.take(4 * length)))
        elif kind in (self.STRINGS, self.LIST):
            result = [self.value() for _ in range(length)]
        else:
            raise ValueError(f"R type {kind} was not expected")
        attributes = self.value() if has_attributes else {}
        return dict(zip(attributes["names"], result)) if "names" in attributes else result


def decompress(chunk):
    """A chunk of the database: the length of its contents, then the contents in zlib's format."""
    data, length = zlib.decompress(chunk[4:]), struct.unpack(">I", chunk[:4])[0]
    if len(data) != length:
        raise ValueError(f"a chunk holds {len(data)} bytes, expected {length}")
    return data


def download(folder, package=PACKAGE):
    """The file of a package, fetched into `folder`."""

    def fetch():
        command = ["apt-get", "download", "-q", package]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True)

    result = fetch()
    if result.returncode != 0 and (os.geteuid() == 0 or shutil.which("sudo")):  # stale or missing package lists
        sudo = [] if os.geteuid() == 0 else ["sudo"]
        subprocess.run([*sudo, "apt-get", "update", "-q"], stdout=sys.stderr, check=False)
        result = fetch()
    files = list(folder.glob("*.deb"))
    if result.returncode != 0 or not files:
        raise OSError(f"apt-get download {package} failed: {result.stderr.strip()}")
    return files[0]


def novels():
    """Pairs of file name and text."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        folder.chmod(0o755)  # apt fetches as the user _apt
        subprocess.run(["dpkg-deb", "-x", download(folder), folder], check=True)
        index = RReader(gzip.decompress((folder / DATA).with_suffix(".rdx").read_bytes())).value()
        database = (folder / DATA).with_suffix(".rdb").read_bytes()
    for variable, name in NOVELS.items():
        offset, length = index["variables"][variable]
        lines = RReader(decompress(database[offset : offset + length])).value()
        yield name, "\n".join(lines).strip() + "\n"


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print("usage: austen.py OUTDIR", file=sys.stderr)
        return 2
    outdir = pathlib.Path(sys.argv[1])
    if not all((outdir / name).is_file() for name in NOVELS.values()):
        outdir.mkdir(parents=True, exist_ok=True)
        for name, text in novels():
            temporary = outdir / (name + ".tmp")
            temporary.write_bytes(text.encode("utf-8"))
            temporary.replace(outdir / name)
    sizes = {name: (outdir / name).stat().st_size for name in NOVELS.values()}
    for name, size in sizes.items():
        print(f"{size:9,} {outdir / name}")
    print(f"{sum(sizes.values()):9,} bytes in all")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, ValueError, KeyError, EOFError, struct.error, zlib.error, subprocess.CalledProcessError) as error:
        sys.exit(f"austen: {error}")
