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
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, cast

from lab.errors import UserError
from lab.exercises.catalog import Exercise

MOST_FILES = 2_000
"""Of one submission, folders included."""
MOST_BYTES = 32 << 20
"""Of one submission, unpacked."""
LARGEST_SOURCE = 1 << 20
"""Bytes of the file that is graded."""
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2")
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
        folder = self.folder or Path(os.devnull)
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                found.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
        return found.hexdigest()


def collect(
    paths: Sequence[Path], exercises: Sequence[Exercise], wanted: Exercise | None, into: Path
) -> list[Submission]:
    """All submissions in `paths`, by name, copied into folders below `into`.

    `wanted`: all are for this exercise; None: their files' and folders' names say which one. Raises
    `UserError` where a path does not exist or nothing is found.
    """
    submissions: list[Submission] = []
    for path in paths:
        if not path.exists():
            raise UserError(f"there is no {path}")
        for name, one in spread(path, exercises):
            folder = into / f"{len(submissions):05}"
            submissions.append(receive(name, one, folder))
    if not submissions:
        raise UserError(f"there is no submission in {', '.join(str(path) for path in paths)}")
    for submission in submissions:
        assign(submission, exercises, wanted)
    distinguish(submissions)
    return sorted(submissions, key=lambda submission: submission.name)


def spread(path: Path, exercises: Sequence[Exercise]) -> Iterator[tuple[str, Path]]:
    """The submissions that `path` stands for: itself, or what is in it."""
    path = Path(os.path.abspath(path))
    if not path.is_dir() or is_one(path, exercises):
        yield stem(path), path
        return
    for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
        if entry.name in LEFT_OUT or entry.name.startswith("."):
            continue
        if entry.is_dir() or entry.name.endswith((".py", *ARCHIVES)) or entry.is_symlink():
            yield stem(Path(entry.path)), Path(entry.path)


def is_one(folder: Path, exercises: Sequence[Exercise]) -> bool:
    """True where `folder` is one submission and no folder of many."""
    names = {exercise.name for exercise in exercises}
    entries = {entry.name for entry in os.scandir(folder)}
    return bool(entries & {"exercise.py", "gateway.py", "exercises"} or entries & names)


def stem(path: Path) -> str:
    """The name without what says how it is packed."""
    for ending in sorted((".py", *ARCHIVES), key=len, reverse=True):
        if path.name.endswith(ending) and path.name != ending:
            return path.name.removesuffix(ending)
    return path.name


def distinguish(submissions: list[Submission]) -> None:
    """No two submissions of one run have the same name."""
    seen: dict[str, int] = {}
    for submission in submissions:
        seen[submission.name] = seen.get(submission.name, 0) + 1
        if seen[submission.name] > 1:
            submission.name = f"{submission.name} ({seen[submission.name]})"


# -- reading -------------------------------------------------------------------------------------------------


def receive(name: str, path: Path, folder: Path) -> Submission:
    """Copy what is at `path` into `folder`, which is made."""
    folder.mkdir()
    try:
        if path.is_symlink():
            raise Unreadable("it is a symbolic link")
        if path.is_dir():
            copy_folder(path, Copy(folder))
        elif path.name.endswith(ARCHIVES):
            unpack(path, Copy(folder))
        elif path.is_file():
            with open(path, "rb") as source:
                Copy(folder).add(path.name, source)
        else:
            raise Unreadable("it is neither a file nor a folder")
    except Unreadable as error:
        return Submission(name, path, None, str(error))
    except (OSError, zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError) as error:
        return Submission(name, path, None, f"it cannot be read: {reason(error)}")
    except (ValueError, NotImplementedError, RuntimeError) as error:  # zipfile: names, methods, encryption
        return Submission(name, path, None, f"it cannot be read: {error}")
    return Submission(name, path, folder)


def reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


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
    """The parts of a path that stays below where it is put. Raises `Unreadable` for any other."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or "\0" in name:
        raise Unreadable(f"it has a file whose path leads outside: {name[:80]!r}")
    return parts


def copy_folder(source: Path, copy: Copy) -> None:
    for folder, folders, files in os.walk(source):
        folders[:] = sorted(name for name in folders if name not in LEFT_OUT)
        for name in (*folders, *sorted(files)):
            path = Path(folder, name)
            kind = path.lstat().st_mode
            if stat.S_ISLNK(kind):
                raise Unreadable(f"it has a symbolic link: {path.relative_to(source)}")
            if stat.S_ISDIR(kind):
                copy.count()
            elif stat.S_ISREG(kind):
                with open(path, "rb") as file:
                    copy.add(path.relative_to(source).as_posix(), file)
            else:
                raise Unreadable(f"it has something that is no file: {path.relative_to(source)}")


def unpack(path: Path, copy: Copy) -> None:
    if path.name.endswith(".zip"):
        unpack_zip(path, copy)
        return
    # As a stream: nothing is read twice, and the bound holds for headers too.
    with opened(path) as raw, tarfile.open(fileobj=Bounded(raw), mode="r|") as archive:
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


def opened(path: Path) -> IO[bytes]:
    """An archive's bytes, decompressed as they are read."""
    if path.suffix in (".gz", ".tgz"):
        return cast("IO[bytes]", gzip.open(path, "rb"))
    if path.suffix in (".bz2", ".tbz2"):
        return cast("IO[bytes]", bz2.open(path, "rb"))
    return open(path, "rb")


def unpack_zip(path: Path, copy: Copy) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if len(entries) > MOST_FILES:
            raise Unreadable(f"it has more than {MOST_FILES} files")
        for entry in entries:
            kind = entry.external_attr >> 16
            if stat.S_ISLNK(kind):
                raise Unreadable(f"it has a link: {entry.filename[:80]!r}")
            if entry.is_dir():
                copy.count()
                safe_parts(entry.filename)
                continue
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
        if path := file_of(exercise, folder):
            submission.files[exercise.name] = path
    if submission.files:
        return
    alone = submission.path.suffix == ".py"
    sources = [path for path in sorted(folder.rglob("*.py")) if alone or path.name not in OURS]
    if wanted is not None:
        # They say what it is for; then a file of any name will do where there is only one to choose from.
        fitting = [path for path in sources if defined(path) & defined(wanted.file)] or sources
        if len(fitting) == 1 or len({path.read_bytes() for path in fitting}) == 1:
            submission.files[wanted.name] = fitting[0]
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


def file_of(exercise: Exercise, folder: Path) -> Path | None:
    """The exercise's file, where it is called as the lab calls it, at most two folders down."""
    names = [f"exercises/{exercise.name}/exercise.py", f"{exercise.name}/exercise.py", f"{exercise.name}.py"]
    for depth in ("", "*/", "*/*/"):
        for name in names:
            if found := sorted(folder.glob(depth + name)):
                return found[0]
    return None


def defined(path: Path) -> set[str]:
    """The names of the classes and functions that a file defines; none where it cannot be parsed."""
    try:
        tree = ast.parse(path.read_bytes()[:LARGEST_SOURCE])
    except (SyntaxError, ValueError, RecursionError, MemoryError, OSError):
        return set()
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")}


def work_folder(path: Path, into: Path) -> str:
    """Copy the file at `path`, and what stands beside it, to `into`; the value is its name there."""
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
    return path.name
