"""A file on its way in has its space, and leaves nothing where it does not arrive."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_runtime.errors import SpoolError, SpoolFullError
from edge_runtime.intake.receiving import IncomingFile, free_space

MIB = 1 << 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "incoming" / "0"
    made.mkdir(parents=True)
    return made


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_it_holds_what_was_written(folder: Path) -> None:
    file = IncomingFile(folder, MIB, 0)
    for part in (b"one", b"", b"two" * 1000):
        file.write(part)
    file.finish()
    assert file.path.read_bytes() == b"one" + b"two" * 1000
    assert file.size == 3003


def test_its_space_is_promised_until_it_is_written(folder: Path) -> None:
    other = folder.parent / "1"
    other.mkdir()
    # Whatever else the machine does to its disk meanwhile is far less.
    promised, slack = 4_000 * MIB, 1_000 * MIB
    before = free_space(folder.parent)
    if before < 2 * promised + slack:
        pytest.skip("this disk is nearly full")
    files = [IncomingFile(one, promised, 0) for one in (folder, other)]
    assert before - free_space(folder.parent) > 2 * promised - slack
    files[0].write(b"film")
    files[0].finish()
    assert before - free_space(folder.parent) < promised + slack
    files[1].discard()
    assert before - free_space(folder.parent) < slack


def test_none_is_begun_where_space_is_short(folder: Path) -> None:
    free = free_space(folder.parent)
    with pytest.raises(SpoolFullError, match="nearly full"):
        IncomingFile(folder, MIB, free + 5_000 * MIB)
    with pytest.raises(SpoolFullError):
        IncomingFile(folder, free + 5_000 * MIB, 0)
    assert not list(folder.iterdir())


def test_it_may_not_grow_beyond_its_limit(folder: Path) -> None:
    file = IncomingFile(folder, 1000, 0)
    file.write(bytes(1000))
    with pytest.raises(SpoolFullError):
        file.write(b"x")
    file.discard()
    file.discard()
    assert not list(folder.iterdir())


def test_the_kernel_refuses_to_write(folder: Path) -> None:
    with files_no_larger_than(MIB):
        with pytest.raises(SpoolFullError):
            IncomingFile(folder, 2 * MIB, 0)
        assert not list(folder.iterdir())
    file = IncomingFile(folder, 2 * MIB, 0)
    # The first half is written, then the rest is refused.
    with files_no_larger_than(MIB), pytest.raises(SpoolFullError):
        file.write(bytes(2 * MIB))
    file.discard()
    assert not list(folder.iterdir())


def test_a_folder_that_is_gone(folder: Path) -> None:
    folder.rmdir()
    with pytest.raises(SpoolError) as caught:
        IncomingFile(folder, MIB, 0)
    assert not isinstance(caught.value, SpoolFullError)


def test_what_was_moved_on_is_not_deleted(folder: Path) -> None:
    file = IncomingFile(folder, MIB, 0)
    file.write(b"film")
    file.finish()
    target = folder.parent / "film"
    file.path.rename(target)
    file.discard()
    assert target.read_bytes() == b"film"
