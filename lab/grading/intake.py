"""Submissions as they are handed in: a file, a folder, an archive, or a folder of many of these.

Whatever was handed in is only ever read, within bounds, and copied to a folder of ours. Nothing of it is
followed (links), executed or trusted (names and sizes in an archive). What cannot be read is a submission
all the same: with the reason, and no points.
"""

from __future__ import annotations

import ast
import bz2
import gzip
import hashlib
import io
import os
import re
import stat
import sys
import tarfile
import unicodedata
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from pathlib import Path, PurePosixPath
from typing import IO, cast

from lab.errors import UserError
from lab.exercises.catalog import ROOT, Exercise

MOST_FILES = 2_000
"""Of one submission, folders included."""
MOST_BYTES = 32 << 20
"""Of one submission, unpacked."""
LARGEST_ARCHIVE = MOST_BYTES + (4 << 20)
"""Bytes of an archive as it was handed in; its list of contents is read as a whole."""
DEEPEST = 40
"""Folders in each other."""
LARGEST_SOURCE = 1 << 18
"""Bytes of a file that is looked into, to see what it is or whom it resembles."""
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2")
OTHER_ARCHIVES = (".7z", ".rar", ".gz", ".bz2", ".tar.xz", ".xz", ".txz", ".tar.zst", ".zst")
"""Handed in all the same now and then: a submission, which cannot be read."""
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
"""How a zip may be compressed: as all tools do it, and without a memory of any size."""
LEFT_OUT = frozenset(
    {
        ".git",
        ".hg",
        ".venv",
        "venv",
        "node_modules",
        "__pycache__",
        ".mypy_cache",
        ".pytest_cache",
        ".ruff_cache",
    }
    | {"__MACOSX", ".DS_Store", ".idea", ".vscode"}
)
"""What tools leave lying about; nobody means to hand it in."""
OURS = frozenset({"checks.py", "solution.py", "hints.md", "README.md", "mistakes", "conftest.py"})
"""What stands beside an exercise in a clone of the lab; a submission does not get it to see."""


class Unreadable(Exception):
    """Why nothing can be made of what was handed in."""


@dataclass
class Submission:
    """What one person handed in. `folder` is our copy; None where `problem` says why there is none."""

    name: str
    path: Path
    folder: Path | None
    problem: str = ""
    files: dict[str, Path] = field(default_factory=dict)
    """Exercise's name → its file, in `folder`."""

    def digest(self) -> str:
        """Changes with the content of any of its files."""
        found = hashlib.sha256(self.problem.encode())
        if self.folder is not None:
            for path in sorted(path for path in self.folder.rglob("*") if path.is_file()):
                name, content = os.fsencode(path.relative_to(self.folder)), path.read_bytes()
                found.update(b"%d %d " % (len(name), len(content)) + name + content)
        return found.hexdigest()


def collect(
    paths: Sequence[Path],
    exercises: Sequence[Exercise],
    wanted: Exercise | None,
    into: Path,
    *,
    leaving_out: Path | None = None,
) -> list[Submission]:
    """All submissions in `paths`, by name, copied into folders below `into`.

    `wanted`: all are for this exercise; None: their files' and folders' names say which one. `leaving_out` is
    no submission, wherever it is. Raises `UserError` where a path does not exist or nothing is found.
    """
    submissions: list[Submission] = []
    for path in paths:
        if not path.exists():
            raise UserError(f"there is no {path}")
        try:
            found = list(spread(path, exercises, wanted))
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}") from None
        for name, one in found:
            if leaving_out is None or one != Path(os.path.realpath(leaving_out)):
                submissions.append(receive(readable(name), one, into / f"{len(submissions):05}"))
    if not submissions:
        raise UserError(f"there is no submission in {', '.join(str(path) for path in paths)}")
    for submission in submissions:
        assign(submission, exercises, wanted)
    distinguish(submissions)
    return sorted(submissions, key=lambda submission: submission.name)


def spread(path: Path, exercises: Sequence[Exercise], wanted: Exercise | None) -> Iterator[tuple[str, Path]]:
    """The names and places of the submissions that `path` stands for: itself, or what is in it."""
    given, path = path, Path(os.path.realpath(path))  # whoever grades may name it by a link
    if not path.is_dir() or is_one(path, exercises, wanted):
        yield stem(given.name or path.name), path
        return
    for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
        if entry.name in LEFT_OUT or entry.name.startswith("."):
            continue
        handed_in = entry.name.lower().endswith((".py", *ARCHIVES, *OTHER_ARCHIVES))
        if entry.is_dir() or handed_in or entry.is_symlink():
            yield stem(entry.name), Path(entry.path)


