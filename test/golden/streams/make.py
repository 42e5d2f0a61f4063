#!/usr/bin/env python3
"""Writes the compressed files that the tests of io/byte_stream and data/documents read, beside itself.

Needs the package zstandard. The text is lines "line N" from N = 0, which the tests make anew to compare.
"""

import gzip
import pathlib

import zstandard

FOLDER = pathlib.Path(__file__).parent


def lines(begin, end):
    return "".join(f"line {n}\n" for n in range(begin, end)).encode()


def frame(text, **options):
    return zstandard.ZstdCompressor(level=19, write_checksum=True, **options).compress(text)


def write(name, *parts):
    (FOLDER / name).write_bytes(b"".join(parts))


skippable = (0x184D2A50).to_bytes(4, "little") + (5).to_bytes(4, "little") + b"extra"
wide = zstandard.ZstdCompressor(compression_params=zstandard.ZstdCompressionParameters(window_log=28)).compressobj()

write("lines.gz", gzip.compress(lines(0, 40), mtime=0))
write("members.gz", *(gzip.compress(text, mtime=0) for text in (lines(0, 7), b"", lines(7, 30000))))
write("lines.zst", frame(lines(0, 40)))
write("frames.zst", frame(lines(0, 7)), skippable, frame(b""), frame(lines(7, 30000)))
write("window.zst", wide.compress(lines(0, 40)), wide.flush())
