"""Pieces of work whose results are files: what is there already is not done again."""

import hashlib
import json
import os
import pathlib
import shlex
import subprocess
import threading
import time


class Stopped(Exception):
    """A command failed; its own message stands on stderr."""


def digest(*parts):
    """A name for what a result follows from."""
    whole = hashlib.sha256()
    for part in parts:
        data = part.read_bytes() if isinstance(part, pathlib.Path) else json.dumps(part).encode()
        whole.update(str(len(data)).encode() + b":" + data)
    return whole.hexdigest()[:16]


def write_atomically(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(path.suffix + ".tmp")
    with open(unfinished, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)


class Pieces:
    """The results below a folder, NAME.json each, with what made them: {"key", "commit", "seconds", "commands",
    "result"}. A piece is done where its file has the key asked for, which stands for everything it follows from."""

    def __init__(self, folder, ratel, commit, say):
        self.folder, self.ratel, self.commit, self.say = folder, ratel, commit, say
        self.local = threading.local()
        self.children, self.lock = set(), threading.Lock()
        self.stopping = False

    def path(self, name):
        return self.folder / "pieces" / f"{name}.json"

    def read(self, name, key):
        """The record of a finished piece, or None."""
        try:
            record = json.loads(self.path(name).read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        return record if record.get("key") == key else None

    def piece(self, name, key, work):
        """The result of `name`: that on the disk, or what work() returns."""
        done = self.read(name, key)
        if done is None:
            self.local.commands = []
            begin = time.monotonic()
            result = work()
            seconds = round(time.monotonic() - begin, 1)
            done = {"key": key, "commit": self.commit, "seconds": seconds, "commands": self.local.commands,
                    "result": result}
            write_atomically(self.path(name), json.dumps(done, indent=1) + "\n")
            self.say(f"{name}: {seconds:.0f} s")
        return done["result"]

    def run(self, command, *options):
        """What `ratel COMMAND OPTIONS --json` prints. Throws Stopped where it fails."""
        words = [str(self.ratel), command, *map(str, options), "--json"]
        self.local.commands.append(shlex.join(["ratel", *words[1:]]))
        with self.lock:
            if self.stopping:
                raise Stopped()
            child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            self.children.add(child)
        try:
            out, errors = child.communicate()
        finally:
            with self.lock:
                self.children.discard(child)
        if child.returncode != 0:
            raise Stopped("" if self.stopping else f"{shlex.join(words)}\n{errors.strip()}\nexit code {child.returncode}")
        return json.loads(out)

    def stop(self):
        """Ends every command that runs; each keeps what it can go on from."""
        with self.lock:
            self.stopping = True
            for child in self.children:
                child.terminate()