def is_one(folder: Path, exercises: Sequence[Exercise], wanted: Exercise | None) -> bool:
    """True where `folder` is one submission and no folder of many."""
    names = {exercise.name for exercise in exercises} | {"exercise.py", "gateway.py", "exercises"}
    if wanted is not None:
        names.update(wanted.also)
    return not names.isdisjoint(os.listdir(folder))


def stem(name: str) -> str:
    """The name without what says how it is packed."""
    for ending in sorted((".py", *ARCHIVES, *OTHER_ARCHIVES), key=len, reverse=True):
        if name.lower().endswith(ending) and len(name) > len(ending):
            return name[: -len(ending)]
    return name


def readable(name: str) -> str:
    """A name that is one line, looks like what it is, and changes nothing where it is shown.

    Line ends, escape sequences and marks that turn the direction of writing are spelled out. Names that look
    alike because an accent is a letter of its own become equal (Unicode's normal form C).
    """
    shown = []
    for char in unicodedata.normalize("NFC", name):
        if char.isprintable():
            shown.append(char)
        elif unicodedata.category(char) == "Zs":
            shown.append(" ")
        else:
            shown.append(char.encode("unicode_escape").decode())
    return "".join(shown)


def distinguish(submissions: list[Submission]) -> None:
    """No two submissions of one run have the same name."""
    taken: set[str] = set()
    for submission in submissions:
        name, number = submission.name, 2
        while submission.name in taken:
            submission.name, number = f"{name} ({number})", number + 1
        taken.add(submission.name)


# -- reading -------------------------------------------------------------------------------------------------


def receive(name: str, path: Path, folder: Path) -> Submission:
    """Copy what is at `path` into `folder`, which is made."""
    folder.mkdir()
    try:
        if path.is_symlink():
            raise Unreadable("it is a symbolic link")
        if path.is_dir():
            copy_folder(path, Copy(folder))
        else:
            with regular(path) as source:
                if path.name.lower().endswith(ARCHIVES):
                    unpack(path.name.lower(), source, Copy(folder))
                elif path.name.lower().endswith(OTHER_ARCHIVES):
                    raise Unreadable("it is no zip and no tar, tar.gz or tar.bz2")
                else:
                    Copy(folder).add(path.name, source)
    except Unreadable as error:
        return Submission(name, path, None, str(error))
    except Exception as error:
        # Who makes an archive on purpose finds errors that the libraries do not name.
        return Submission(name, path, None, f"it cannot be read: {readable(reason(error))}")
    return Submission(name, path, folder)


def reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "its parts are nested too deeply"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def regular(path: Path) -> IO[bytes]:
    """The file at `path`, opened. Raises `Unreadable` where it is a link, a pipe, a device.

    What counts is what was opened: the name may stand for something else a moment later, or have done so.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Unreadable(f"it has something that is no file: {path.name!r:.80}")
    return os.fdopen(descriptor, "rb")


class Copy:
    """The bounded copy of one submission."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self._bytes = 0

    def count(self) -> None:
        self._count += 1
        if self._count > MOST_FILES:
            raise Unreadable(f"it has more than {MOST_FILES} files")

    def add(self, name: str, source: IO[bytes]) -> None:
        """Copy one file; `name` is a path with slashes. Raises `Unreadable`."""
        self.count()
        parts = safe_parts(name)
        if len(parts) > DEEPEST:
            raise Unreadable(f"it has more than {DEEPEST} folders in each other")
        if LEFT_OUT.intersection(parts):
            return
        target = self._folder.joinpath(*parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "wb") as file:
            while chunk := source.read(65_536):
                self._bytes += len(chunk)
                if self._bytes > MOST_BYTES:
                    raise Unreadable(f"it has more than {MOST_BYTES >> 20} MiB")
                file.write(chunk)


