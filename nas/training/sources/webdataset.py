"""``webdataset``: shards, which are tar archives of samples: a picture ``KEY.jpg`` beside its class in ``KEY.cls``.

The class is what stands in ``.cls``, or in ``.json`` as ``label``, ``cls`` or ``class``, or in ``.txt``, the first that
there is: a number or a name. The path is a shard or a folder of them; parts are folders ``train/`` and ``test/`` or
``val/`` of shards, or stand in the shards' names (``train-000000.tar``). Shards are read where they are, and must not
be packed.
"""

import hashlib
import io
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nas.training.sources.album import Album, album_of
from nas.training.sources.albums import source_of
from nas.training.sources.images import is_picture
from nas.training.sources.index import Index
from nas.training.sources.indexing import Entry, Listing
from nas.training.sources.parts import by_part
from nas.training.sources.wanted import DataError, Wanted
from nas_runtime.console import counted
from nas_runtime.files import parse_json

__all__ = ["SOURCE", "album"]

_CLASS = ("cls", "json", "txt")
"""Files that say the class: the first that does, whatever their order in the shard; ``.txt`` may be a caption."""
_MOST_BYTES = 2**16
"""Of what says the class of a picture."""
_MOST_PICTURE_BYTES = 2**28


@dataclass(frozen=True)
class _InShards:
    """Pictures in tar archives.

    Attributes:
        folder: what names of archives are relative to.
    """

    folder: Path

    def open(self, index: Index, place: int) -> io.BytesIO:
        row = index.rows[place]
        shard = self.folder / index.about.files[int(row["file"])]
        if int(row["bytes"]) > _MOST_PICTURE_BYTES:
            raise DataError(f"{self.name(index, place)} is larger than {_MOST_PICTURE_BYTES / 2**20:.0f} MiB")
        try:
            with shard.open("rb") as file:
                file.seek(int(row["offset"]))
                return io.BytesIO(file.read(int(row["bytes"])))
        except OSError as e:
            raise DataError(f"{self.name(index, place)} cannot be read ({e.strerror})") from None

    def name(self, index: Index, place: int) -> str:
        shard, _, name = index.name(place).partition("\0")
        return f"{name} in {self.folder / shard}"


def album(wanted: Wanted) -> Album:
    """The pictures in the shards at `wanted.path`.

    Raises:
        DataError: there are none, or a shard cannot be read.
    """
    path = wanted.given_path()
    folder = path if path.is_dir() else path.parent
    groups = _groups(path)
    return album_of("webdataset", path, partial(_listing, path, folder, groups), _InShards(folder))


def _groups(path: Path) -> dict[str, tuple[Path, ...]]:
    """The shards by the part that they are for."""
    if path.is_file():
        return {"train": (path,)}
    folders = by_part((each.name for each in path.iterdir() if each.is_dir()), path)
    groups = {part: tuple(sorted((path / name).glob("*.tar"))) for part, name in folders.items()}
    if not groups:
        words: dict[str, list[Path]] = {}
        for shard in sorted(path.glob("*.tar")):
            its = set(re.split(r"[^a-z]+", shard.name.lower()))
            if len(said := by_part(its, shard.name)) > 1:
                raise DataError(f"{shard} is named after {' and '.join(said.values())}, and must be for one part alone")
            for word in its:
                words.setdefault(word, []).append(shard)
        groups = {part: tuple(words[word]) for part, word in by_part(words, f"what shards in {path} are named").items()}
        groups = groups or {"train": tuple(sorted(path.glob("*.tar")))}
    if not groups.get("train"):
        raise DataError(f"{path} has no shards (*.tar) for training; allowed are shards, or train/ and test/ of shards")
    return {part: shards for part, shards in groups.items() if shards}


def _listing(path: Path, folder: Path, groups: Mapping[str, Sequence[Path]]) -> Listing:
    stamp = hashlib.sha256()
    for part, shards in groups.items():
        for shard in shards:
            at = shard.stat()
            stamp.update(repr((part, str(shard.relative_to(folder)), at.st_size, at.st_mtime_ns)).encode())
    listing = Listing(what=str(path), entries=(), groups=list(groups), sort=True, stamp=stamp.hexdigest())
    listing.entries = _entries(folder, groups, listing)
    return listing


def _entries(folder: Path, groups: Mapping[str, Sequence[Path]], listing: Listing) -> Iterator[Entry]:
    labels: dict[str, int] = {}
    without = 0
    for group, shards in enumerate(groups.values()):
        for shard in shards:
            at = shard.stat()
            listing.files.append(str(shard.relative_to(folder)))
            for picture, class_name in _samples(shard):
                if class_name is None:
                    without += 1
                    continue
                if class_name not in labels:
                    if group:
                        raise DataError(f"{shard} has the class {class_name!r}, which no shard for training has")
                    labels[class_name] = len(labels)
                    listing.class_names.append(class_name)
                name = f"{listing.files[-1]}\0{picture.name}"
                yield Entry(
                    group,
                    labels[class_name],
                    name,
                    picture.size,
                    at.st_mtime_ns,
                    len(listing.files) - 1,
                    picture.offset_data,
                )
    if not labels:
        raise DataError(f"{listing.what} has no pictures with a class (KEY.jpg beside KEY.cls or KEY.json)")
    if without:
        listing.notes.append(f"{listing.what}: left out {counted(without, 'image')} without a class")


def _samples(shard: Path) -> Iterator[tuple[tarfile.TarInfo, str | None]]:
    """The pictures in a shard, each with its class; a sample's files stand side by side."""
    key, picture, said = None, None, dict[str, str]()
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                archive.members = []  # type: ignore[attr-defined]  # it would keep them all
                if not member.isfile():
                    continue
                its_key, _, suffix = member.name.rpartition(".")
                if its_key != key:
                    if picture is not None:
                        yield picture, _first(said)
                    key, picture, said = its_key, None, {}
                if is_picture(f"x.{suffix}"):
                    picture = member
                elif suffix in _CLASS and member.size <= _MOST_BYTES and (file := archive.extractfile(member)):
                    said[suffix] = _class(file.read(), suffix) or ""
            if picture is not None:
                yield picture, _first(said)
    except (OSError, EOFError, tarfile.TarError) as e:
        raise DataError(f"{shard} is not a complete tar archive that is not packed ({e})") from None


def _first(said: Mapping[str, str]) -> str | None:
    """The class by what the files of a sample say."""
    return next((said[suffix] for suffix in _CLASS if said.get(suffix)), None)


def _class(content: bytes, suffix: str) -> str | None:
    """The class that a file of a sample says; None: it says none."""
    text = content.decode(errors="replace").strip()
    if suffix != "json":
        return text or None
    try:
        said = parse_json(text)
    except ValueError:
        return None
    if not isinstance(said, dict):
        return None
    found = next((said[name] for name in ("label", "cls", "class") if name in said), None)
    return str(found) if isinstance(found, str | int) and str(found) else None


SOURCE = source_of(album)
