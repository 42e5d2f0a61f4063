"""Pieces of work, a few commands of `ratel` each, whose results are files: what is there already is not done again."""

from dataclasses import dataclass
import datetime
import hashlib
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import threading
import time

SCHEME = 1  # of keys; another one does everything again
# Before a command: it is told to stop when we are gone, kill -9 included, and keeps what it can go on from.
ENDS_WITH_US = ["setpriv", "--pdeathsig", "TERM"]
try:
    subprocess.run([*ENDS_WITH_US, "true"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
except (OSError, subprocess.CalledProcessError):  # it is not there, or a lesser one
    ENDS_WITH_US = []


class Stopped(Exception):
    """A command failed, in words for whoever started it; empty where it was told to stop."""


def digest(*parts):
    """A name for what a result follows from: files, by what is in them, and whatever JSON can say."""
    whole = hashlib.sha256()
    for part in parts:
        data = part.read_bytes() if isinstance(part, pathlib.Path) else json.dumps(part).encode()
        whole.update(str(len(data)).encode() + b":" + data)
    return whole.hexdigest()[:16]


def write_atomically(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    with open(unfinished, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)


@dataclass(frozen=True)
class Piece:
    """Commands that are run one after the other, each the words after `ratel`; a word may be a path.

    Its key stands for all that its result follows from but the program: the commands, and `follows`, keys of other
    pieces and digests of files. Threads change no number and are added when a command is run."""
    name: str
    commands: tuple
    follows: tuple = ()
    makes: pathlib.Path | None = None  # a run folder or file that other pieces need: done only while that is there
    scratch: pathlib.Path | None = None  # a run folder that goes once the result is written
    alone: bool = False  # it is timed, and gets all cores


class Store:
    """The results below WORK/pieces, NAME.json each: {"key", "commit", "machine", "date", "load" (of the system, when it
    began), "seconds" (all legs of a piece that was stopped), "commands", "results" (what each command printed)}.

    Throws Stopped where a command fails."""

    def __init__(self, work, root, ratel, jobs, commit, say):
        self.work, self.root, self.ratel, self.commit, self.say = work, root, ratel, commit, say
        self.threads = max(1, (os.cpu_count() or 1) // jobs)
        self.children, self.lock, self.stopping = set(), threading.Lock(), False
        about = self.call(["doctor"])
        gpus = [gpu["name"] for gpu in about["gpu"]["devices"]]
        self.has_gpu = bool(about["gpu"]["usable"])
        self.machine = ", ".join([f"{about['machine']['processor']}, {about['machine']['cores']} cores", *gpus])

    def path(self, piece):
        return self.work / "pieces" / f"{piece.name}.json"

    def key(self, piece):
        return digest(SCHEME, [[self.without_place(word) for word in words] for words in piece.commands],
                      list(piece.follows))

    def without_place(self, word):
        """A word of a command; a path as it would be on any machine."""
        if not isinstance(word, pathlib.Path):
            return str(word)
        for folder, name in ((self.work, "WORK/"), (self.root, "")):
            if word.is_relative_to(folder):
                return name + str(word.relative_to(folder))
        return str(word)

    def record(self, piece):
        """What is known of a piece that is done, or None."""
        try:
            record = json.loads(self.path(piece).read_text())
            is_same = record["key"] == self.key(piece)
        except (OSError, ValueError, KeyError, TypeError):  # none, or none that can be read
            return None
        return record if is_same and (piece.makes is None or self.is_of(piece, piece.makes)) else None

    def is_of(self, piece, made):
        """Whether that folder or file was made by the piece as it is now."""
        note = made.with_name(made.name + ".key")
        return made.exists() and note.exists() and note.read_text() == self.key(piece)

    def do(self, piece):
        """Runs a piece that is not done."""
        if self.record(piece) is None:
            self.run_all(piece)
        if piece.scratch is not None:
            forget(piece.scratch)

    def run_all(self, piece):
        for made in filter(None, (piece.makes, piece.scratch)):
            if not self.is_of(piece, made):  # else it is gone on with
                forget(made)
                write_atomically(made.with_name(made.name + ".key"), self.key(piece))
        legs = self.path(piece).with_suffix(".legs")  # seconds of those that were stopped
        before = float(legs.read_text()) if legs.exists() else 0.0
        load, begin = os.getloadavg()[0], time.monotonic()
        try:
            results = [self.call([*words, *self.threads_for(piece, words[0])]) for words in piece.commands]
        except BaseException:
            write_atomically(legs, str(before + time.monotonic() - begin))
            raise
        seconds = round(before + time.monotonic() - begin, 1)
        commands = [shlex.join(["ratel", *map(self.without_place, words)]) for words in piece.commands]
        date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        write_atomically(self.path(piece), json.dumps({
            "key": self.key(piece), "commit": self.commit, "machine": self.machine, "date": date,
            "load": round(load, 2), "seconds": seconds, "commands": commands, "results": results}, indent=1) + "\n")
        legs.unlink(missing_ok=True)
        self.say(f"{piece.name}: {seconds:.0f} s")

    def threads_for(self, piece, command):
        threads = 0 if piece.alone else self.threads  # 0: all
        if command in ("train", "adapt"):
            return [f"--train.threads={threads}"]
        return [] if command in ("tokenize", "needles") else ["--threads", threads]

    def call(self, words):
        """What `ratel WORDS --json` prints."""
        words = [str(self.ratel), *map(str, words), "--json"]
        with self.lock:
            if self.stopping:
                raise Stopped()
            # In a session of its own: an interrupt of the keyboard goes to us, and we say who stops.
            child = subprocess.Popen([*ENDS_WITH_US, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                     start_new_session=True)
            self.children.add(child)
        try:
            out, errors = child.communicate()
        except BaseException:
            child.terminate()
            child.wait()
            raise
        finally:
            with self.lock:
                self.children.discard(child)
        if child.returncode != 0:
            raise Stopped("" if self.stopping else
                          f"{shlex.join(words)}\n{errors.strip()}\nexit code {child.returncode}")
        return json.loads(out)

    def stop(self):
        """Ends every command that runs; each keeps what it can go on from."""
        with self.lock:
            self.stopping = True
            for child in self.children:
                child.terminate()


def forget(made):
    """Removes a run folder or file: its key first, so that half of one is never taken for a whole."""
    made.with_name(made.name + ".key").unlink(missing_ok=True)
    if made.is_dir():
        shutil.rmtree(made)
    else:
        made.unlink(missing_ok=True)