def safe_parts(name: str) -> tuple[str, ...]:
    """The parts of a path that stays below where it is put, on any system. Raises `Unreadable` for others."""
    name = name.replace("\\", "/")
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or DRIVE.match(name) or "\0" in name:
        raise Unreadable(f"it has a file whose path leads outside: {name[:80]!r}")
    if os.name == "nt" and any(":" in part or DEVICE.match(part) for part in parts):
        raise Unreadable(f"it has a file that Windows has no name for: {name[:80]!r}")
    return parts


DRIVE = re.compile("[A-Za-z]:")
DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d) *(\.|$)", re.IGNORECASE)
"""What Windows takes for a device, whatever comes after the dot."""


def copy_folder(source: Path, copy: Copy) -> None:
    for folder, folders, files in os.walk(source):
        folders[:] = sorted(name for name in folders if name not in LEFT_OUT)
        for name in (*folders, *sorted(files)):
            path = Path(folder, name)
            inside = path.relative_to(source).as_posix()
            kind = path.lstat().st_mode
            if stat.S_ISLNK(kind):
                raise Unreadable(f"it has a symbolic link: {inside!r:.80}")
            if stat.S_ISDIR(kind):
                copy.count()
                if inside.count("/") >= DEEPEST:
                    raise Unreadable(f"it has more than {DEEPEST} folders in each other")
            else:
                with regular(path) as file:
                    copy.add(inside, file)


def unpack(name: str, source: IO[bytes], copy: Copy) -> None:
    """Copy what is in an archive; its name says of which kind it is."""
    if os.fstat(source.fileno()).st_size > LARGEST_ARCHIVE:
        raise Unreadable(f"it has more than {MOST_BYTES >> 20} MiB")
    if name.endswith(".zip"):
        unpack_zip(source, copy)
        return
    # As a stream: nothing is read twice, and the bound holds for headers too.
    with opened(name, source) as raw, tarfile.open(fileobj=Bounded(raw), mode="r|") as archive:
        for member in archive:
            if member.issym() or member.islnk():
                raise Unreadable(f"it has a link: {member.name[:80]!r}")
            if member.isdir():
                copy.count()
                safe_parts(member.name)
            elif member.isfile():
                content = archive.extractfile(member)
                assert content is not None
                copy.add(member.name, content)
            else:
                raise Unreadable(f"it has something that is no file: {member.name[:80]!r}")


def opened(name: str, source: IO[bytes]) -> IO[bytes]:
    """An archive's bytes, decompressed as they are read."""
    if name.endswith(("gz", "tgz")):
        return cast("IO[bytes]", gzip.open(source, "rb"))
    if name.endswith("bz2"):
        return cast("IO[bytes]", bz2.open(source, "rb"))
    return source


def unpack_zip(source: IO[bytes], copy: Copy) -> None:
    # The library reads the whole list of contents first, where a million entries take half a gigabyte.
    if source.read().count(b"PK\1\2") > MOST_FILES:
        raise Unreadable(f"it has more than {MOST_FILES} files")
    with zipfile.ZipFile(source) as archive:
        for entry in archive.infolist():
            if stat.S_ISLNK(entry.external_attr >> 16):
                raise Unreadable(f"it has a link: {entry.filename[:80]!r}")
            if entry.is_dir():
                copy.count()
                safe_parts(entry.filename)
                continue
            if entry.flag_bits & 1:
                raise Unreadable(f"it is protected by a password: {entry.filename[:80]!r}")
            if entry.compress_type not in METHODS:
                raise Unreadable(f"it is compressed in an unusual way: {entry.filename[:80]!r}")
            with archive.open(entry) as content:
                copy.add(entry.filename, content)


class Bounded(io.RawIOBase):
    """A stream that refuses to give more than a submission may have."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        # Every file of an archive has a header, and is filled up to a block.
        self._left = MOST_BYTES + MOST_FILES * 2048

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if size < 0 or size > self._left:
            raise Unreadable(f"it has more than {MOST_BYTES >> 20} MiB")
        data = self._source.read(size)
        self._left -= len(data)
        return data


# -- which exercise is it for? -------------------------------------------------------------------------------


def assign(submission: Submission, exercises: Sequence[Exercise], wanted: Exercise | None) -> None:
    """Find the file of each exercise that was handed in; `wanted` None: of any exercise."""
    if submission.folder is None:
        return
    folder = submission.folder
    for exercise in [wanted] if wanted else exercises:
        # `main.py` may be anything, where nobody has said what it is for.
        if path := file_of(exercise, folder, exercise.also if wanted else exercise.also[:1]):
            submission.files[exercise.name] = path
    if submission.files:
        return
    alone = submission.path.suffix.lower() == ".py"
    sources = [path for path in sorted(folder.rglob("*.py")) if path.is_file()]
    sources = [path for path in sources if alone or path.name not in OURS]
    if wanted is not None:
        # They say what it is for; then a file of any name will do where there is only one to choose from. One
        # that has been filled in goes before the modules that it imports.
        named = [p for p in sources if p.name == wanted.file.name and not same(p, wanted.starter)]
        fitting = [path for path in sources if defined(path) & defined(wanted.solution)] or sources
        fitting = named if len(named) == 1 else fitting
        if len(fitting) == 1 or len({path.read_bytes() for path in fitting}) == 1:
            submission.files[wanted.name] = fitting[0]
        elif fitting:
            names = ", ".join(readable(path.relative_to(folder).as_posix()) for path in fitting[:5])
            submission.problem = f"which of its files is for {wanted.name} cannot be told: {names}"
        else:
            submission.problem = f"there is no Python file for {wanted.name} in it"
        return
    for exercise in exercises:
        here = f"{submission.path.parent.name}/{submission.path.name}"
        if len(sources) == 1 and (exercise.name in here or exercise.name[3:] in sources[0].stem):
            submission.files[exercise.name] = sources[0]
            return
    for exercise in exercises:
        fitting = [path for path in sources if defined(path) & defined(exercise.solution)]
        if len(fitting) == 1:
            submission.files[exercise.name] = fitting[0]


def file_of(exercise: Exercise, folder: Path, also: Sequence[str]) -> Path | None:
    """The exercise's file, called as the lab calls it or one of `also`, and at most two folders down.

    In a clone of the lab that is an untouched starter only where there is nothing else, and never the lab's
    own gateway.
    """
    name = exercise.name
    names = [f"exercises/{name}/exercise.py", f"{name}/exercise.py", f"{name}.py"]
    names += [f"{place}{other}" for place in (f"exercises/{name}/", f"{name}/", "") for other in also]
    found: list[Path] = []
    for depth in ("", "*/", "*/*/"):
        for pattern in names:
            found += [path for path in sorted(folder.glob(depth + pattern)) if path.is_file()]
    if also:
        own = ROOT.parent / "gateway.py"
        found = [path for path in found if not (path.name == own.name and same(path, own.read_bytes()))]
        found.sort(key=lambda path: same(path, exercise.starter))
    return found[0] if found else None


def same(path: Path, content: bytes) -> bool:
    """Whether a file has this content, whatever ends its lines."""
    return path.read_bytes().split() == content.split()


def defined(path: Path) -> set[str]:
    """The names of the classes and functions that a file defines; none where it cannot be parsed."""
    tree = parsed(path.read_bytes()[:LARGEST_SOURCE])
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    body = tree.body if tree is not None else []
    return {node.name for node in body if isinstance(node, kinds) and not node.name.startswith("_")}


def parsed(source: bytes | str) -> ast.Module | None:
    """The syntax tree of what somebody wrote; None where it is no Python."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of strange escapes in strings, which are nobody's business here
        try:
            return ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def work_folder(path: Path, into: Path) -> str:
    """Copy the file at `path`, and what stands beside it, to `into`; the value is its name there.

    That is its own, unless it is alone and its name would hide a module that it may want to import.
    """
    into.mkdir()
    into.chmod(0o755)
    source = path.parent
    for folder, folders, files in os.walk(source):
        folders[:] = [name for name in folders if name not in OURS]
        target = into / Path(folder).relative_to(source)
        target.mkdir(exist_ok=True)
        target.chmod(0o755)
        for name in files:
            if name not in OURS or Path(folder, name) == path:
                (target / name).write_bytes(Path(folder, name).read_bytes())
                (target / name).chmod(0o644)
    if list(into.iterdir()) == [into / path.name] and hides_a_module(path.stem):
        (into / path.name).rename(into / "exercise.py")
        return "exercise.py"
    return path.name


def hides_a_module(name: str) -> bool:
    """Whether a file of this name would be found where a library is looked for, as `abc.py` or `httpx.py`."""
    libraries = [path for path in sys.path if path.endswith("-packages")]
    return name in sys.stdlib_module_names or (
        name.isidentifier() and PathFinder.find_spec(name, libraries) is not None
    )
